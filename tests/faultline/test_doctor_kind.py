"""What `faultline doctor` says about the lab on kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.host.capabilities import Capability
from chaos.kube import requirements
from faultline import doctor
from faultline.home import Home


def _examine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: list[Capability]
) -> tuple[doctor.Examination, dict[str, doctor.Task]]:
    monkeypatch.setattr(doctor, "survey", lambda: [])
    monkeypatch.setattr(requirements, "survey", lambda: found)
    monkeypatch.setenv("FAULTLINE_LAB_DIR", str(tmp_path / "lab"))
    examination = doctor.examine(Home(tmp_path))
    return examination, {task.what: task for task in examination.tasks}


def test_a_missing_engine_stops_runs_on_kind_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The local lab goes on without Docker; the command that gets it is in the table."""
    lacking = Capability("Docker engine", present=False, remedy="`get it`")
    examination, tasks = _examine(monkeypatch, tmp_path, [lacking])
    assert tasks["faultline run --backend local"].possible
    on_kind = tasks["faultline run --backend kind"]
    assert not on_kind.possible
    assert "Docker engine" in on_kind.reason
    (shown,) = examination.capabilities
    assert shown.remedy == "`get it`"
    assert not shown.required


def test_an_image_that_is_out_of_date_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next run brings it up to date by itself."""
    stale = Capability("kind lab image", present=False, required=False, remedy="`make kind-image`")
    _, tasks = _examine(monkeypatch, tmp_path, [Capability("Docker engine", present=True), stale])
    assert tasks["faultline run --backend kind"].possible


def test_a_ready_machine_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With engine and images, nothing required is missing, and policies are said to be enforced."""
    from chaos.kube import image
    from chaos.kube.image import engine

    monkeypatch.setattr(engine, "version", lambda: "20.10")
    monkeypatch.setattr(engine, "has", lambda name: True)
    monkeypatch.setattr(image, "current_programs", lambda store=None: (Path("kind"), Path("kubectl")))
    found = {one.name: one for one in requirements.survey()}
    assert [one.name for one in found.values() if one.required and not one.present] == []
    assert found["network policies on kind"].detail.startswith("enforced by podlink")
    assert requirements.missing() == []

"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from experiments.reference import PAGE, text

ROOT = Path(__file__).parents[2]
ROOMS = ("topologies", "experiments", "sim", "chaos", "faultline")


def test_every_test_states_a_behaviour() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_module_holds_two_ideas() -> None:
    """A module that grows past 450 lines is split."""
    long = {
        str(path.relative_to(ROOT)): lines
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_hashes_and_no_addresses(lock: str) -> None:
    """Each locked package has a hash; nothing says where it is downloaded from."""
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)
    requirements = re.findall(r"^[a-zA-Z0-9._-]+==.*(?:\n    .*)*", text, flags=re.MULTILINE)
    assert len(requirements) > 50
    assert all("--hash=sha256:" in requirement for requirement in requirements)


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ["lab"]), ("requirements-dev.lock", ["lab", "dev"])]
)
def test_lock_files_cover_the_declared_dependencies(lock: str, extras: list[str]) -> None:
    """Everything pyproject.toml asks for is locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        item for extra in extras for item in project["optional-dependencies"][extra]
    ]
    names = {re.split(r"[<>=\[; ]", item)[0].lower().replace("_", "-") for item in wanted}
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / lock).read_text(), flags=re.MULTILINE))
    assert names - {name.replace("_", "-") for name in locked} == set()


def test_only_predictions_and_simulated_runs_need_no_lab_packages() -> None:
    """No base dependency is a lab one: `pip install .` alone is enough to predict."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[<>=]", item)[0] for item in project["dependencies"]}
    lab = {re.split(r"[<>=]", item)[0] for item in project["optional-dependencies"]["lab"]}
    assert not base & lab


def test_the_page_of_metrics_is_current() -> None:
    """docs/metrics.md says what the catalogue says."""
    assert PAGE.read_text() == text(), "run `make docs`"

"""Whole runs on the local lab: real daemons, a real partition, and Ctrl-C in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from faultline.home import Home
from faultline.ledger import Ledger
from faultline.witnesses import witnesses

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
SMALL = ["--replications", "4"] + [
    word
    for change in (
        "workload.users=9",
        "workload.duration=45s",
        "workload.warmup=8s",
        "method[0].provider.arguments.at=14s",
        "method[0].provider.arguments.duration=12s",
    )
    for word in ("--set", change)
]


def start(home: Home, *words: str) -> subprocess.Popen[str]:
    """A `faultline` process with a home of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "faultline", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FAULTLINE_HOME": str(home.root), "PYTHONPATH": str(ROOT)},
    )


def nothing_is_left() -> bool:
    """No namespace and no control group of the lab."""
    from chaos.host.cgroups import Cgroups
    from chaos.host.namespaces import names

    return names() == [] and not Cgroups().exists()


def test_a_site_cut_from_prediction_to_report(home: Home) -> None:
    """One command predicts, registers, cuts a real link, measures, scores and cleans up."""
    process = start(home, "run", "site-cut", "--json", *SMALL)
    out, err = process.communicate(timeout=240)
    assert process.returncode in {0, 1, 2}, err
    told = json.loads(out)
    assert told["exit_code"] == process.returncode
    run = home.open_run(told["run_id"])
    measurement, record = run.read_json("measurement"), run.read_json("record")
    assert measurement["validation"]
    assert measurement["health"]["seconds"] > 30
    assert record["stage"] == "done"
    assert record["lab"]["versions"]
    ((inject, undo),) = measurement["windows"]
    assert inject == pytest.approx(14.0, abs=1.0)
    assert undo - inject == pytest.approx(12.0, abs=1.0)
    kinds = {json.loads(line)["kind"] for line in (run.path / "events.jsonl").read_text().splitlines()}
    assert {"fault.inject", "fault.undo", "link.cut", "galera.non-primary"} <= kinds
    rows = Ledger(home.ledger).of_run(run.id)
    first = datetime.fromisoformat(rows["measurement"].content["first_injection"])
    assert datetime.fromisoformat(rows["prediction"].time) < first
    assert Ledger(home.ledger).verify(witnesses(home)).intact
    assert nothing_is_left()


def test_interrupt_in_the_middle_of_a_partition(home: Home) -> None:
    """Ctrl-C exits 130 with the lab taken down, and the record says where the run stood."""
    process = start(home, "run", "site-cut", *SMALL)
    assert process.stderr is not None
    for line in process.stderr:
        if "cut edi off" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert nothing_is_left()
    record = home.open_run("latest").read_json("record")
    assert record["error"]["message"] == "interrupted"
    assert [row.kind for row in Ledger(home.ledger).rows()] == ["prediction"]


def test_a_standing_lab(home: Home) -> None:
    """`lab up` leaves the lab running, `status` asks every daemon, `down` leaves nothing."""
    try:
        up = start(home, "lab", "up", "iris-1site", "--json")
        out, err = up.communicate(timeout=120)
        assert up.returncode == 0, err
        assert {"component", "address", "port"} <= set(json.loads(out)[0])
        found, err = start(home, "lab", "status", "--json").communicate(timeout=60)
        states = {one["component"]: one["state"] for one in json.loads(found)}
        assert states["db@ral"] == "up", err
        assert set(states.values()) == {"up"}
        busy = start(home, "run", "site-cut", *SMALL)
        _, err = busy.communicate(timeout=120)
        assert busy.returncode == 64, err
        assert "faultline lab down" in err
        assert home.run_ids() == []  # refused before anything was predicted
    finally:
        start(home, "lab", "down").communicate(timeout=60)
    assert nothing_is_left()


@pytest.mark.parametrize("change", ["sites.ral.nodes=2", "services.db.members.ral=2"])
def test_a_topology_that_does_not_fit_is_refused_before_it_is_predicted(tmp_path: Path, change: str) -> None:
    """The local lab says what to change, exits 64, and no prediction is registered."""
    done = subprocess.run(
        [sys.executable, "-m", "faultline", "run", "site-cut", "--set", change],
        env=os.environ | {"FAULTLINE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 64
    assert "iris-3site-galera.yaml" in done.stderr
    assert "`lab:` overlay" in done.stderr
    assert not (tmp_path / "home" / "ledger.sqlite").exists()

"""The benchmarks run, and what they compare is the same work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as runner
from benchmarks import numba_loop
from benchmarks.growth import messages
from benchmarks.page import page
from benchmarks.peers import peers, simpy_written
from benchmarks.timing import within
from sim.analytic import mmc_wait, mva


def test_a_quick_run_writes_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Date, machine, figures and what was held; peers that are not installed say why."""
    path = tmp_path / "deep" / "record.json"
    runner.main(["--quick", "--output", str(path), "mm1", "closed"])
    record = json.loads(path.read_text())
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["packages"]["numba"]
    assert set(record["subjects"]) == {"mm1", "closed"}
    for found in record["subjects"].values():
        assert found["ours"]["per_second"] > found["reference"]["per_second"] > 0
        assert found["held"]["theory within 3 standard errors"]
        assert len(found["peers"]) == len(peers())
        assert all("not run" in peer or peer["ratio"] > 1 for peer in found["peers"].values())
    assert "written to" in capsys.readouterr().out
    told = page(record, "benchmarks/results/some.json")
    assert "## mm1" in told and "| Faultline |" in told
    assert all(peer.NAME in told for peer in peers())


def test_an_unknown_subject(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with those there are."""
    with pytest.raises(SystemExit):
        runner.main(["mm2"])
    assert "mm1" in capsys.readouterr().err


def test_those_we_compare_with_do_the_same_work() -> None:
    """Hand-written SimPy and the hand-written numba loop come to the means of theory."""
    assert simpy_written.line(0.5, 1.0, 1, 20_000, 1) == pytest.approx(1 + mmc_wait(0.5, 1.0, 1), rel=0.06)
    services, think, users = [0.02, 0.05], 1.0, 15
    rate, response = mva(services, think, users)
    assert simpy_written.closed(services, think, users, 8000, 1) == pytest.approx(response, rel=0.06)
    mean, throughput = numba_loop.closed(np.array(services), think, users, 100_000, 1)
    assert mean == pytest.approx(response, rel=0.03)
    assert throughput == pytest.approx(rate, rel=0.03)


def test_messages_of_a_commit() -> None:
    """Two members exchange three packets; n members tell all others twice each: 2 n (n - 1)."""
    assert messages((2, 3, 5)) == {"2": 3, "3": 12, "5": 40}


def test_slow_work_is_given_less_of_it() -> None:
    """What cannot do everything in time is measured on fewer customers."""
    asked: list[int] = []

    def work(count: int) -> None:
        asked.append(count)
        sum(range(count * 400))

    found = within(work, 10_000_000, 0.05)
    assert found.customers == asked[-1] < 10_000_000
    assert within(lambda count: None, 5000, 0.05).customers == 5000

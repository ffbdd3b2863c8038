"""Sweeps: every replication once, whoever dies, wherever they run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from experiments.workload import ProbeStream, Workload
from sim import sweep as module
from sim.journal import Journal, JournalError
from sim.predict import Scenario
from sim.sweep import Point, SweepError, grid, sweep
from sim.sweep_result import SweepResult
from topologies.loader import load

ROOT = Path(__file__).parents[2]
THROUGHPUT = "throughput{flow=workflow}@whole"


def points(users: tuple[int, ...] = (1, 2, 3), duration: float = 6.0) -> list[Point]:
    """A point per number of users, on one site."""
    deployed = load("iris-1site", size="lab")
    found = []
    for count in users:
        workload = Workload(
            users=count,
            think=1.0,
            duration=duration,
            warmup=1.0,
            probes=(ProbeStream(flow="health", rate=1.0),),
        )
        found.append(Point({"users": count}, Scenario(deployed, workload)))
    return found


@pytest.fixture(scope="module")
def plain() -> SweepResult:
    """The sweep in one process, without a journal."""
    return sweep(points(), replications=3, workers=1)


def rows(path: Path) -> list[tuple[str, int, str]]:
    """What a journal holds."""
    with sqlite3.connect(path) as database:
        return database.execute("SELECT * FROM replications ORDER BY 1, 2").fetchall()


class TestResult:
    """What comes out."""

    def test_a_row_per_point_and_metric(self, plain: SweepResult) -> None:
        """Settings are columns; intervals hold their medians; more users get more answers."""
        frame = plain.frame("throughput")
        whole = frame[frame["metric"] == THROUGHPUT]
        assert whole["users"].tolist() == [1, 2, 3]
        assert whole["n"].tolist() == [3, 3, 3]
        assert ((whole["low"] <= whole["median"]) & (whole["median"] <= whole["high"])).all()
        assert ((whole["mean_low"] <= whole["mean"]) & (whole["mean"] <= whole["mean_high"])).all()
        assert whole["mean"].iloc[2] > whole["mean"].iloc[0]
        assert set(frame["metric"].str.split("{").str[0]) == {"throughput"}

    def test_every_value(self, plain: SweepResult) -> None:
        """Three values per point, which the table's means are the means of."""
        samples = plain.samples(THROUGHPUT)
        assert len(samples) == 9
        means = samples.groupby("users")["value"].mean().tolist()
        frame = plain.frame(THROUGHPUT)
        assert frame["mean"].tolist() == pytest.approx(means)

    @pytest.mark.parametrize("ending", [".parquet", ".csv", ".json"])
    def test_files(self, plain: SweepResult, tmp_path: Path, ending: str) -> None:
        """What is written is read back."""
        path = tmp_path / f"sweep{ending}"
        plain.write(path)
        readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".json": pd.read_json}
        found = readers[ending](path)
        assert len(found) == len(plain.frame())
        assert found["mean"].tolist() == pytest.approx(plain.frame()["mean"].tolist())

    def test_other_libraries(self, plain: SweepResult, tmp_path: Path) -> None:
        """Polars and Arrow get the same table in one call; an unknown format is refused."""
        assert plain.to_polars().shape == plain.frame().shape
        assert plain.to_arrow().num_rows == len(plain.frame())
        with pytest.raises(ValueError, match=r"sweep\.xls"):
            plain.write(tmp_path / "sweep.xls")

    def test_pictures(self, plain: SweepResult) -> None:
        """The plot is well-formed SVG with a dot per point; a notebook's table names every axis."""
        chart = plain.plot("throughput")
        root = ET.fromstring(chart.svg)
        assert len(root.findall("{*}circle")) == 3
        html = plain._repr_html_()
        assert "<th>users</th>" in html
        assert html.count("<tr>") == 4
        with pytest.raises(ValueError, match="no 'nothing'"):
            plain.plot("nothing")

    def test_grid(self) -> None:
        """Every combination, once."""
        assert len(grid({"a": [1, 2, 3], "b": ["x", "y"]})) == 6
        assert grid({}) == [{}]

    def test_impossible_sweeps(self) -> None:
        """No points, or no interval."""
        with pytest.raises(ValueError, match="a point"):
            sweep([], replications=3)
        with pytest.raises(ValueError, match="two replications"):
            sweep(points(), replications=1)


class TestJournal:
    """Nothing lost, nothing twice."""

    def test_what_is_recorded_is_not_computed_again(
        self, plain: SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More replications compute the new ones only; the result is that of a sweep in one go."""
        journal = tmp_path / "deep" / "journal.sqlite"
        sweep(points(), replications=2, workers=1, journal=journal)
        before = rows(journal)
        asked: list[int] = []
        run = module.run

        def counted(spec):  # type: ignore[no-untyped-def]
            asked.append(spec.replication)
            return run(spec)

        monkeypatch.setattr(module, "run", counted)
        found = sweep(points(), replications=3, workers=1, journal=journal)
        assert asked == [2, 2, 2]
        assert found.samples().equals(plain.samples())
        assert set(before) < set(rows(journal))
        again: list[tuple[int, int]] = []
        sweep(points(), replications=3, workers=1, journal=journal, progress=lambda *a: again.append(a))
        assert asked == [2, 2, 2]
        assert again == [(9, 9)]

    def test_what_a_replication_follows_from_is_in_its_key(self, tmp_path: Path) -> None:
        """Another seed is another set of results in the same journal."""
        journal = tmp_path / "journal.sqlite"
        sweep(points((1,)), replications=2, workers=1, journal=journal)
        sweep(points((1,)), seed=1, replications=2, workers=1, journal=journal)
        assert len(rows(journal)) == 4

    def test_the_same_program_twice_is_computed_once(self, tmp_path: Path) -> None:
        """Two points with equal programs share the replications."""
        journal = tmp_path / "journal.sqlite"
        twice = [Point({"name": name}, points((1,))[0].scenario) for name in ("a", "b")]
        found = sweep(twice, replications=2, workers=1, journal=journal)
        assert len(rows(journal)) == 2
        assert found.frame(THROUGHPUT)["mean"].nunique() == 1

    def test_a_row_stays_as_it_is(self) -> None:
        """A replication that comes a second time changes nothing and counts for nothing."""
        with Journal() as journal:
            assert journal.record("p", [(0, {"m": (1.0, 1, "s", False)})]) == 1
            assert journal.record("p", [(0, {"m": (2.0, 1, "s", False)}), (1, {})]) == 1
            assert journal.metrics("p", 2) == {0: {"m": (1.0, 1, "s", False)}, 1: {}}
            assert len(journal) == 2

    def test_a_file_that_is_no_journal(self, tmp_path: Path) -> None:
        """It is refused and left as it is."""
        path = tmp_path / "notes.txt"
        path.write_text("not a database, but long enough to be looked at as one" * 50)
        with pytest.raises(JournalError, match="notes"):
            sweep(points((1,)), replications=2, workers=1, journal=path)
        assert path.read_text().startswith("not a database")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_sim_sweep as t
if __name__ == "__main__":
    t.sweep(t.points((1, 2, 3, 4), 40.0), replications=6, workers=2, journal={journal!r})
    print("done")
"""


def started(tmp_path: Path, journal: Path) -> subprocess.Popen[str]:
    """A sweep in a process of its own."""
    script = tmp_path / "sweeping.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), journal=str(journal)))
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_recorded(journal: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a journal holds ``count`` rows."""
    deadline = time.monotonic() + 90
    while True:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the sweep ended before it could be disturbed"
        try:
            if journal.exists() and len(rows(journal)) >= count:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)


def workers_of(pid: int) -> Iterator[int]:
    """The processes below ``pid`` that simulate."""
    for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{word}/cmdline").read_bytes():
            yield int(word)


@pytest.fixture(scope="module")
def undisturbed() -> pd.DataFrame:
    """All values of the sweep that the script runs."""
    return sweep(points((1, 2, 3, 4), 40.0), replications=6, workers=1).samples()


class TestDeath:
    """Processes are killed while they work."""

    def test_of_a_worker(self, tmp_path: Path, undisturbed: pd.DataFrame) -> None:
        """SIGKILL of a worker: the sweep goes on and comes to the same, nothing lost or counted twice."""
        journal = tmp_path / "journal.sqlite"
        process = started(tmp_path, journal)
        until_recorded(journal, 2, process)
        os.kill(next(workers_of(process.pid)), signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, "done"), err
        assert len(rows(journal)) == 24
        found = sweep(points((1, 2, 3, 4), 40.0), replications=6, workers=1, journal=journal)
        assert found.samples().equals(undisturbed)

    def test_of_the_whole_sweep(self, tmp_path: Path, undisturbed: pd.DataFrame) -> None:
        """SIGKILL of everything: what was recorded is kept, and the rest is all that is computed."""
        journal = tmp_path / "journal.sqlite"
        process = started(tmp_path, journal)
        until_recorded(journal, 2, process)
        process.kill()
        process.communicate()
        kept = rows(journal)
        assert 2 <= len(kept) < 24
        told: list[tuple[int, int]] = []
        found = sweep(
            points((1, 2, 3, 4), 40.0),
            replications=6,
            workers=1,
            journal=journal,
            progress=lambda *a: told.append(a),
        )
        assert told[0] == (len(kept), 24)
        assert set(kept) < set(rows(journal))
        assert found.samples().equals(undisturbed)

    def test_workers_that_always_die_end_the_sweep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three deaths in a row without a result, and the sweep says so rather than try for ever."""
        monkeypatch.setattr(module, "run_lot", _die)
        with pytest.raises(SweepError, match="died 3 times"):
            sweep(points((1, 2)), replications=2, workers=2)


def _die(lot: object) -> None:
    os._exit(9)


class TestCluster:
    """Dask."""

    def test_the_same_call_on_a_cluster_whose_worker_dies(self, tmp_path: Path, plain: SweepResult) -> None:
        """A LocalCluster by address, one of its two workers killed: the same values as in one process."""
        from distributed import Client, LocalCluster

        journal = tmp_path / "journal.sqlite"
        with (
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
            ) as cluster,
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            pids = list(client.run(os.getpid).values())

            def told(done: int, total: int) -> None:
                if pids and 0 < done < total:
                    os.kill(pids.pop(), signal.SIGKILL)
                    pids.clear()

            found = sweep(
                points(), replications=3, cluster=cluster.scheduler_address, journal=journal, progress=told
            )
            assert pids == []
        assert found.samples().equals(plain.samples())
        assert len(rows(journal)) == 9

    def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address without a scheduler is told as such."""
        monkeypatch.setattr(module, "CONNECT", 1.0)
        with pytest.raises(SweepError, match="no Dask scheduler"):
            sweep(points((1,)), replications=2, cluster="tcp://127.0.0.1:9")

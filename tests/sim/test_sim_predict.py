"""Predictions: reproducible to the byte, with intervals, and in the shape others read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import experiments.loader
import experiments.timeline
from experiments.faults import Partition, ScheduledFault
from experiments.hypothesis import Hypothesis, Scope
from experiments.workload import ProbeStream, Workload
from sim import rounds
from sim.calibration import Calibration
from sim.predict import Prediction, Scenario, predict
from sim.program import Program, compile_program
from sim.replication import COURSES
from topologies.loader import library, load

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
WORKLOAD = Workload(
    users=6,
    think=2.0,
    duration=24.0,
    warmup=3.0,
    probes=(ProbeStream(flow="health", rate=4.0), ProbeStream(flow="access-token", rate=2.0)),
)
CUT = ScheduledFault(name="cut", fault=Partition(isolate=["edi"]), at=8.0, duration=8.0)


def scenario() -> Scenario:
    """A short run with a cut and two claims."""
    return Scenario(
        load("iris-3site-galera", size="lab"),
        WORKLOAD,
        (CUT,),
        (
            Hypothesis(metric="lost_commits", expect="<= 0"),
            Hypothesis(metric="recovery_time", scope=Scope(flow="access-token"), expect="<= 1s"),
        ),
    )


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    """One prediction of it."""
    return predict(scenario(), seed=7, replications=4, workers=1)


class TestReproducible:
    """The same question gets the same bytes."""

    def test_workers_do_not_matter(self, prediction: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two processes give what one gives."""
        monkeypatch.setattr(rounds, "WORTH_WHILE", -1.0)
        assert predict(scenario(), seed=7, replications=4, workers=2).to_json() == prediction.to_json()

    def test_hash_seed_and_process_do_not_matter(self, prediction: Prediction) -> None:
        """A fresh interpreter with another PYTHONHASHSEED gives the same bytes."""
        script = (
            "import sys, hashlib; sys.path.insert(0, 'tests/sim'); import test_sim_predict as t;"
            "p = t.predict(t.scenario(), seed=7, replications=4, workers=1);"
            "print(hashlib.sha256(p.to_json().encode()).hexdigest())"
        )
        expected = hashlib.sha256(prediction.to_json().encode()).hexdigest()
        for seed in ("1", "4711"):
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == expected

    def test_the_seed_matters(self, prediction: Prediction) -> None:
        """Another seed gives other numbers of the same program."""
        other = predict(scenario(), seed=8, replications=4, workers=1)
        assert other.to_json() != prediction.to_json()
        assert other.program_hash == prediction.program_hash

    def test_replications_do_not_depend_on_how_many_there_are(self, prediction: Prediction) -> None:
        """Replication 0 of 2 is replication 0 of 4: more replications refine, they do not replace."""
        fewer = predict(scenario(), seed=7, replications=2, workers=1)
        assert fewer.events == prediction.events


class TestContent:
    """What a prediction says."""

    def test_every_metric_has_its_intervals(self, prediction: Prediction) -> None:
        """Ordered, holding the median, within the bounds of the unit."""
        assert "throughput{flow=workflow}@whole" in prediction.metrics
        assert "write_stall@whole" in prediction.metrics
        for key, metric in prediction.metrics.items():
            assert metric.low <= metric.median <= metric.high, key
            assert metric.confidence[0] <= metric.mean <= metric.confidence[1], key
            if metric.unit == "ratio":
                assert 0 <= metric.low <= metric.high <= 1
            assert metric.low >= 0

    def test_claims_have_a_probability(self, prediction: Prediction) -> None:
        """Writes are never lost; access tokens at a cut-off site are away for longer than a second."""
        lost, recovery = prediction.hypotheses
        assert (lost.probability, recovery.probability) == (1.0, 0.0)
        assert lost.interval90 is not None
        assert lost.interval90[0] < 1.0

    def test_courses_cover_the_load(self, prediction: Prediction) -> None:
        """A band per second; throughput falls during the stall."""
        assert set(prediction.course) == set(COURSES)
        for band in prediction.course.values():
            assert len(band["t"]) == len(band["low"]) == len(band["point"]) == len(band["high"]) == 24
        assert any(event["kind"] == "galera.non-primary" for event in prediction.events)
        assert prediction.windows == ((8.0, 16.0),)

    def test_load_of_the_machine(self, prediction: Prediction) -> None:
        """All nodes and the load generators together, as a share of the calibrated machine's cores."""
        cores = Calibration.default().machine.cores
        assert prediction.machine_busy is not None
        assert sum(prediction.cpu_busy) / cores < prediction.machine_busy < 1.0
        assert all(0 < busy <= 0.5 + 1e-6 for busy in prediction.cpu_busy)  # the quota of the lab size

    def test_json_round_trip(self, prediction: Prediction) -> None:
        """What is written is read back; there is no time stamp or path in it."""
        text = prediction.to_json()
        assert Prediction.from_json(text).to_json() == text
        with pytest.raises(ValueError, match="schema"):
            Prediction.from_json(json.dumps({"schema": "other/1"}))

    def test_progress_counts_to_the_end(self) -> None:
        """The callback is told after every replication."""
        calls: list[tuple[int, int]] = []
        quick = Scenario(load("iris-1site", size="lab"), WORKLOAD)
        predict(quick, replications=3, workers=1, progress=lambda done, of: calls.append((done, of)))
        assert calls == [(1, 3), (2, 3), (3, 3)]

    def test_one_replication_is_no_prediction(self) -> None:
        """There is no interval from one value."""
        with pytest.raises(ValueError, match="at least two"):
            predict(scenario(), replications=1)

    def test_better_known_parameters_give_narrower_intervals(self) -> None:
        """The prediction interval holds the calibration's uncertainty."""
        quick = Scenario(load("iris-1site", size="lab"), WORKLOAD)
        base = Calibration.default()

        def known(calibration: Calibration) -> Calibration:
            data = json.loads(calibration.canonical())

            def forget(value: object) -> None:
                if isinstance(value, dict):
                    if "sem" in value:
                        value["sem"] = 0.0
                    for part in value.values():
                        forget(part)

            forget(data)
            return Calibration.model_validate(data)

        key = "latency_p50{flow=workflow}@whole"
        vague = predict(quick, base, replications=20, workers=1).metrics[key]
        sharp = predict(quick, known(base), replications=20, workers=1).metrics[key]
        assert sharp.high - sharp.low < 0.7 * (vague.high - vague.low)


@pytest.mark.parametrize("name", sorted(experiments.loader.library()))
def test_library_experiments_can_be_predicted(name: str) -> None:
    """Every experiment of the library runs to its end in the simulation and has values for its claims."""
    experiment = experiments.loader.load(name)
    scenario = Scenario(
        load(experiment.topology, size="lab"),
        experiment.workload,
        experiments.timeline.compile_timeline(experiment),
        experiment.hypotheses,
        platform="kubernetes" if experiments.timeline.needs_clusters(experiment) else None,
    )
    found = predict(scenario, replications=2, workers=1)
    assert found.metrics["availability{flow=health}@whole"].high > 0.5
    assert all(claim.probability is not None for claim in found.hypotheses)
    assert found.warmup_detected < experiment.workload.duration / 2


class TestProgram:
    """The compiled value."""

    @pytest.mark.parametrize("name", sorted(library()))
    @pytest.mark.parametrize("size", ["lab", "production"])
    def test_round_trip_and_hash(self, name: str, size: str) -> None:
        """Written down and read back it is the same program."""
        program = compile_program(load(name, size=size), WORKLOAD, (), size=size)  # type: ignore[arg-type]
        again = Program.from_json(program.to_json())
        assert again.hash == program.hash
        assert again.steps.first.tolist() == program.steps.first.tolist()

    def test_everything_is_in_the_hash(self) -> None:
        """Topology, workload, timeline, calibration and size each change it."""
        deployed = load("iris-3site-galera", size="lab")
        hashes = {
            compile_program(deployed, WORKLOAD).hash,
            compile_program(load("iris-2site-galera", size="lab"), WORKLOAD).hash,
            compile_program(deployed, WORKLOAD.model_copy(update={"users": 7})).hash,
            compile_program(deployed, WORKLOAD, (CUT,)).hash,
            compile_program(
                deployed,
                WORKLOAD,
                (),
                Calibration.default().model_copy(update={"local_commit": Calibration.default().proxy_cpu}),
            ).hash,
            compile_program(deployed, WORKLOAD, size="production").hash,
        }
        assert len(hashes) == 6

    def test_statements_are_those_of_the_service(self) -> None:
        """facts/iam.md 1.2: statements in all, in the write transaction, and from the lock to the commit."""
        from sim import steps as table

        tables = compile_program(load("iris-1site", size="lab"), WORKLOAD).steps
        for index, (total, write) in enumerate(((92, 32), (151, 70), (156, 62), (154, 57))):
            rows = slice(tables.first[index], tables.first[index + 1])
            trips, kinds = tables.trips[rows], tables.kind[rows]
            commits = (kinds == table.COMMIT).sum()  # its round trip belongs to the commit
            assert trips.sum() + commits == total
            assert trips[kinds == table.WORK].sum() + commits == write
        refresh = slice(tables.first[2], tables.first[3])
        kinds = tables.kind[refresh].tolist()
        after = kinds.index(table.LOCK_RANGE)
        assert tables.trips[refresh][after:].sum() + 1 == 34

    def test_demands_add_up(self) -> None:
        """However a request is cut into steps, its CPU is the calibrated one."""
        calibration = Calibration.default()
        tables = compile_program(load("iris-1site", size="lab"), WORKLOAD).steps
        for index, kind in enumerate(("access-token", "password", "refresh", "token-exchange", "health")):
            rows = slice(tables.first[index], tables.first[index + 1])
            demand = calibration.requests[kind]  # type: ignore[index]
            assert tables.app_cpu[rows].sum() == pytest.approx(demand.app_cpu.mean)
            assert tables.db_cpu[rows].sum() == pytest.approx(demand.db_cpu.mean)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """SIGKILL of whoever predicts leaves no worker simulating on its own."""
    script = tmp_path / "predicting.py"
    script.write_text(
        "from experiments.workload import Workload\n"
        "from sim.predict import Scenario, predict\n"
        "from topologies.loader import load\n"
        "if __name__ == '__main__':\n"
        "    long = Workload(users=200, think=0.1, duration=3600.0)\n"
        "    predict(Scenario(load('iris-3site-galera'), long), replications=4, workers=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        workers = _wait_for(lambda: found if len(found := _children(process.pid)) >= 3 else None)
    finally:
        process.kill()
        process.wait()
    _wait_for(lambda: True if not any(Path(f"/proc/{pid}").exists() for pid in workers) else None)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []


def _wait_for(found: Callable[[], T | None], seconds: float = 20.0) -> T:
    deadline = time.monotonic() + seconds
    while (result := found()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result

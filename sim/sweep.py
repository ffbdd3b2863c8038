"""Many programs, many replications each: on this machine's cores or on a cluster, and resumable.

Results do not depend on where they were computed, on the order in which they came or on how often the
sweep was interrupted. Each replication is recorded once (`sim.journal`), under the hash of its program
and of all else that it follows from; what is recorded is not computed again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from sim.calibration import Calibration
from sim.engine.choice import Engine, engine_for, prepare
from sim.journal import Journal, Metrics, metrics_of
from sim.predict import Scenario, spec_maker
from sim.program import compile_program
from sim.replication import Spec, run
from sim.rounds import Progress
from sim.sweep_result import PointResult, SweepResult
from sim.workers import uninterrupted, worker_pool

SMALLEST_LOTS = 4
"""Lots per worker at least: fewer, and the last one is waited for."""

CONNECT = 10.0
"""Seconds after which a scheduler that does not answer is not there."""

DEATHS = 3
"""Times in a row that workers may die without a result before a sweep gives up."""


class SweepError(RuntimeError):
    """Workers keep dying, or a cluster cannot be reached. What was computed is in the journal."""


@dataclass(frozen=True)
class Point:
    """One program of a sweep.

    Attributes:
        settings: what distinguishes it, for the table: column -> value.
        scenario: what is simulated.
        calibration: demands of the machine; the sweep's when not given.
    """

    settings: Mapping[str, Any]
    scenario: Scenario
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Lot:
    """Replications of one program that a worker carries out in one go."""

    key: str
    spec: Spec
    numbers: tuple[int, ...]


@dataclass
class _Plan:
    keys: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    compiled: bool = False


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the axes' values, the last axis varying fastest.

    >>> grid({"a": [1, 2], "b": ["x"]})
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'x'}]
    """
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def sweep(
    points: Sequence[Point],
    calibration: Calibration | None = None,
    seed: int = 0,
    *,
    replications: int = 10,
    workers: int = 2,
    cluster: Any = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
    engine: Engine = "compiled",
    note: Callable[[str], None] | None = None,
) -> SweepResult:
    """Simulate every point, ``replications`` times each.

    All points share their random numbers (replication n meets the same luck everywhere), so that
    differences between points are sharper than the points themselves.

    Args:
        points: what is simulated; equal programs are computed once.
        calibration: demands of the machine; the shipped ones by default.
        seed: of all random numbers.
        replications: of each point.
        workers: processes on this machine; 1 runs everything in this one.
        cluster: a Dask cluster instead: the address of its scheduler (`tcp://host:8786`), or a
            `distributed.Client`.
        journal: file of results; a sweep that was interrupted, on whatever machine, goes on from it.
        progress: told after every lot, what was recorded before included.
        engine: `compiled` or `reference`; both give the same numbers.
        note: told when the engine has to be compiled first, once per installation.

    Raises:
        ValueError: no points, fewer than two replications, or a topology that nobody can ask.
        SweepError: workers keep dying, or the cluster is not there.
        sim.journal.JournalError: the journal cannot be used.
    """
    if not points or replications < 2:
        raise ValueError("a sweep needs a point, and two replications of each for an interval")
    with closing(Journal(journal)) as book:
        plan = _plan(points, calibration or Calibration.default(), seed, engine, replications, workers, book)
        total = len(set(plan.keys)) * replications
        done = total - sum(len(lot.numbers) for lot in plan.lots)
        if plan.compiled and plan.lots and cluster is None:
            prepare(note)  # once, rather than in every worker
        if progress is not None:
            progress(done, total)
        with closing(_carry_out(plan.lots, workers, cluster)) as lots:
            for key, found in lots:
                done += book.record(key, found)
                if progress is not None:
                    progress(done, total)
        results = [
            PointResult(dict(point.settings), program, book.metrics(key, replications))
            for point, program, key in zip(points, plan.hashes, plan.keys, strict=True)
        ]
    return SweepResult(tuple(results), seed, replications)


def _plan(
    points: Sequence[Point],
    calibration: Calibration,
    seed: int,
    engine: Engine,
    replications: int,
    workers: int,
    book: Journal,
) -> _Plan:
    """Compile everything, and find what is still to be done."""
    plan = _Plan()
    todo: dict[str, tuple[Spec, list[int]]] = {}
    for point in points:
        scenario, demands = point.scenario, point.calibration or calibration
        program = compile_program(
            scenario.topology,
            scenario.workload,
            scenario.timeline,
            demands,
            size=scenario.size,
            platform=scenario.platform,
        )
        plan.compiled = plan.compiled or engine_for(program, engine) == "compiled"
        key = journal_key(program.hash, demands, seed, engine)
        plan.hashes.append(program.hash)
        plan.keys.append(key)
        if key not in todo:
            recorded = book.done(key)
            missing = [number for number in range(replications) if number not in recorded]
            todo[key] = spec_maker(scenario, demands, seed, engine)(0), missing
    left = sum(len(missing) for _, missing in todo.values())
    most = max(1, min(replications, left // (SMALLEST_LOTS * max(1, workers))))
    for key, (spec, missing) in todo.items():
        for start in range(0, len(missing), most):
            plan.lots.append(Lot(key, spec, tuple(missing[start : start + most])))
    return plan


def journal_key(program: str, calibration: Calibration, seed: int, engine: Engine = "compiled") -> str:
    """What a replication follows from but for its number: program, calibration, seed, and this model."""
    text = "\n".join([program, calibration.hash, str(seed), engine, model_version()])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def model_version() -> str:
    """Hash of the sources that a result follows from: another version never meets old results."""
    rooms = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in ("topologies", "experiments", "sim"):
        for source in sorted((rooms / room).rglob("*.py")):
            digest.update(source.relative_to(rooms).as_posix().encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()


def run_lot(lot: Lot) -> tuple[str, list[tuple[int, Metrics]]]:
    """What a worker does."""
    outcomes = [run(replace(lot.spec, replication=number)) for number in lot.numbers]
    return lot.key, [(outcome.replication, metrics_of(outcome)) for outcome in outcomes]


Found = Generator[tuple[str, list[tuple[int, Metrics]]], None, None]


def _carry_out(lots: Sequence[Lot], workers: int, cluster: Any) -> Found:
    if not lots:
        return
    if cluster is not None:
        yield from _on_cluster(lots, cluster)
    elif min(workers, len(lots)) <= 1:
        yield from map(run_lot, lots)
    else:
        yield from _on_this_machine(lots, min(workers, len(lots)))


def _on_this_machine(lots: Sequence[Lot], workers: int) -> Found:
    """A pool of processes; when one of them is killed a new pool takes over what is not done."""
    left = dict(enumerate(lots))
    deaths = 0
    while left:
        try:
            with worker_pool(workers) as pool:
                with uninterrupted():
                    futures = {pool.submit(run_lot, lot): number for number, lot in left.items()}
                for future in as_completed(futures):
                    found = future.result()
                    deaths = 0
                    del left[futures[future]]
                    yield found
        except BrokenProcessPool:
            deaths += 1
            if deaths >= DEATHS:
                raise SweepError(
                    f"worker processes died {deaths} times in a row; the journal keeps what was computed"
                ) from None


def _on_cluster(lots: Sequence[Lot], cluster: Any) -> Found:
    """Dask: lots of a worker that dies are given to another by the scheduler."""
    try:
        from distributed import Client
        from distributed import as_completed as as_they_come
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise SweepError("a cluster needs Dask: pip install 'faultline[study]'") from None
    ours = isinstance(cluster, str)
    try:
        client = Client(cluster, timeout=CONNECT) if ours else cluster  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise SweepError(f"there is no Dask scheduler at {cluster}: {error}") from None
    try:
        futures = client.map(run_lot, lots, pure=False, retries=DEATHS, batch_size=500)
        for future in as_they_come(futures):  # type: ignore[no-untyped-call]
            yield future.result()
            future.release()
    except (KilledWorker, FutureCancelledError) as error:
        raise SweepError(f"the cluster gave up: {error}; the journal keeps what was computed") from None
    finally:
        if ours:
            client.close()

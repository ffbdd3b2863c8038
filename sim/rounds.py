"""Replications in rounds: as many as asked for, or as many as a wanted precision takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from experiments.workload import Workload
from sim.replication import Outcome, Spec, run
from sim.statistics import Precision, achieved, replications_needed
from sim.workers import uninterrupted, worker_pool

Runner = Callable[[Sequence[Spec]], Iterable[Outcome]]
Progress = Callable[[int, int], None]
"""Called with (replications done, replications in all as far as known)."""

GROWTH = 2
"""A round at most doubles what there is: the first guess of the spread is a rough one."""


WORTH_WHILE = 1.0
"""Seconds that further processes must save: each takes about as long until it carries something out."""

PACE = {"compiled": 20_000.0, "reference": 500.0}
"""Requests simulated in a second, roughly (`make bench`, subject `trial`); nothing but the start of processes
depends on it."""


@contextmanager
def runner(workers: int) -> Iterator[Runner]:
    """What carries replications out, in any order; its processes live until the block is left.

    Small work stays in this process: others are started when they are likely to save time.

    Args:
        workers: processes; 1 runs everything in this one.
    """
    with ExitStack() as stack:
        pool: ProcessPoolExecutor | None = None
        taken: list[float] = []

        def shared(waiting: Sequence[Spec]) -> bool:
            if workers <= 1 or pool is not None:
                return workers > 1
            # The first one here also loads the engine: how long it takes says little.
            each = min(taken) if len(taken) > 1 else estimate(waiting[0])
            return each * len(waiting) * (1 - 1 / workers) > WORTH_WHILE

        def carry_out(specs: Sequence[Spec]) -> Iterator[Outcome]:
            nonlocal pool
            waiting = list(specs)
            while waiting and not shared(waiting):
                start = time.perf_counter()
                outcome = run(waiting.pop(0))
                taken.append(time.perf_counter() - start)
                yield outcome
            if not waiting:
                return
            if pool is None:
                pool = stack.enter_context(worker_pool(workers))
            with uninterrupted():
                futures = [pool.submit(run, spec) for spec in waiting]
            for future in as_completed(futures):
                yield future.result()

        yield carry_out


def estimate(spec: Spec) -> float:
    """About how many seconds a replication takes; requests that queue for long make it a high guess."""
    workload = Workload.model_validate(spec.workload)
    rate = workload.users / (workload.think + 0.1)
    rate += sum(stream.rate for stream in workload.probes) * len(spec.topology["sites"])
    pace = PACE["reference" if spec.platform is not None else spec.engine]
    return rate * workload.duration / pace


def replicate(
    spec_of: Callable[[int], Spec],
    count: int,
    *,
    workers: int = 2,
    progress: Progress | None = None,
    precision: Precision | None = None,
    keys: Sequence[str] = (),
) -> list[Outcome]:
    """Carry out replications 0, 1, 2, ... of one program, in order of their number.

    Without ``precision`` there are ``count``. With it ``count`` are the first round, and more follow until
    the means of ``keys`` are as well known as wanted or the cap is reached. What a round finds depends on
    no clock and no number of workers, so the same question always gets the same number of replications.
    """
    outcomes: list[Outcome] = []
    wanted = count if precision is None else min(count, precision.cap)
    with runner(min(workers, wanted)) as carry_out:
        while len(outcomes) < wanted:
            specs = [spec_of(number) for number in range(len(outcomes), wanted)]
            for outcome in carry_out(specs):
                outcomes.append(outcome)
                if progress is not None:
                    progress(len(outcomes), wanted)
            outcomes.sort(key=lambda outcome: outcome.replication)
            if precision is not None:
                wanted = _next(outcomes, precision, keys)
    return outcomes


def _next(outcomes: Sequence[Outcome], precision: Precision, keys: Sequence[str]) -> int:
    """How many replications there should be after the next round; as many as there are to stop."""
    count = len(outcomes)
    wanted = count
    for key in keys:
        values, unit = values_of(outcomes, key)
        if achieved(values, unit, precision.half_width).reached:
            continue
        needed = replications_needed(values, unit, precision.half_width)
        share = len(values) / count
        more = GROWTH * count if needed is None or not share else int(needed / share) + 1
        wanted = max(wanted, more, count + 1)
    return min(wanted, GROWTH * count, max(precision.cap, count))


def values_of(outcomes: Iterable[Outcome], key: str) -> tuple[list[float], str]:
    """The values of one metric over replications, and its unit."""
    found = [outcome.metrics[key] for outcome in outcomes if key in outcome.metrics]
    return [value for value, _, _, _ in found], found[0][2] if found else ""


def report(outcomes: Sequence[Outcome], precision: Precision, keys: Sequence[str]) -> dict[str, Any]:
    """What became of the wanted precision, as plain data."""
    metrics = {key: achieved(*values_of(outcomes, key), precision.half_width) for key in keys}
    return {
        "half_width": precision.half_width,
        "cap": precision.cap,
        "reached": all(found.reached for found in metrics.values()),
        "metrics": {key: asdict(found) for key, found in metrics.items()},
    }

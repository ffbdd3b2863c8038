"""One replication: run a program once and boil it down. Runs in worker processes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from experiments.faults import ScheduledFault
from experiments.metrics import reduce
from experiments.observation import Observation
from experiments.workload import Workload
from sim.calibration import Calibration
from sim.engine.choice import Engine, engine_for, simulation_of
from sim.program import Platform, Size, compile_program
from sim.random import Stream
from sim.statistics import mser
from topologies.model import Topology

COURSES = ("throughput", "latency_p50", "latency_p95", "error_rate")


@dataclass(frozen=True)
class Spec:
    """What a worker needs, as plain data: nothing live crosses a process boundary.

    Attributes:
        replication: counts from 0.
        seed: of the whole prediction.
        platform: see `sim.program.compile_program`.
        engine: see `sim.engine.choice`.
    """

    topology: dict[str, Any]
    workload: dict[str, Any]
    timeline: tuple[dict[str, Any], ...]
    calibration: dict[str, Any]
    size: Size
    seed: int
    replication: int
    platform: Platform | None = None
    engine: Engine = "compiled"


@dataclass(frozen=True)
class Outcome:
    """What a replication came to.

    Attributes:
        metrics: key -> (value, samples, unit, censored).
        courses: per second of the load, by name of COURSES; NaN where there is nothing.
        warmup: seconds that MSER-5 would cut.
        events: plain data.
        cpu_busy: mean cores in use, by node.
        requests: how many there were, probes included.
        engine: that it ran on.
    """

    replication: int
    metrics: dict[str, tuple[float, int, str, bool]]
    courses: dict[str, NDArray[np.float64]]
    warmup: float
    windows: tuple[tuple[float, float], ...]
    events: list[dict[str, Any]]
    cpu_busy: list[float]
    requests: int
    engine: Engine = "reference"


def seed_of(seed: int, replication: int) -> int:
    """Seed of one replication."""
    digest = hashlib.blake2b(f"{seed}/replication/{replication}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def run(spec: Spec) -> Outcome:
    """Carry out one replication, its calibration drawn from the calibration's uncertainty."""
    topology = Topology.model_validate(spec.topology)
    workload = Workload.model_validate(spec.workload)
    adapter = TypeAdapter(ScheduledFault)
    timeline = [adapter.validate_python(fault) for fault in spec.timeline]
    calibration = Calibration.model_validate(spec.calibration)
    if spec.platform is not None:
        calibration = calibration.with_pods()
    calibration = calibration.resample(Stream(spec.seed, "calibration", str(spec.replication)))
    program = compile_program(
        topology, workload, timeline, calibration, size=spec.size, platform=spec.platform
    )
    simulation = simulation_of(program, seed_of(spec.seed, spec.replication), spec.engine)
    simulation.run_until(workload.duration)
    observation = simulation.observation()
    metrics = reduce(observation, topology, workload)
    return Outcome(
        spec.replication,
        {key: (found.value, found.n, found.unit, found.censored) for key, found in metrics.items()},
        courses_of(observation),
        warmup_of(observation),
        observation.windows,
        [asdict(event) for event in observation.events],
        list(observation.extra["cpu_busy"]),
        len(observation.table),
        engine_for(program, spec.engine),
    )


def courses_of(observation: Observation) -> dict[str, NDArray[np.float64]]:
    """Throughput by completion, latency and errors by start, per second, load requests only."""
    bins = max(1, math.ceil(observation.duration))
    edges = np.arange(bins + 1, dtype=np.float64)
    requests = observation.table
    load = requests.where("source", "load")
    start, latency = requests.start[load], requests.latency[load]
    ok = requests.where("outcome", "ok")[load]
    throughput = np.histogram((start + latency)[ok], edges)[0].astype(np.float64)
    errors = np.histogram(start[~ok], edges)[0].astype(np.float64)
    quantiles = np.full((2, bins), np.nan)
    inside = ok & (start < bins)
    seconds, found = by_second(start[inside].astype(np.int64), latency[inside], (0.5, 0.95))
    quantiles[:, seconds] = found
    return dict(zip(COURSES, (throughput, quantiles[0], quantiles[1], errors), strict=True))


def by_second(
    second: NDArray[np.int64], values: NDArray[np.float64], quantiles: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Quantiles (linear interpolation, as numpy's) of the values of each second, all seconds at once.

    Returns:
        The seconds with values, ascending, and a row per quantile.
    """
    order = np.lexsort((values, second))
    ordered = values[order]
    seconds, first, count = np.unique(second[order], return_index=True, return_counts=True)
    found = np.empty((len(quantiles), len(seconds)))
    for row, quantile in enumerate(quantiles):
        position = quantile * (count - 1)
        below = np.floor(position).astype(np.int64)
        share = position - below
        low = ordered[first + below]
        high = ordered[first + np.minimum(below + 1, count - 1)]
        step = high - low
        found[row] = np.where(share >= 0.5, high - step * (1 - share), low + step * share)
    return seconds, found


def warmup_of(observation: Observation) -> float:
    """Where MSER-5 would cut the latencies seen before the first fault, in seconds."""
    end = min((start for start, _ in observation.windows), default=observation.duration)
    requests = observation.table
    mine = requests.where("source", "load") & requests.where("outcome", "ok") & (requests.start < end)
    starts = requests.start[mine]
    drop = mser(requests.latency[mine])
    return float(starts[drop]) if 0 < drop < len(starts) else 0.0

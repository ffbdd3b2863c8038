"""Predict what a run will measure: replications of the simulation, each metric with its intervals.

The result is a pure function of its arguments: the number of workers, the order in which they
finish, the clock and `PYTHONHASHSEED` have no part in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from experiments.catalogue import MetricKey
from experiments.faults import ScheduledFault
from experiments.hypothesis import Hypothesis
from experiments.workload import Workload
from sim.calibration import Calibration
from sim.engine.choice import Engine, engine_for, prepare
from sim.machine import CLUSTER_BUSY
from sim.program import Platform, Size, compile_program
from sim.replication import COURSES, Outcome, Spec
from sim.rounds import Progress, replicate, report
from sim.statistics import (
    BOUNDS,
    CONFIDENCE_LEVEL,
    PREDICTION_LEVEL,
    Bounds,
    Precision,
    band,
    confidence_interval,
    median,
    prediction_interval,
    proportion,
)
from sim.views import PredictionView
from topologies.model import Topology

SCHEMA = "faultline/prediction/1"
DIGITS = 10
"""Significant digits written: libraries of other machines differ in the last bits."""


@dataclass(frozen=True)
class Scenario:
    """What is predicted: a deployment, what carries it, what is asked of it, what breaks, what is claimed."""

    topology: Topology
    workload: Workload
    timeline: tuple[ScheduledFault, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    size: Size = "lab"
    platform: Platform | None = None


@dataclass(frozen=True)
class PredictedMetric:
    """One number to be measured.

    Attributes:
        unit: of all values.
        n: replications in which it had a value.
        mean: over them.
        median: over them; the point of the prediction.
        interval90: where one run falls with 90 % probability.
        confidence: where the mean is, with 95 % confidence.
        censored: share of replications in which the run ended before the value was final.
    """

    unit: str
    n: int
    mean: float
    median: float
    interval90: tuple[float, float]
    confidence: tuple[float, float]
    censored: float = 0.0

    @property
    def low(self) -> float:
        """Lower end of the prediction interval."""
        return self.interval90[0]

    @property
    def high(self) -> float:
        """Upper end of the prediction interval."""
        return self.interval90[1]


@dataclass(frozen=True)
class PredictedHypothesis:
    """How likely a claim is to hold in one run.

    Attributes:
        claim: in the experiment's words.
        key: of the claimed metric.
        probability: share of replications in which it held; None when the metric had no value.
        interval90: of the probability (Wilson).
    """

    claim: str
    key: str
    n: int
    probability: float | None
    interval90: tuple[float, float] | None


@dataclass(frozen=True)
class Prediction(PredictionView):
    """All that is predicted for one run.

    Attributes:
        program_hash: of the program compiled with the calibration's means.
        windows: fault windows as (inject, undo) in seconds since the load started.
        warmup_detected: where MSER-5 would cut, median over replications, seconds.
        course: per name of `sim.replication.COURSES`: `t` (middle of each second), `low`, `point`,
            `high` (None where nothing is known).
        events: component events of the first replication, as an example.
        cpu_busy: mean cores in use, by node.
        machine_busy: share of the calibrated machine's cores that all nodes of a lab and its load
            generators would use together; None for production size.
        precision: the wanted half width, the cap and, by metric, what was reached; None when only a
            number of replications was asked for.
        platform: what carries the processes, if not bare nodes.
    """

    program_hash: str
    calibration_hash: str
    seed: int
    replications: int
    duration: float
    warmup: float
    warmup_detected: float
    windows: tuple[tuple[float, float], ...]
    metrics: dict[str, PredictedMetric]
    hypotheses: tuple[PredictedHypothesis, ...]
    course: dict[str, dict[str, list[float | None]]]
    events: list[dict[str, Any]] = field(default_factory=list)
    cpu_busy: list[float] = field(default_factory=list)
    machine_busy: float | None = None
    precision: dict[str, Any] | None = None
    level: float = PREDICTION_LEVEL
    confidence_level: float = CONFIDENCE_LEVEL
    engine: str = "reference"
    schema: str = SCHEMA
    platform: str | None = None

    def data(self) -> dict[str, Any]:
        """Plain data, rounded to DIGITS significant digits."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        if self.platform is None:
            del rounded["platform"]
        return rounded

    def to_json(self) -> str:
        """Canonical text: equal predictions give equal bytes; it holds no time stamp."""
        return json.dumps(self.data(), sort_keys=True, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Prediction:
        """The inverse of `to_json`.

        Raises:
            ValueError: another schema.
        """
        data = json.loads(text)
        if data.get("schema") != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, found {data.get('schema')!r}")
        data["windows"] = tuple((a, b) for a, b in data["windows"])
        data["metrics"] = {
            key: PredictedMetric(
                **found | {"interval90": tuple(found["interval90"]), "confidence": tuple(found["confidence"])}
            )
            for key, found in data["metrics"].items()
        }
        data["hypotheses"] = tuple(
            PredictedHypothesis(
                **found | {"interval90": None if found["interval90"] is None else tuple(found["interval90"])}
            )
            for found in data["hypotheses"]
        )
        return cls(**data)


def predict(
    scenario: Scenario,
    calibration: Calibration | None = None,
    seed: int = 0,
    *,
    replications: int = 20,
    workers: int = 2,
    progress: Progress | None = None,
    precision: Precision | None = None,
    engine: Engine = "compiled",
    note: Callable[[str], None] | None = None,
) -> Prediction:
    """Predict one run of ``scenario``.

    Args:
        scenario: what is run.
        calibration: demands of the machine; the shipped ones by default.
        seed: of all random numbers.
        replications: independent runs of the same length, each with parameters drawn from the
            calibration's uncertainty; from 19 on the 90 % intervals rest on order statistics alone.
        workers: processes; 1 runs everything in this one.
        progress: told after every replication.
        precision: go on until the confidence intervals are this narrow, or the cap is reached; which of
            the two it was stands in the prediction. ``replications`` are the first round then.
        engine: `compiled` or `reference`; both give the same numbers.
        note: told what takes long besides replications: compiling the engine, once per installation.

    Raises:
        ValueError: fewer than two replications, a topology that nobody can ask, or a precision wanted for
            something that is no metric.
    """
    if replications < 2:
        raise ValueError("a prediction needs at least two replications: there is no interval from one")
    calibration = calibration or Calibration.default()
    keys = precise_keys(scenario, precision) if precision else ()
    program = compile_program(
        scenario.topology,
        scenario.workload,
        scenario.timeline,
        calibration,
        size=scenario.size,
        platform=scenario.platform,
    )
    if engine_for(program, engine) == "compiled":
        prepare(note)  # once, rather than in every worker
    outcomes = replicate(
        spec_maker(scenario, calibration, seed, engine),
        replications,
        workers=workers,
        progress=progress,
        precision=precision,
        keys=keys,
    )
    found = summarise(scenario, outcomes, program.hash, calibration, seed)
    return replace(found, precision=report(outcomes, precision, keys)) if precision else found


def spec_maker(
    scenario: Scenario, calibration: Calibration, seed: int, engine: Engine = "compiled"
) -> Callable[[int], Spec]:
    """What makes the order for the n-th replication of ``scenario``."""
    topology, workload = scenario.topology.model_dump(), scenario.workload.model_dump()
    timeline = tuple(fault.model_dump() for fault in scenario.timeline)
    demands = calibration.model_dump()
    return lambda number: Spec(
        topology, workload, timeline, demands, scenario.size, seed, number, scenario.platform, engine
    )


def precise_keys(scenario: Scenario, precision: Precision) -> tuple[str, ...]:
    """The metrics whose means are to be known as precisely as wanted: see `Precision.metrics`.

    Raises:
        ValueError: one of them is no metric.
    """
    if precision.metrics:
        return tuple(str(MetricKey.parse(key)) for key in precision.metrics)
    claimed = tuple(str(claim.completed(scenario.workload).key) for claim in scenario.hypotheses)
    flow = scenario.workload.flow
    return claimed or tuple(f"{name}{{flow={flow}}}@whole" for name in ("throughput", "latency_p50"))


def summarise(
    scenario: Scenario, outcomes: Sequence[Outcome], program_hash: str, calibration: Calibration, seed: int
) -> Prediction:
    """Turn replications, in order, into a prediction."""
    keys = sorted({key for outcome in outcomes for key in outcome.metrics})
    metrics: dict[str, PredictedMetric] = {}
    for key in keys:
        found = [outcome.metrics[key] for outcome in outcomes if key in outcome.metrics]
        # A number that most runs do not have cannot be promised for one.
        if len(found) >= max(2.0, len(outcomes) / 2):
            metrics[key] = _metric(found)
    windows = tuple(
        (
            fault.at,
            scenario.workload.duration
            if fault.duration is None
            else min(fault.at + fault.duration, scenario.workload.duration),
        )
        for fault in scenario.timeline
    )
    course: dict[str, dict[str, list[float | None]]] = {}
    for name in COURSES:
        low, point, high = band(np.vstack([outcome.courses[name] for outcome in outcomes]))
        course[name] = {
            "t": [second + 0.5 for second in range(len(point))],
            "low": _known(low),
            "point": _known(point),
            "high": _known(high),
        }
    cpu_busy = np.mean([outcome.cpu_busy for outcome in outcomes], axis=0).tolist()
    machine_busy = None
    if scenario.size == "lab":
        rate = float(np.mean([outcome.requests for outcome in outcomes])) / scenario.workload.duration
        clusters = 0.0 if scenario.platform is None else CLUSTER_BUSY * len(scenario.topology.sites)
        used = sum(cpu_busy) + rate * calibration.load_cpu.mean + clusters
        machine_busy = used / calibration.machine.cores
    return Prediction(
        program_hash=program_hash,
        calibration_hash=calibration.hash,
        seed=seed,
        replications=len(outcomes),
        duration=scenario.workload.duration,
        warmup=scenario.workload.warmup,
        warmup_detected=median([outcome.warmup for outcome in outcomes]),
        windows=windows,
        metrics=metrics,
        hypotheses=tuple(_hypothesis(claim, scenario, outcomes) for claim in scenario.hypotheses),
        course=course,
        events=outcomes[0].events,
        cpu_busy=cpu_busy,
        machine_busy=machine_busy,
        engine=outcomes[0].engine,
        platform=scenario.platform,
    )


def _metric(found: Sequence[tuple[float, int, str, bool]]) -> PredictedMetric:
    values = [value for value, _, _, _ in found]
    unit = found[0][2]
    bounds = BOUNDS.get(unit, Bounds())
    low, high = confidence_interval(values)
    return PredictedMetric(
        unit=unit,
        n=len(values),
        mean=math.fsum(values) / len(values),
        median=median(values),
        interval90=prediction_interval(values, bounds=bounds),
        confidence=(max(low, bounds.low), min(high, bounds.high)),
        censored=sum(censored for _, _, _, censored in found) / len(found),
    )


def _hypothesis(claim: Hypothesis, scenario: Scenario, outcomes: Sequence[Outcome]) -> PredictedHypothesis:
    claim = claim.completed(scenario.workload)
    key = str(claim.key)
    values = [outcome.metrics[key][0] for outcome in outcomes if key in outcome.metrics]
    if not values:
        return PredictedHypothesis(str(claim), key, 0, None, None)
    share, low, high = proportion(sum(claim.holds(value) for value in values), len(values))
    return PredictedHypothesis(str(claim), key, len(values), share, (low, high))


def _known(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return value

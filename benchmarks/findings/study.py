"""What is simulated: every set-up under every load, and how the results are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.findings.setups import SETUPS, SetUp, demands
from experiments.workload import STEPS, Workload
from sim.predict import Scenario
from sim.rounds import Progress
from sim.statistics import BOUNDS, Bounds, confidence_interval
from sim.sweep import Point, sweep

SEED = 20261121
FLOWS = ("access-token", "refresh", "workflow")
THINK = {"no pause": 0.0, "3 s pause": 3.0}
"""Mean pause of a user between two iterations, in seconds. The study does not state its own: zero is what
Locust does when a test says nothing, 3 s is the mean of the `between(1, 5)` of Locust's introduction."""

CODES = {
    "500": ("conflict", "server-error"),
    "401": ("stale",),
    "502": ("bad-gateway",),
    "503": ("unavailable",),
    "504": ("gateway-timeout",),
    "none": ("timeout", "refused", "other"),
}
"""HTTP status -> outcomes that have it (experiments.observation.OUTCOMES)."""


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes:
        users, ramp, duration: of the load: how many, per second, seconds.
        trials: of each set-up.
    """

    users: int = 500
    ramp: float = 10.0
    duration: float = 600.0
    trials: int = 3


FULL = Size()
ANY = Bounds()
QUICK = Size(users=12, ramp=12.0, duration=4.0, trials=2)


@dataclass(frozen=True)
class Case:
    """One set-up under one load."""

    setup: SetUp
    flow: str
    pause: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What a result is asked for by."""
        return self.setup.name, self.flow, self.pause

    def point(self, size: Size) -> Point:
        """What the sweep simulates."""
        topology = self.setup.topology()
        # Locust's client waits as long as it takes: HAProxy's 50 s end first.
        workload = Workload.model_validate(
            {"flow": self.flow, "users": size.users, "ramp": size.ramp, "think": THINK[self.pause]}
            | {"duration": size.duration, "warmup": 0.0, "timeout": 60.0, "probes": []}
        )
        scenario = Scenario(topology, workload, size="production")
        return Point(
            dict(zip(("setup", "flow", "pause"), self.key, strict=True)), scenario, demands(topology)
        )


@dataclass(frozen=True)
class Estimated:
    """A mean over trials.

    Attributes:
        low, high: its 95 % confidence interval.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], bounds: Bounds = ANY) -> Estimated:
        """From one value per trial."""
        low, high = confidence_interval(values)
        return cls(sum(values) / len(values), max(low, bounds.low), min(high, bounds.high))


@dataclass
class Results:
    """One value per trial, by case and metric.

    Attributes:
        values: (set-up, flow, pause) -> metric -> value of each trial.
    """

    values: dict[tuple[str, str, str], dict[str, list[float]]] = field(default_factory=dict)

    def trials(self, case: tuple[str, str, str], metric: str) -> list[float]:
        """Values of the trials, in order.

        Raises:
            KeyError: it was not simulated.
        """
        return self.values[case][metric]

    def estimate(self, case: tuple[str, str, str], metric: str) -> Estimated:
        """The mean with its interval."""
        unit = "/s" if metric == "throughput" else "s" if metric.startswith("latency") else "ratio"
        return Estimated.of(self.trials(case, metric), BOUNDS[unit])

    def data(self) -> list[dict[str, Any]]:
        """Plain data."""
        return [
            {"setup": setup, "flow": flow, "pause": pause, **metrics}
            for (setup, flow, pause), metrics in self.values.items()
        ]

    @classmethod
    def of_data(cls, rows: Iterable[dict[str, Any]]) -> Results:
        """The inverse of `data`."""
        found = cls()
        for row in rows:
            metrics = dict(row)
            key = metrics.pop("setup"), metrics.pop("flow"), metrics.pop("pause")
            found.values[key] = metrics
        return found


def grid() -> list[Case]:
    """Every set-up, flow and pause."""
    return [Case(setup, flow, pause) for pause in THINK for flow in FLOWS for setup in SETUPS.values()]


def simulate(
    cases: Sequence[Case],
    size: Size,
    *,
    journal: str | Path | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Results:
    """Simulate ``cases``; what ``journal`` has is not simulated again."""
    points = [case.point(size) for case in cases]
    found = sweep(
        points, seed=SEED, replications=size.trials, workers=workers, journal=journal, progress=progress
    )
    results = Results()
    for case, point in zip(cases, found.points, strict=True):
        trials = [point.replications[number] for number in sorted(point.replications)]
        results.values[case.key] = {
            name: [_value(metrics, name, case.flow) for metrics in trials] for name in _names(case.flow)
        }
    return results


def _names(flow: str) -> list[str]:
    latencies = [f"latency_p{percent}" for percent in (50, 80, 95)]
    by_request = [f"{kind}:success_ratio" for kind in STEPS[flow]] if len(STEPS[flow]) > 1 else []
    return ["throughput", *latencies, "failed", *CODES, *by_request]


def _value(metrics: Any, name: str, flow: str) -> float:
    def of(metric: str, scope: str = "") -> float:
        found = metrics.get(f"{metric}{{flow={flow}{scope}}}@whole")
        return float("nan") if found is None else float(found[0])

    def share(outcome: str) -> float:
        return of("stale_reads") if outcome == "stale" else of("error_ratio", f",kind={outcome}")

    if name == "failed":
        return 1.0 - of("success_ratio")
    if name in CODES:
        return sum(share(outcome) for outcome in CODES[name])
    if ":" in name:
        kind, metric = name.split(":")
        return of(metric, f",request={kind}")
    return of(name)

"""What is simulated, and how the results are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.findings.setups import SETUPS, SetUp, demands
from experiments.faults import Fault, ScheduledFault
from experiments.workload import Flow, Workload
from sim.journal import Journal, Metrics
from sim.predict import Scenario
from sim.program import compile_program
from sim.rounds import Progress
from sim.statistics import BOUNDS, Bounds, confidence_interval
from sim.sweep import Point, journal_key, sweep

SEED = 20261121
FLOWS: tuple[Flow, ...] = ("access-token", "refresh", "workflow")
BUSY, CALM = "no pause", "3 s pause"
THINK = {BUSY: 0.0, CALM: 3.0}
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

LATENCIES = ("latency_p50", "latency_p80", "latency_p95")
ANY = Bounds()

Key = tuple[str, str, str]
"""Set-up, flow, load."""


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes:
        users, ramp, duration: of the load: how many, per second, seconds.
        trials: of each set-up.
        share: of the everyday hours and of what faults are given.
    """

    users: int = 500
    ramp: float = 10.0
    duration: float = 600.0
    trials: int = 3
    share: float = 1.0


FULL = Size()
QUICK = Size(users=12, ramp=12.0, duration=4.0, trials=2, share=0.02)


@dataclass(frozen=True)
class Case:
    """One set-up under one load of the study."""

    setup: SetUp
    flow: Flow
    load: str

    @property
    def key(self) -> Key:
        """What a result is asked for by."""
        return self.setup.name, self.flow, self.load

    def workload(self, size: Size) -> dict[str, Any]:
        """What the users do. The study's client waits as long as it takes: HAProxy's 50 s end first."""
        return {"users": size.users, "ramp": size.ramp, "think": THINK[self.load], "duration": size.duration}

    def timeline(self, size: Size) -> tuple[ScheduledFault, ...]:
        """What breaks: nothing."""
        return ()

    def point(self, size: Size) -> Point:
        """What the sweep simulates."""
        topology = self.setup.topology()
        common: dict[str, Any] = {"flow": self.flow, "warmup": 0.0, "timeout": 60.0, "probes": []}
        workload = Workload.model_validate(common | self.workload(size))
        scenario = Scenario(topology, workload, self.timeline(size), size="production")
        settings = dict(zip(("setup", "flow", "load"), self.key, strict=True))
        return Point(settings, scenario, demands(topology))

    @property
    def window(self) -> str:
        """Of the load that is looked at."""
        return "whole"

    def read(self, metrics: Metrics) -> dict[str, float]:
        """The figures of one trial: answers per second, latencies, failed share, and that by HTTP status."""

        def of(metric: str, scope: str = "") -> float:
            found = metrics.get(f"{metric}{{flow={self.flow}{scope}}}@{self.window}")
            return float("nan") if found is None else float(found[0])

        def share(outcome: str) -> float:
            return of("stale_reads") if outcome == "stale" else of("error_ratio", f",kind={outcome}")

        found = {name: of(name) for name in ("throughput", *LATENCIES)}
        found["failed"] = 1.0 - of("success_ratio")
        found |= {code: sum(share(outcome) for outcome in kinds) for code, kinds in CODES.items()}
        return found


@dataclass(frozen=True)
class Everyday(Case):
    """One set-up under the load of an ordinary day.

    Attributes:
        per_hour: iterations of the flow.
        hours: simulated per trial.
    """

    per_hour: float = 0.0
    hours: float = 1.0

    USERS = 20

    def workload(self, size: Size) -> dict[str, Any]:
        """Few users with long pauses: requests come almost at random, after all have begun with one."""
        think = self.USERS * 3600 / self.per_hour
        duration = max(60.0, 3600 * self.hours * size.share)
        load = {"users": self.USERS, "ramp": 10.0, "think": min(think, duration / 3), "duration": duration}
        return load | {"warmup": min(60.0, duration / 4)}


@dataclass(frozen=True)
class Loss(Case):
    """One set-up that loses something while users ask for access tokens, with pauses.

    Attributes:
        faults: what is lost, all at once, and comes back.
    """

    faults: tuple[Fault, ...] = ()

    AT, LASTS, REST = 60.0, 90.0, 30.0
    USERS = 50

    def workload(self, size: Size) -> dict[str, Any]:
        """A calm load."""
        duration = (self.AT + self.LASTS + self.REST) * max(size.share, 0.1)
        return {"users": self.USERS, "ramp": 50.0, "think": THINK[CALM], "duration": duration}

    def timeline(self, size: Size) -> tuple[ScheduledFault, ...]:
        """All faults together."""
        share = max(size.share, 0.1)
        return tuple(
            ScheduledFault(name=f"loss {n}", fault=fault, at=self.AT * share, duration=self.LASTS * share)
            for n, fault in enumerate(self.faults)
        )

    @property
    def window(self) -> str:
        """While it is lost."""
        return "fault"


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
    """One value per trial, by case and figure.

    Attributes:
        values: key of the case -> figure -> value of each trial.
    """

    values: dict[Key, dict[str, list[float]]] = field(default_factory=dict)

    def trials(self, case: Key, figure: str) -> list[float]:
        """Values of the trials, in order.

        Raises:
            KeyError: it was not simulated.
        """
        return self.values[case][figure]

    def estimate(self, case: Key, figure: str) -> Estimated:
        """The mean with its interval."""
        unit = "/s" if figure == "throughput" else "s" if figure in LATENCIES else "ratio"
        return Estimated.of(self.trials(case, figure), BOUNDS[unit])

    def data(self) -> list[dict[str, Any]]:
        """Plain data, six digits, None where a trial has no value."""
        return [
            {"setup": setup, "flow": flow, "load": load}
            | {name: [_rounded(value) for value in values] for name, values in figures.items()}
            for (setup, flow, load), figures in self.values.items()
        ]

    @classmethod
    def of_data(cls, rows: Iterable[Mapping[str, Any]]) -> Results:
        """The inverse of `data`."""
        found = cls()
        for row in rows:
            figures = dict(row)
            key = figures.pop("setup"), figures.pop("flow"), figures.pop("load")
            found.values[key] = {
                name: [float("nan") if value is None else value for value in values]
                for name, values in figures.items()
            }
        return found


def grid() -> list[Case]:
    """Every set-up, flow and load of the study."""
    return [Case(setup, flow, load) for load in THINK for flow in FLOWS for setup in SETUPS.values()]


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
        trials = [case.read(point.replications[number]) for number in sorted(point.replications)]
        results.values[case.key] = {name: [trial[name] for trial in trials] for name in trials[0]}
    return results


def recorded(cases: Sequence[Case], size: Size, journal: str | Path) -> list[Case]:
    """Those of ``cases`` whose trials are all in ``journal``."""
    found = []
    with closing(Journal(journal)) as book:
        for case in cases:
            point = case.point(size)
            scenario, costs = point.scenario, point.calibration
            assert costs is not None
            program = compile_program(
                scenario.topology, scenario.workload, scenario.timeline, costs, size=scenario.size
            )
            if len(book.done(journal_key(program.hash, costs, SEED))) >= size.trials:
                found.append(case)
    return found


def _rounded(value: float) -> float | None:
    return None if value != value else float(f"{value:.6g}")

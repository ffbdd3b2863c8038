"""Where the time goes, in the set-ups that explain the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import BUSY, CALM, SEED, Case, Size
from sim.phases import PHASES, watch
from sim.program import compile_program
from sim.replication import seed_of

LOOK = Size(users=500, ramp=500.0, duration=15.0)
CALM_LOOK = Size(users=500, ramp=500.0, duration=30.0)

LOOKED_AT = (
    ("docker-external", "access-token", BUSY),
    ("two-external-0", "access-token", BUSY),
    ("one-galera-3", "access-token", BUSY),
    ("two-galera-5-30", "access-token", BUSY),
    ("docker-external", "access-token", CALM),
    ("two-galera-5-0", "access-token", CALM),
    ("two-galera-5-30", "access-token", CALM),
    ("two-replication-local-30", "access-token", CALM),
    ("docker-external", "workflow", BUSY),
    ("one-galera-3", "workflow", BUSY),
)


@dataclass(frozen=True)
class Where:
    """Mean seconds per answered request by phase, of one case.

    Attributes:
        requests: answered.
        latency: their mean.
        phases: by name of `sim.phases.PHASES`.
    """

    setup: str
    flow: str
    load: str
    requests: int
    latency: float
    phases: dict[str, float]

    def data(self) -> dict[str, Any]:
        """Plain data, six digits."""
        phases = {name: float(f"{value:.6g}") for name, value in self.phases.items()}
        return vars(self) | {"latency": float(f"{self.latency:.6g}"), "phases": phases}

    def largest(self, count: int = 3) -> list[tuple[str, float]]:
        """The largest phases and their shares of the time."""
        ordered = sorted(self.phases.items(), key=lambda item: -item[1])[:count]
        return [(name, seconds / self.latency) for name, seconds in ordered]


def look(key: tuple[str, str, str], quick: bool = False) -> Where:
    """Watch one case with the reference engine, which knows where each request is, for some seconds."""
    setup, flow, load = key
    case = Case(SETUPS[setup], flow, load)  # type: ignore[arg-type]
    size = Size(12, 12.0, 3.0) if quick else LOOK if load == BUSY else CALM_LOOK
    point = case.point(size)
    assert point.calibration is not None
    program = compile_program(
        point.scenario.topology, point.scenario.workload, (), point.calibration, size="production"
    )
    seen = watch(program, seed_of(SEED, 0))
    ok = seen[(seen["outcome"] == "ok") & (seen["start"] >= size.duration / 5)]
    phases = {phase: float(ok[phase].mean()) for phase in PHASES}
    return Where(setup, flow, load, len(ok), float(ok["latency"].mean()), phases)

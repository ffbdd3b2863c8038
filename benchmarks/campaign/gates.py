"""What the campaign must show, and whether it does.

Per cell the mean over replications is compared with the mean over repeats. The error is relative to the
measured value, but at least to the value at which the gate is as wide as the absolute difference that is
allowed for this metric (0.2 points for conflicts, for instance, and the error bar of a recovery time): a
rate of 0.1 % predicted as 0.2 % is no error of 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.campaign.record import Data, Recorded
from faultline.verdict import NEVER_ROOM, samples_needed

COVERAGE = 0.85
"""Share of runs that the 90 % prediction intervals must contain."""


@dataclass(frozen=True)
class Gate:
    """How far one metric may be off.

    Attributes:
        name: for people.
        key: of the metric; `{flow}` stands for the cell's flow.
        limit: mean absolute relative error; the bias may be half of it.
        points: absolute difference that is no error in small values; None: the instrument's resolution.
        column: short name, for a table with a column per gate.
    """

    name: str
    key: str
    limit: float
    points: float | None
    column: str

    def of(self, flow: str) -> str:
        """The metric's key for users of ``flow``."""
        return self.key.replace("{flow}", flow)


GATES = (
    Gate("throughput", "throughput{flow={flow}}@whole", 0.05, 0.0, "rate"),
    Gate("mean latency", "latency_mean{flow={flow}}@whole", 0.08, 0.0, "mean"),
    Gate("p95 latency", "latency_p95{flow={flow}}@whole", 0.12, 0.0, "p95"),
    Gate("p99 latency", "latency_p99{flow={flow}}@whole", 0.20, 0.0, "p99"),
    Gate("conflict rate", "error_ratio{flow={flow},kind=conflict}@whole", 0.15, 0.002, "conflicts"),
    Gate("stale rate", "stale_reads{flow={flow}}@whole", 0.15, 0.02, "stale"),
    Gate("write stall", "write_stall@whole", 0.20, None, "stall"),
    Gate("recovery of writes", "recovery_time{flow=access-token}@whole", 0.20, None, "writes back"),
    Gate("recovery of reads", "recovery_time{flow=health}@whole", 0.20, None, "reads back"),
)


@dataclass(frozen=True)
class Residual:
    """One gate at one cell.

    Attributes:
        predicted, measured: means.
        error: signed, relative; positive: predicted too high.
        inside, runs: how many of the runs lay in the 90 % interval.
    """

    cell: str
    gate: Gate
    predicted: float
    measured: float
    error: float
    inside: int
    runs: int

    @property
    def excess(self) -> float:
        """The error in units of the gate."""
        return abs(self.error) / self.gate.limit


def residual(gate: Gate, recorded: Recorded, repeats: Sequence[Data], prediction: Data) -> Residual | None:
    """Compare one metric of one cell; None where there is nothing to compare.

    That is: no value on one side; too few samples in all repeats together; a value that was cut off by the
    end of the run; or a certainty (no conflict can happen with one writer) that held, which tests nothing.
    """
    key = gate.of(recorded.flow)
    expected = prediction["metrics"].get(key)
    found = [repeat["metrics"][key] for repeat in repeats if key in repeat["metrics"]]
    if expected is None or not found or sum(n for _, n, _, _ in found) < samples_needed(key):
        return None
    mean, low, _, high, censored = expected
    if censored > NEVER_ROOM or any(cut for _, _, _, cut in found):
        return None
    values = [value for value, _, _, _ in found]
    if low == high and all(value == low for value in values):
        return None
    seen = math.fsum(values) / len(values)
    points = max(resolution for _, _, resolution, _ in found) if gate.points is None else gate.points
    scale = max(abs(seen), points / gate.limit)
    error = (
        0.0 if mean == seen else math.copysign(math.inf, mean - seen) if scale == 0 else (mean - seen) / scale
    )
    inside = sum(low - resolution <= value <= high + resolution for value, _, resolution, _ in found)
    return Residual(recorded.name, gate, mean, seen, error, inside, len(found))


def residuals(cells: Iterable[Recorded], which: Literal["sound", "counted"] = "sound") -> list[Residual]:
    """All gates at all cells.

    Args:
        cells: with their registered predictions.
        which: repeats on an undisturbed machine, or all that stand.
    """
    return [
        found
        for recorded in cells
        for gate in GATES
        if (found := residual(gate, recorded, getattr(recorded, which), recorded.prediction)) is not None
    ]


@dataclass(frozen=True)
class Outcome:
    """One gate over all cells.

    Attributes:
        n: cells.
        mape: mean absolute relative error; None without cells.
        bias: mean signed relative error.
        inside, runs: coverage of the 90 % intervals.
    """

    gate: Gate
    n: int
    mape: float | None
    bias: float | None
    inside: int
    runs: int

    @property
    def held(self) -> bool | None:
        """Whether error and bias are small enough; None without cells."""
        if self.mape is None or self.bias is None:
            return None
        return self.mape <= self.gate.limit and abs(self.bias) <= self.gate.limit / 2

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "metric": self.gate.name,
            "n": self.n,
            "mape": self.mape,
            "bias": self.bias,
            "inside": self.inside,
            "runs": self.runs,
            "gate": self.gate.limit,
            "held": self.held,
        }


def outcomes(found: Sequence[Residual]) -> list[Outcome]:
    """Every gate, in order."""
    return [_outcome(gate, [one for one in found if one.gate is gate]) for gate in GATES]


def _outcome(gate: Gate, mine: Sequence[Residual]) -> Outcome:
    mape = bias = None
    if mine:
        mape = math.fsum(abs(one.error) for one in mine) / len(mine)
        bias = math.fsum(one.error for one in mine) / len(mine)
    return Outcome(
        gate, len(mine), mape, bias, sum(one.inside for one in mine), sum(one.runs for one in mine)
    )


def coverage(found: Sequence[Residual]) -> float | None:
    """Share of (run, metric) pairs inside their 90 % intervals; None without any."""
    runs = sum(one.runs for one in found)
    return sum(one.inside for one in found) / runs if runs else None


def all_held(found: Sequence[Residual]) -> bool:
    """Whether the campaign shows what it must."""
    covered = coverage(found)
    return covered is not None and covered >= COVERAGE and all(one.held for one in outcomes(found))

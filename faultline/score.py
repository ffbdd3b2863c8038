"""The score over all runs: how often the 90 % intervals were right, and how far off the points were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from faultline.ledger import Row
from faultline.verdict import (
    Interval,
    Measured,
    Verdict,
    is_certain,
    is_headline,
    judge_metric,
    metric_name,
    samples_needed,
)

SIMULATED = "simulated"


@dataclass(frozen=True)
class Scored:
    """One metric of one run, predicted and measured.

    Attributes:
        inside: the measured value lay in the interval (within the instrument's resolution).
    """

    run_id: str
    backend: str
    key: str
    interval: Interval
    value: float
    inside: bool

    @property
    def error(self) -> float | None:
        """Predicted by measured, less one; None when the measured value is zero."""
        if self.value == 0 or self.interval.point is None:
            return None
        return self.interval.point / self.value - 1


@dataclass(frozen=True)
class Score:
    """Over several measurements of one metric on one backend.

    Attributes:
        coverage: share of them inside their 90 % interval.
        coverage_low, coverage_high: 95 % confidence interval of the coverage (Wilson).
        bias: median signed relative error of the point; positive: predicted too high.
        error: median absolute relative error.
        validation: whether it says anything about reality; never for the simulated backend.
    """

    backend: str
    metric: str
    runs: int
    count: int
    inside: int
    coverage: float
    coverage_low: float
    coverage_high: float
    bias: float | None
    error: float | None
    validation: bool


@dataclass(frozen=True)
class Unscored:
    """A measurement that does not count, and why."""

    run_id: str
    reason: str


def pairs(rows: Sequence[Row], *, everything: bool = False) -> tuple[list[Scored], list[Unscored]]:
    """Match measurements with the predictions registered before them.

    Args:
        rows: the ledger's, in order.
        everything: also the break-down by site, request and kind; else headline metrics only.
    """
    predictions: dict[str, Row] = {}
    scored: list[Scored] = []
    unscored: list[Unscored] = []
    for row in rows:
        if row.kind == "prediction":
            predictions.setdefault(row.run_id, row)
        elif row.kind == "measurement":
            reason = _why_not(predictions.get(row.run_id), row)
            if reason:
                unscored.append(Unscored(row.run_id, reason))
            else:
                scored += _of_run(predictions[row.run_id], row, everything)
    measured = {row.run_id for row in rows if row.kind == "measurement"}
    unscored += [Unscored(run_id, "never measured") for run_id in predictions if run_id not in measured]
    return scored, unscored


def _why_not(prediction: Row | None, measurement: Row) -> str:
    if prediction is None:
        return "no prediction was registered before it"
    content = measurement.content
    if content.get("disturbances"):
        return "the lab was disturbed: " + "; ".join(content["disturbances"])
    first = content.get("first_injection")
    if first and first < prediction.time:
        return "the first fault is older than the prediction"
    return ""


def _of_run(prediction: Row, measurement: Row, everything: bool) -> Iterator[Scored]:
    measured = measurement.content
    faulted = bool(measured.get("first_injection"))
    for key, bounds in prediction.content["intervals"].items():
        found = measured["metrics"].get(key)
        if found is None or not (everything or is_headline(key, faulted)):
            continue
        value = Measured(found["value"], found["n"], found["resolution"], found["censored"])
        interval = Interval(*bounds)
        low, high = interval.low, interval.high
        if low is None or high is None or value.value is None or value.samples < samples_needed(key):
            continue
        verdict = judge_metric(key, interval, value).verdict
        # A wide interval that contains its value is right, if useless; one that was cut off by
        # the end of the run is neither, and a certainty that held is no test of an interval.
        outside = value.value < low - value.resolution or value.value > high + value.resolution
        if verdict is Verdict.HELD:
            outside = False
        if (outside and verdict is not Verdict.DEVIATED) or (is_certain(interval) and not outside):
            continue
        yield Scored(measurement.run_id, str(measured["backend"]), key, interval, value.value, not outside)


def scores(rows: Sequence[Row], *, everything: bool = False) -> list[Score]:
    """The score by backend and metric, with one line `all` per backend."""
    found, _ = pairs(rows, everything=everything)
    result = []
    for backend in sorted({pair.backend for pair in found}, key=lambda name: (name == SIMULATED, name)):
        mine = [pair for pair in found if pair.backend == backend]
        result.append(_score(backend, "all", mine))
        result += [
            _score(backend, name, [pair for pair in mine if metric_name(pair.key) == name])
            for name in sorted({metric_name(pair.key) for pair in mine})
        ]
    return result


def _score(backend: str, metric: str, found: Sequence[Scored]) -> Score:
    inside = sum(pair.inside for pair in found)
    low, high = wilson(inside, len(found))
    errors = [pair.error for pair in found if pair.error is not None]
    return Score(
        backend,
        metric,
        len({pair.run_id for pair in found}),
        len(found),
        inside,
        inside / len(found),
        low,
        high,
        _median(errors),
        _median([abs(error) for error in errors]),
        backend != SIMULATED,
    )


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a proportion (Wilson 1927).

    >>> tuple(round(bound, 3) for bound in wilson(9, 10))
    (0.596, 0.982)
    """
    share = hits / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def to_json(found: Sequence[Score], unscored: Sequence[Unscored]) -> dict[str, Any]:
    """Plain data."""
    return {
        "level": 0.9,
        "scores": [vars(score) for score in found],
        "unscored": [vars(one) for one in unscored],
    }

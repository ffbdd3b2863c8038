"""Two runs or two predictions beside each other, paired by metric."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faultline.home import Home, RunDirectory
from faultline.predicting import SCHEMA, intervals_of
from faultline.verdict import is_headline
from faultline.wording import reading_order, unit_of
from topologies.errors import InputError
from topologies.loader import is_there


@dataclass(frozen=True)
class Side:
    """One of the two: a measurement when there is one, else a prediction.

    Attributes:
        metrics: key -> (low, value, high); low and high are the value itself for a measurement.
    """

    name: str
    kind: str
    metrics: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Pair:
    """One metric on both sides.

    Attributes:
        change: second by first, less one; None when the first is zero.
        apart: the intervals do not overlap (predictions), or the value is outside the other's
            interval (a measurement against a prediction); None when both are bare numbers.
    """

    key: str
    unit: str
    a: float | None
    b: float | None
    a_range: tuple[float, float] | None
    b_range: tuple[float, float] | None
    change: float | None
    apart: bool | None
    headline: bool


def compare(home: Home, first: str, second: str, *, predictions: bool = False) -> dict[str, Any]:
    """Compare two runs, prediction files, or one of each.

    Args:
        home: where runs are.
        first: a run or a `prediction.json`.
        second: likewise.
        predictions: take the predictions even where there are measurements.

    Raises:
        InputError: one of them cannot be found or read.
    """
    a, b = (_side(home, reference, predictions) for reference in (first, second))
    faulted = any("@fault" in key for key in (*a.metrics, *b.metrics))
    keys = sorted({*a.metrics, *b.metrics}, key=reading_order)
    pairs = [_pair(key, a.metrics.get(key), b.metrics.get(key), faulted) for key in keys]
    return {
        "first": {"name": a.name, "kind": a.kind},
        "second": {"name": b.name, "kind": b.kind},
        "metrics": [asdict(pair) for pair in pairs],
    }


def _side(home: Home, reference: str, predictions: bool) -> Side:
    path = Path(reference)
    if is_there(path, anything=False):
        return _prediction(_read(path), reference)
    run = home.open_run(reference)
    if not predictions and run.has("measurement.json"):
        return _measurement(run)
    return _prediction(run.read_json("prediction"), run.id)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", file=str(path)) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(
            "is not a prediction",
            file=str(path),
            expected=f"a file of schema {SCHEMA}",
            hint="`faultline predict --output FILE` writes one",
        )
    return content


def _prediction(content: dict[str, Any], name: str) -> Side:
    try:
        found = intervals_of(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"is not a prediction: {error!r}", file=name) from None
    metrics = {
        key: (interval.low or 0.0, interval.point or 0.0, interval.high or 0.0)
        for key, interval in found.items()
    }
    return Side(name, "prediction", metrics)


def _measurement(run: RunDirectory) -> Side:
    content = run.read_json("measurement")
    try:
        metrics = {key: (float(found["value"]),) * 3 for key, found in content["metrics"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"is not a measurement: {error!r}", file=str(run.path)) from None
    return Side(run.id, "measurement", metrics)


def _pair(
    key: str, a: tuple[float, float, float] | None, b: tuple[float, float, float] | None, faulted: bool
) -> Pair:
    change = b[1] / a[1] - 1 if a and b and a[1] else None
    bare = not (a and b) or (a[0] == a[2] and b[0] == b[2])
    apart = None if bare or not (a and b) else a[2] < b[0] or b[2] < a[0]
    return Pair(
        key,
        unit_of(key),
        a[1] if a else None,
        b[1] if b else None,
        (a[0], a[2]) if a and a[0] != a[2] else None,
        (b[0], b[2]) if b and b[0] != b[2] else None,
        change,
        apart,
        is_headline(key, faulted),
    )

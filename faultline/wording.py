"""Numbers and metrics in words, the same in terminal, report and pull-request comment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.catalogue import CATALOGUE, MetricKey
from faultline.verdict import metric_name

DASH = "–"


def unit_of(key: str) -> str:
    """The unit of the metric ``key``: `s`, `ratio`, `/s`, `count`."""
    metric = CATALOGUE.get(metric_name(key))
    return metric.unit if metric else ""


def show(value: float | None, unit: str, like: float | None = None) -> str:
    """A value with three significant digits and its unit.

    Args:
        value: in the base unit; None is a dash.
        unit: as `unit_of` gives it.
        like: a value beside which it stands, so that both are written in the same unit.

    >>> show(0.0421, "s"), show(7.25, "s"), show(0.9932, "ratio"), show(41.26, "/s"), show(None, "s")
    ('42.1 ms', '7.25 s', '99.32 %', '41.3 /s', '–')
    """
    if value is None:
        return DASH
    if unit == "s":
        scale = abs(value if like is None else like)
        return f"{_digits(value * 1e3)} ms" if 0 < scale < 1 else f"{_digits(value)} s"
    if unit == "ratio":
        percent = value * 100
        # 99.96 % must not be rounded to a perfect 100 %.
        return f"{percent:.2f} %" if 99 < percent < 100 or 0 < percent < 1 else f"{_digits(percent)} %"
    if unit == "/s":
        return f"{_digits(value)} /s"
    return _digits(value)


def show_range(low: float | None, high: float | None, unit: str) -> str:
    """An interval.

    >>> show_range(0.9, 1.2, "s"), show_range(0.1, 0.12, "s"), show_range(None, None, "s")
    ('0.9 – 1.2 s', '100 – 120 ms', '–')
    """
    if low is None or high is None:
        return DASH
    left, right = show(low, unit, like=high), show(high, unit)
    number, _, suffix = left.partition(" ")
    return f"{number if suffix and right.endswith(suffix) else left} – {right}"


def show_interval(low: float | None, point: float | None, high: float | None, unit: str) -> str:
    """A prediction: point and interval.

    >>> show_interval(0.9, 1.0, 1.2, "s")
    '1 s [0.9 – 1.2 s]'
    """
    return f"{show(point, unit, like=high)} [{show_range(low, high, unit)}]"


def shown_value(
    key: str, value: float | None, unit: str, censored: bool = False, like: float | None = None
) -> str:
    """A measured value; one that the end of the run cut off says so.

    >>> shown_value("recovery_time{flow=health}@whole", 20.0, "s", censored=True)
    '> 20 s'
    """
    text = show(value, unit, like)
    if not censored or value is None:
        return text
    return f"not in {text}" if metric_name(key) == "time_to" else f"> {text}"


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if "e" in text and abs(value) >= 1 else text


def title(key: str) -> str:
    """A metric key in words: `p95 latency, fault window, at ral`."""
    try:
        parsed = MetricKey.parse(key)
    except ValueError:
        return key
    names = {"time_to": "time to", "success_ratio": "success ratio", "error_ratio": "error ratio"}
    name = names.get(parsed.name, parsed.name.replace("_", " "))
    if name.startswith("latency "):
        name = f"{name.removeprefix('latency ')} latency"
    if parsed.event:
        name = f"{name} {parsed.event}"
    if parsed.kind:
        name = f"{name}, {parsed.kind}"
    return name


def where(key: str) -> str:
    """The scope and window of a metric key in words."""
    try:
        parsed = MetricKey.parse(key)
    except ValueError:
        return ""
    parts = []
    if parsed.request:
        parts.append(parsed.request)
    elif parsed.flow and parsed.metric.population == "probe":
        parts.append(f"{parsed.flow} probe")
    if parsed.site:
        parts.append(f"at {parsed.site}")
    return ", ".join(parts)


WINDOW_WORDS = {
    "whole": "whole run",
    "before": "before the fault",
    "fault": "during the fault",
    "after": "after the fault",
}


def window(key: str) -> str:
    """The window of a metric key in words."""
    name = key.rpartition("@")[2]
    return WINDOW_WORDS.get(name, name)


def reading_order(key: str) -> tuple[int, str, int, str]:
    """Sort key: the catalogue's order of metrics, then scope, then before, during, after."""
    order, spans = list(CATALOGUE), list(WINDOW_WORDS)
    name, span = metric_name(key), key.rpartition("@")[2]
    return (
        order.index(name) if name in order else len(order),
        where(key),
        spans.index(span) if span in spans else len(spans),
        key,
    )


def bullet(text: str) -> str:
    """A line of a list."""
    return f"  {text}"


def likelihood(claim: Mapping[str, Any]) -> str:
    """How likely a predicted claim is to hold, in words.

    >>> likelihood({"probability": 1.0, "interval90": [0.88, 1.0]})
    'holds in 100 % of the replications [88 – 100 %]'
    """
    if claim["probability"] is None:
        return "cannot be predicted"
    low, high = claim["interval90"]
    share = show(claim["probability"], "ratio")
    return f"holds in {share} of the replications [{show_range(low, high, 'ratio')}]"


def precision_lines(precision: Mapping[str, Any], replications: int) -> list[str]:
    """What became of a wanted precision, in words.

    >>> found = {"n": 40, "half_width": 0.08, "reached": False}
    >>> precision_lines({"half_width": 0.05, "cap": 40, "reached": False,
    ...                  "metrics": {"throughput{flow=workflow}@whole": found}}, 40)
    ['precision of ±5 % not reached within 40 replications:', '  throughput, whole run: ±8 %']
    """
    wanted = show(precision["half_width"], "ratio")
    if precision["reached"]:
        return [f"precision of ±{wanted} reached with {replications} replications"]
    lines = [f"precision of ±{wanted} not reached within {replications} replications:"]
    for key, found in precision["metrics"].items():
        if not found["reached"]:
            label = ", ".join(filter(None, [title(key), where(key), window(key)]))
            reached = found["half_width"]
            told = (
                f"±{show(reached, 'ratio')}"
                if reached is not None
                else ("no value" if found["n"] == 0 else "its mean is zero, so no share of it can be reached")
            )
            lines.append(f"  {label}: {told}")
    return lines

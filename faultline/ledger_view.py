"""How a ledger shows itself in a notebook: the score, with intervals of the coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from faultline.score import pairs, scores
from sim.charts import Chart, Mark, Series, lines
from sim.tables import table

if TYPE_CHECKING:
    from faultline.ledger import Row

LEVEL = 0.9
"""Coverage that honest intervals have."""


def frame(rows: list[Row]) -> pd.DataFrame:
    """A row per metric that was predicted and measured: interval, value, whether it was inside."""
    columns = ["run", "backend", "metric", "low", "point", "high", "measured", "inside"]
    found = [
        (
            one.run_id,
            one.backend,
            one.key,
            one.interval.low,
            one.interval.point,
            one.interval.high,
            one.value,
            one.inside,
        )
        for one in pairs(rows)[0]
    ]
    return pd.DataFrame(found, columns=columns)


def html(rows: list[Row]) -> str:
    """A table by backend and metric."""
    body = [
        [
            score.backend + ("" if score.validation else " (validates nothing)"),
            score.metric,
            str(score.runs),
            f"{score.inside} of {score.count}",
            f"{score.coverage:.0%} [{score.coverage_low:.0%} – {score.coverage_high:.0%}]",
            "–" if score.bias is None else f"{score.bias:+.0%}",
        ]
        for score in scores(rows)
    ]
    runs = len({row.run_id for row in rows})
    caption = f"{runs} runs on record; honest 90 % intervals hold 90 % of the measured values"
    heads = ["backend", "metric", "runs", "inside", "coverage [95 % interval]", "bias"]
    return table(heads, body, caption)


def plot(rows: list[Row]) -> Chart:
    """Coverage by metric with its interval, a series per backend."""
    series: dict[str, list[Mark]] = {}
    for score in scores(rows):
        mark = Mark(score.metric, score.coverage, score.coverage_low, score.coverage_high)
        series.setdefault(score.backend, []).append(mark)
    return lines(
        [Series(name, tuple(marks)) for name, marks in series.items()],
        title=f"share of measured values inside their interval ({LEVEL:.0%} promised)",
        y="coverage",
        join=False,
        level=LEVEL,
    )

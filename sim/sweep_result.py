"""What a sweep found: a table with intervals, and every single value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim.journal import Metrics
from sim.statistics import BOUNDS, Bounds, confidence_interval, median, prediction_interval

if TYPE_CHECKING:
    import polars
    import pyarrow

    from sim.charts import Chart

SHOWN = 6
"""Metrics that the table of a notebook has room for; `frame` has all of them."""

WRITERS = (".parquet", ".csv", ".json")
"""Endings that `SweepResult.write` knows."""


@dataclass(frozen=True)
class PointResult:
    """One point.

    Attributes:
        settings: what distinguishes it.
        program: its hash.
        replications: number -> metrics.
    """

    settings: dict[str, Any]
    program: str
    replications: dict[int, Metrics]


@dataclass(frozen=True)
class SweepResult:
    """All points of a sweep, in the order they were given."""

    points: tuple[PointResult, ...]
    seed: int
    wanted: int

    @property
    def axes(self) -> list[str]:
        """Columns of the settings, in order."""
        return list(dict.fromkeys(name for point in self.points for name in point.settings))

    def frame(self, metric: str | None = None) -> pd.DataFrame:
        """A row per point and metric with its intervals.

        Columns: the settings; `metric`, `unit`, `n` (replications with a value), `mean`, `median`, `low`
        and `high` (90 % prediction interval of one run), `mean_low` and `mean_high` (95 % confidence
        interval of the mean), `censored` (share of values that the end of the run cut off).

        Args:
            metric: this key, or every key that begins with it; all when not given.
        """
        rows = []
        for point in self.points:
            keys = sorted({key for metrics in point.replications.values() for key in metrics})
            for key in keys:
                if metric is None or is_metric(key, metric):
                    found = [metrics[key] for metrics in point.replications.values() if key in metrics]
                    if len(found) >= max(2.0, len(point.replications) / 2):
                        rows.append({**point.settings, **_summary(key, found)})
        return pd.DataFrame(rows, columns=[*self.axes, *_COLUMNS])

    def samples(self, metric: str | None = None) -> pd.DataFrame:
        """A row per point, replication and metric: the single values."""
        rows = [
            {
                **point.settings,
                "program": point.program,
                "replication": number,
                "metric": key,
                "unit": unit,
                "value": value,
                "censored": cut,
            }
            for point in self.points
            for number, metrics in point.replications.items()
            for key, (value, _, unit, cut) in sorted(metrics.items())
            if metric is None or is_metric(key, metric)
        ]
        columns = ["program", "replication", "metric", "unit", "value", "censored"]
        return pd.DataFrame(rows, columns=[*self.axes, *columns])

    def to_polars(self, metric: str | None = None) -> polars.DataFrame:
        """`frame` for Polars (`pip install 'faultline[study]'`)."""
        import polars

        return polars.from_arrow(self.to_arrow(metric))  # type: ignore[return-value]

    def to_arrow(self, metric: str | None = None) -> pyarrow.Table:
        """`frame` for Arrow."""
        import pyarrow

        return pyarrow.Table.from_pandas(self.frame(metric), preserve_index=False)

    def plot(self, metric: str, x: str | None = None) -> Chart:
        """``metric`` over the axis ``x`` (the first by default), a line per combination of the others.

        Points are medians, bars 90 % prediction intervals.

        Raises:
            ValueError: no point has the metric, or there is no such axis.
        """
        from sim.charts import Mark, Series, lines

        axis = x or self.axes[0]
        found = self.frame(metric)
        if axis not in self.axes or found.empty:
            raise ValueError(f"there is no {metric!r} over {axis!r} in this sweep")
        key = str(found["metric"].iloc[0])
        found = found[found["metric"] == key]
        others = [name for name in self.axes if name != axis]
        series: dict[str, list[Mark]] = {}
        for row in found.to_dict("records"):
            values = [str(row[other]) for other in others]
            if len(others) > 1:  # one value says what it is; several need their names
                values = [f"{other} {value}" for other, value in zip(others, values, strict=True)]
            name = ", ".join(values)
            mark = Mark(_number(row[axis]), row["median"], row["low"], row["high"])
            series.setdefault(name, []).append(mark)
        return lines(
            [Series(name, tuple(marks)) for name, marks in series.items()],
            title=key,
            x=axis,
            y=str(found["unit"].iloc[0]),
        )

    def _repr_html_(self) -> str:
        """The table that a notebook shows: what the whole service did, at every point."""
        from sim.tables import interval_cell, table

        found = self.frame()
        heads = [
            key for key in dict.fromkeys(found["metric"]) if "site=" not in key and "request=" not in key
        ][:SHOWN]
        cells: dict[tuple[str, ...], dict[str, str]] = {}
        for row in found[found["metric"].isin(heads)].to_dict("records"):
            place = tuple(str(row[axis]) for axis in self.axes)
            cells.setdefault(place, {})[row["metric"]] = interval_cell(
                row["low"], row["median"], row["high"], row["unit"]
            )
        body = [[*place, *(found.get(key, "") for key in heads)] for place, found in cells.items()]
        caption = f"{len(self.points)} points, {self.wanted} replications each; median [90 % of single runs]"
        return table([*self.axes, *heads], body, caption)

    def write(self, path: str | Path) -> None:
        """Write `frame` to a file, in the format that its ending names.

        Raises:
            ValueError: another ending than one of WRITERS.
        """
        place = Path(path)
        frame = self.frame()
        if place.suffix == ".parquet":
            frame.to_parquet(place, index=False)
        elif place.suffix == ".csv":
            frame.to_csv(place, index=False)
        elif place.suffix == ".json":
            frame.to_json(place, orient="records", indent=1)
        else:
            raise ValueError(f"{place.name!r} ends in none of {', '.join(WRITERS)}")


_COLUMNS = (
    "metric",
    "unit",
    "n",
    "mean",
    "median",
    "low",
    "high",
    "mean_low",
    "mean_high",
    "censored",
)


def is_metric(key: str, metric: str) -> bool:
    """Whether ``key`` is ``metric``, or one of its scopes and windows when only its beginning is given."""
    return key == metric or (key.startswith(metric) and key[len(metric)] in "{@")


def _number(value: Any) -> float | str:
    """A setting as a place on an axis: numbers keep their distance, anything else is a word."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _summary(key: str, found: Sequence[tuple[float, int, str, bool]]) -> dict[str, Any]:
    values = [value for value, _, _, _ in found]
    unit = found[0][2]
    bounds = BOUNDS.get(unit, Bounds())
    low, high = prediction_interval(values, bounds=bounds)
    mean_low, mean_high = confidence_interval(values)
    return {
        "metric": key,
        "unit": unit,
        "n": len(values),
        "mean": math.fsum(values) / len(values),
        "median": median(values),
        "low": low,
        "high": high,
        "mean_low": max(mean_low, bounds.low),
        "mean_high": min(mean_high, bounds.high),
        "censored": sum(cut for _, _, _, cut in found) / len(found),
    }

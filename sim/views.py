"""How predictions and comparisons show themselves in a notebook: tables with intervals, pictures, frames."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from sim.charts import Chart, Mark, Series, lines, rows
from sim.tables import interval_cell, number, table

if TYPE_CHECKING:
    import pandas as pd
    import polars

    from sim.predict import Prediction
    from sim.whatif import Comparison

_COURSE_UNITS = {"throughput": "/s", "latency_p50": "s", "latency_p95": "s", "error_rate": "/s"}


def whole_service(key: str) -> bool:
    """Whether a metric is about the service as a whole, not a site, a request or a kind of error."""
    return not any(f"{part}=" in key for part in ("site", "request", "kind"))


class PredictionView:
    """The part of `sim.predict.Prediction` that is for people."""

    def frame(self: Prediction, metric: str = "") -> pd.DataFrame:  # type: ignore[misc]
        """A row per metric: `metric`, `unit`, `n`, `mean`, `median`, both intervals, `censored`.

        Args:
            metric: only keys that begin with this.
        """
        import pandas as pd

        columns = [
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
        ]
        found = [
            (key, m.unit, m.n, m.mean, m.median, *m.interval90, *m.confidence, m.censored)
            for key, m in self.metrics.items()
            if key.startswith(metric)
        ]
        return pd.DataFrame(found, columns=columns)

    def to_polars(self: Prediction, metric: str = "") -> polars.DataFrame:  # type: ignore[misc]
        """`frame` for Polars (`pip install 'faultline[study]'`)."""
        import polars
        import pyarrow

        table = pyarrow.Table.from_pandas(self.frame(metric), preserve_index=False)
        return polars.from_arrow(table)  # type: ignore[return-value]

    def plot(self: Prediction, course: str = "throughput") -> Chart:  # type: ignore[misc]
        """One of the courses over time with the band in which 90 % of single runs are, faults shaded.

        Args:
            course: `throughput`, `latency_p50`, `latency_p95` or `error_rate`.

        Raises:
            ValueError: there is no such course.
        """
        if course not in self.course:
            raise ValueError(f"there is no course {course!r}; there are {', '.join(self.course)}")
        band = self.course[course]
        marks = tuple(
            Mark(t, point, low, high)
            for t, low, point, high in zip(band["t"], band["low"], band["point"], band["high"], strict=True)
            if t is not None and point is not None
        )
        return lines(
            [Series("", marks)],
            title=f"{course.replace('_', ' ')}: median and 90 % of single runs",
            x="seconds since the load started",
            y=_COURSE_UNITS[course],
            band=True,
            shaded=self.windows,
        )

    def _repr_html_(self: Prediction) -> str:  # type: ignore[misc]
        """Claims, and every metric of the whole service, with intervals."""
        body = [
            [
                key,
                interval_cell(m.low, m.median, m.high, m.unit),
                f"{number(m.confidence[0], m.unit)} – {number(m.confidence[1], m.unit)}",
            ]
            for key, m in sorted(self.metrics.items())
            if whole_service(key)
        ]
        claims = "".join(
            f"<li><code>{escape(claim.claim)}</code>: "
            + ("cannot be predicted" if claim.probability is None else f"{claim.probability:.0%} of the runs")
            + "</li>"
            for claim in self.hypotheses
        )
        caption = f"{self.replications} replications, seed {self.seed}, program {self.program_hash[:12]}"
        heads = ["metric", "median [90 % of single runs]", "95 % confidence of the mean"]
        return f"{self.plot()._repr_html_()}<ul>{claims}</ul>{table(heads, body, caption)}"


class ComparisonView:
    """The part of `sim.whatif.Comparison` that is for people."""

    def frame(self: Comparison, metric: str = "") -> pd.DataFrame:  # type: ignore[misc]
        """A row per metric: both means, the paired difference with its interval, what pairing gained.

        Args:
            metric: only keys that begin with this.
        """
        import pandas as pd

        first, second = self.names
        found: list[dict[str, Any]] = [
            {
                "metric": key,
                "unit": contrast.unit,
                "n": contrast.paired.n,
                first: contrast.paired.first,
                second: contrast.paired.second,
                "difference": contrast.paired.difference,
                "low": contrast.paired.interval[0],
                "high": contrast.paired.interval[1],
                "differs": contrast.paired.significant,
                "gain": contrast.paired.gain,
                "censored": contrast.censored,
            }
            for key, contrast in self.metrics.items()
            if key.startswith(metric)
        ]
        columns = [
            "metric",
            "unit",
            "n",
            first,
            second,
            "difference",
            "low",
            "high",
            "differs",
            "gain",
            "censored",
        ]
        return pd.DataFrame(found, columns=columns)

    def to_polars(self: Comparison, metric: str = "") -> polars.DataFrame:  # type: ignore[misc]
        """`frame` for Polars (`pip install 'faultline[study]'`)."""
        import polars
        import pyarrow

        table = pyarrow.Table.from_pandas(self.frame(metric), preserve_index=False)
        return polars.from_arrow(table)  # type: ignore[return-value]

    def plot(self: Comparison, *keys: str) -> Chart:  # type: ignore[misc]
        """Relative differences with their intervals, a row per metric.

        Args:
            keys: metrics to show; those of the whole service when none are given. One whose first side is
                zero has no relative difference and is left out.
        """
        shown = keys or tuple(key for key in self.metrics if whole_service(key))
        marks = []
        for key in shown:
            paired = self.metrics[key].paired
            if paired.first:
                scale = 100 / abs(paired.first)
                low, high = paired.interval
                marks.append(Mark(key, paired.difference * scale, low * scale, high * scale))
        first, second = self.names
        return rows(marks, title=f"{second} against {first}", x="change in % with its 95 % interval")

    def _repr_html_(self: Comparison) -> str:  # type: ignore[misc]
        """Every metric of the whole service: both means, and the difference with its interval."""
        first, second = self.names
        body = []
        for key, contrast in self.metrics.items():
            if whole_service(key):
                paired, unit = contrast.paired, contrast.unit
                low, high = paired.interval
                body.append(
                    [
                        key,
                        number(paired.first, unit),
                        number(paired.second, unit),
                        interval_cell(low, paired.difference, high, unit),
                        "differs" if paired.significant else "",
                    ]
                )
        caption = f"{self.replications} pairs of replications under common random numbers, seed {self.seed}"
        return table(["metric", first, second, f"difference [{self.level:.0%} interval]", ""], body, caption)

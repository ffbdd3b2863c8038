"""The report's pictures, drawn as SVG that follows the page's colours (light, dark, print).

Written by hand rather than by a plotting library because the colours must be CSS variables and
the marks must carry their own descriptions; both are lost in a rendered figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.observation import OUTCOMES, Event

Floats = npt.NDArray[np.float64]

WIDTH = 1120.0
LEFT, RIGHT, TOP = 96.0, 16.0, 16.0
PANEL_GAP = 34.0
LANE = 21.0


@dataclass(frozen=True)
class Band:
    """A predicted course: low, middle and high per time bin.

    Attributes:
        t: middle of each bin, seconds since the load started.
    """

    t: Floats
    low: Floats
    point: Floats
    high: Floats


@dataclass(frozen=True)
class Course:
    """What was measured, per bin of ``step`` seconds.

    Attributes:
        edges: bin edges, seconds since the load started (one more than values).
        throughput: ok load responses per second, by completion.
        p50, p95: latency in seconds of ok load requests by start; NaN in an empty bin.
        errors: outcome -> failed load requests per second, by start.
    """

    edges: Floats
    throughput: Floats
    p50: Floats
    p95: Floats
    errors: Mapping[str, Floats]

    @property
    def middle(self) -> Floats:
        """Middle of each bin."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2, dtype=np.float64)


def course(requests: pd.DataFrame, duration: float, step: float = 1.0) -> Course:
    """Bin the load requests of a run; probes are left out."""
    bins = max(1, math.ceil(duration / step))
    edges = np.arange(bins + 1, dtype=np.float64) * step
    load = requests[requests["source"] == "load"]
    start = load["start"].to_numpy(dtype=np.float64)
    latency = load["latency"].to_numpy(dtype=np.float64)
    outcome = load["outcome"].to_numpy(dtype=object)
    ok = outcome == "ok"
    done, _ = np.histogram((start + latency)[ok], edges)
    p50, p95 = np.full(bins, np.nan), np.full(bins, np.nan)
    where = np.floor(start[ok] / step).astype(int)
    for index in np.unique(where):
        if 0 <= index < bins:
            p50[index], p95[index] = np.percentile(latency[ok][where == index], [50, 95])
    errors = {}
    for kind in OUTCOMES:
        if kind != "ok" and bool((outcome == kind).any()):
            errors[kind] = np.histogram(start[outcome == kind], edges)[0] / step
    return Course(edges, done / step, p50, p95, errors)


def interval_bar(
    low: float | None, point: float | None, high: float | None, value: float | None, verdict: str
) -> str:
    """A small bar: the interval as a box, its point as a line, the measured value as a dot.

    The box always takes the middle half, so that bars compare; a dot beyond the bar's ends is an arrow.
    """
    width, height = 168.0, 20.0
    if low is None or high is None or value is None:
        return ""
    span = (high - low) or max(abs(high), 1e-9) * 0.1
    start, end = low - span / 2, low + span * 1.5

    def x(number: float) -> float:
        return (number - start) / (end - start) * (width - 16) + 8

    parts = [
        f'<svg class="bar v-{verdict}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="measured value {_place(low, high, value)} the interval">',
        f'<line class="axis" x1="2" x2="{width - 2:g}" y1="10" y2="10"/>',
        f'<rect class="box" x="{x(low):.1f}" y="4" width="{x(low + span) - x(low):.1f}" height="12" rx="2"/>',
    ]
    if point is not None:
        parts.append(f'<line class="point" x1="{x(point):.1f}" x2="{x(point):.1f}" y1="3" y2="17"/>')
    if value < start:
        parts.append('<path class="dot" d="M1 10 L10 4 L10 16 Z"/>')
    elif value > end:
        parts.append(f'<path class="dot" d="M{width - 1:g} 10 L{width - 10:g} 4 L{width - 10:g} 16 Z"/>')
    else:
        parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="10" r="4.6"/>')
    return "".join(parts) + "</svg>"


def _place(low: float, high: float, value: float) -> str:
    return "below" if value < low else "above" if value > high else "inside"


@dataclass
class _Canvas:
    """Collects SVG with one time axis for all panels."""

    duration: float
    parts: list[str] = field(default_factory=list)
    y: float = TOP

    def x(self, t: float) -> float:
        return LEFT + min(max(t / self.duration, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def add(self, text: str) -> None:
        self.parts.append(text)

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        self.add(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, t: Floats, values: Floats, to_y: _Scale, style: str) -> None:
        """A line that is interrupted where there is no value."""
        run: list[str] = []
        for at, value in zip(t, values, strict=True):
            if math.isfinite(value):
                run.append(f"{self.x(at):.1f},{to_y(value):.1f}")
                continue
            self._stroke(run, style)
            run = []
        self._stroke(run, style)

    def _stroke(self, run: list[str], style: str) -> None:
        if len(run) == 1:
            x, y = run[0].split(",")
            self.add(f'<circle class="{style} single" cx="{x}" cy="{y}" r="1.6"/>')
        elif run:
            self.add(f'<polyline class="{style}" points="{" ".join(run)}"/>')

    def band(self, band: Band, to_y: _Scale, style: str) -> None:
        known = np.isfinite(band.low) & np.isfinite(band.high)
        for part in np.split(np.arange(len(band.t)), np.flatnonzero(np.diff(known.astype(int))) + 1):
            if len(part) == 0 or not known[part[0]]:
                continue
            upper = [f"{self.x(band.t[i]):.1f},{to_y(band.high[i]):.1f}" for i in part]
            lower = [f"{self.x(band.t[i]):.1f},{to_y(band.low[i]):.1f}" for i in reversed(part)]
            self.add(f'<polygon class="{style}" points="{" ".join(upper + lower)}"/>')


@dataclass(frozen=True)
class _Scale:
    """Value to height: linear from zero, or logarithmic."""

    top: float
    height: float
    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - min(max(share, 0.0), 1.0))


def timeline(
    measured: Course | None,
    predicted: Mapping[str, Band],
    events: Sequence[Event],
    windows: Sequence[tuple[float, float]],
    warmup: float,
    duration: float,
) -> str:
    """Throughput, latency, errors and component events over one time axis, fault windows shaded.

    Args:
        measured: None for a prediction that has not been measured.
        predicted: bands named `throughput`, `latency_p50`, `latency_p95`.
        events: in order of time.
        windows: (inject, undo) in seconds since the load started.
        warmup: what was cut off, seconds.
        duration: length of the load, seconds.
    """
    canvas = _Canvas(max(duration, 1e-9))
    _throughput(canvas, measured, predicted)
    _latency(canvas, measured, predicted)
    if measured is not None:
        _errors(canvas, measured)
    _events(canvas, events)
    bottom = canvas.y - PANEL_GAP + 24
    height = bottom + 40
    tall = f'y="{TOP + 8:.1f}" height="{bottom - TOP - 8:.1f}"'
    shade = [
        f'<rect class="fault" x="{canvas.x(a):.1f}" width="{max(canvas.x(b) - canvas.x(a), 1.5):.1f}" {tall}>'
        f"<title>fault in force, {a:.1f} s to {b:.1f} s</title></rect>"
        for a, b in windows
    ]
    if warmup > 0:
        shade.append(f'<rect class="warmup" x="{LEFT:.1f}" width="{canvas.x(warmup) - LEFT:.1f}" {tall}/>')
        canvas.text(LEFT + 4, bottom - 5, "warm-up, not counted", "note")
    for a, b in windows[:4]:
        canvas.text(canvas.x(a) + 4, bottom - 5, f"fault, {b - a:.3g} s", "note fault-word")
    _time_axis(canvas, bottom, duration)
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH:g} {height:.0f}" role="img" '
        'aria-label="Throughput, latency, errors and component events over time">'
        + "".join(shade)
        + "".join(canvas.parts)
        + "</svg>"
    )


def _frame(canvas: _Canvas, title: str, scale: _Scale, ticks: Iterable[tuple[float, str]]) -> None:
    canvas.text(LEFT, scale.top - 9, title, "panel")
    for value, label in ticks:
        y = scale(value)
        canvas.add(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        canvas.text(LEFT - 8, y + 4, label, "tick", "end")


def _legend(canvas: _Canvas, y: float, entries: Sequence[tuple[str, str, str]]) -> None:
    """Entries (shape, style, words), right-aligned above a panel."""
    x = WIDTH - RIGHT
    for shape, style, words in reversed(entries):
        x -= 6.6 * len(words)
        canvas.text(x, y, words, "legend")
        x -= 22
        if shape == "line":
            canvas.add(
                f'<line class="{style}" x1="{x:.1f}" x2="{x + 16:.1f}" y1="{y - 4:.1f}" y2="{y - 4:.1f}"/>'
            )
        else:
            canvas.add(f'<rect class="{style}" x="{x + 2:.1f}" y="{y - 9:.1f}" width="12" height="10"/>')
        x -= 14


def _throughput(canvas: _Canvas, measured: Course | None, predicted: Mapping[str, Band]) -> None:
    band = predicted.get("throughput")
    peaks = [
        float(np.nanmax(values)) for values in ([measured.throughput] if measured else []) if len(values)
    ]
    if band is not None and len(band.high):
        peaks.append(float(np.nanmax(band.high)))
    ticks = nice_ticks(max([*peaks, 1.0]))
    scale = _Scale(canvas.y + 8, 150, 0.0, ticks[-1])
    _frame(canvas, "Throughput, ok responses per second", scale, [(v, f"{v:g}") for v in ticks])
    legend = []
    if band is not None:
        canvas.band(band, scale, "band a")
        canvas.line(band.t, band.point, scale, "expected a")
        legend += [("box", "band a", "predicted 5–95 %")]
    if measured is not None:
        canvas.line(measured.middle, measured.throughput, scale, "measured a")
        legend += [("line", "measured a", "measured")]
    _legend(canvas, scale.top - 9, legend)
    canvas.y = scale.top + scale.height + PANEL_GAP


def _latency(canvas: _Canvas, measured: Course | None, predicted: Mapping[str, Band]) -> None:
    bands = {name: predicted[f"latency_{name}"] for name in ("p50", "p95") if f"latency_{name}" in predicted}
    values = [v for band in bands.values() for v in (band.low, band.high)]
    if measured is not None:
        values += [measured.p50, measured.p95]
    known = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values]) if values else np.array([])
    low = 10 ** math.floor(math.log10(float(known.min()))) if len(known) else 0.001
    high = 10 ** math.ceil(math.log10(float(known.max()) * 1.0001)) if len(known) else 1.0
    scale = _Scale(canvas.y + 8, 150, low, max(high, low * 10), log=True)
    decades = range(round(math.log10(low)), round(math.log10(scale.high)) + 1)
    _frame(
        canvas, "Latency of ok requests (log scale)", scale, [(10.0**e, _seconds(10.0**e)) for e in decades]
    )
    legend = []
    for name, style in (("p95", "c"), ("p50", "b")):
        if name in bands:
            canvas.band(bands[name], scale, f"band {style}")
            canvas.line(bands[name].t, bands[name].point, scale, f"expected {style}")
    if measured is not None:
        canvas.line(measured.middle, measured.p95, scale, "measured c")
        canvas.line(measured.middle, measured.p50, scale, "measured b")
    shape, word = ("line", "measured") if measured is not None else ("box", "band")
    legend += [(shape, f"{word} b", "p50"), (shape, f"{word} c", "p95")]
    _legend(canvas, scale.top - 9, legend)
    canvas.y = scale.top + scale.height + PANEL_GAP


def _errors(canvas: _Canvas, measured: Course) -> None:
    total = sum(measured.errors.values(), np.zeros(len(measured.throughput)))
    peak = float(np.max(total)) if measured.errors else 0.0
    ticks = nice_ticks(max(peak, 1.0), wanted=3)
    scale = _Scale(canvas.y + 8, 90, 0.0, ticks[-1])
    title = "Failed requests per second, by kind" + ("" if measured.errors else ": none")
    _frame(canvas, title, scale, [(v, f"{v:g}") for v in ticks])
    base = np.zeros(len(measured.throughput))
    for kind, values in measured.errors.items():
        for index in np.flatnonzero(values):
            x, w = canvas.x(measured.edges[index]), canvas.x(measured.edges[index + 1])
            y1, y0 = scale(float(base[index] + values[index])), scale(float(base[index]))
            canvas.add(
                f'<rect class="e-{kind}" x="{x + 0.4:.1f}" y="{y1:.1f}" width="{max(w - x - 0.8, 0.8):.1f}" '
                f'height="{max(y0 - y1, 0.6):.1f}"><title>{kind}: {values[index]:g}/s at '
                f"{measured.edges[index]:g} s</title></rect>"
            )
        base = base + values
    _legend(canvas, scale.top - 9, [("box", f"e-{kind}", kind) for kind in measured.errors])
    canvas.y = scale.top + scale.height + PANEL_GAP


LANES = 16


def _events(canvas: _Canvas, events: Sequence[Event]) -> None:
    """One lane per component, a mark per event, its word where there is room for it."""
    lanes = list(dict.fromkeys(event.component for event in events))
    # The experiment's own actions first, then by first appearance.
    lanes.sort(key=lambda name: name != "experiment")
    shown = lanes[:LANES]
    if not shown:
        return
    top = canvas.y + 8
    more = f" (first {LANES} components; all are in the list of events)" if len(lanes) > LANES else ""
    canvas.text(LEFT, top - 9, f"What the components did{more}", "panel")
    for index, name in enumerate(shown):
        y = top + LANE * index + LANE / 2
        canvas.add(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        canvas.text(LEFT - 8, y + 4, name if len(name) <= 15 else name[:14] + "…", "tick", "end")
        free = -math.inf
        mine = [event for event in events if event.component == name]
        for place, event in enumerate(mine):
            x = canvas.x(event.at)
            title = f"{event.at:.2f} s  {event.component}  {event.kind}  {event.detail}".strip()
            canvas.add(
                f'<circle class="mark k-{_tone(event.kind)}" cx="{x:.1f}" cy="{y:.1f}" r="4.2">'
                f"<title>{escape(title)}</title></circle>"
            )
            word = event.kind.split(".", 1)[-1]
            room = canvas.x(mine[place + 1].at) if place + 1 < len(mine) else WIDTH - RIGHT
            length = 6.1 * len(word) + 10
            if x >= free and x + length <= room:
                canvas.text(x + 7, y + 3.6, word, "mark-word")
                free = x + length
    canvas.y = top + LANE * len(shown) + PANEL_GAP


def _tone(kind: str) -> str:
    if kind in {"fault.inject", "link.cut", "process.stop", "galera.non-primary"} or kind.endswith("down"):
        return "bad"
    if kind in {"fault.undo", "link.healed", "process.start", "galera.primary"} or kind.endswith("up"):
        return "good"
    return "neutral"


def _time_axis(canvas: _Canvas, y: float, duration: float) -> None:
    canvas.add(f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if duration / s <= 13), duration / 10)
    at = 0.0
    while at <= duration + 1e-9:
        canvas.text(canvas.x(at), y + 17, f"{at:g}", "tick", "middle")
        at += step
    canvas.text(WIDTH - RIGHT, y + 34, "seconds since the load started", "tick", "end")


def nice_ticks(peak: float, wanted: int = 4) -> list[float]:
    """Round values from zero to at least ``peak``.

    >>> nice_ticks(47)
    [0.0, 20.0, 40.0, 60.0]
    """
    raw = peak / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    return [float(step * index) for index in range(math.ceil(peak / step * 0.999) + 1)]


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 else f"{value * 1e3:g} ms" if value >= 1e-3 else f"{value * 1e6:g} µs"

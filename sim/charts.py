"""Small self-contained pictures for notebooks and pages: SVG that reads on light and on dark.

Drawn by hand, as the report's pictures are, so that a notebook needs no plotting library and the marks
carry their own descriptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 74.0, 18.0, 34.0, 46.0
_LETTER = 6.9
"""Width of a letter, roughly: text is measured by the viewer, not here."""

_Scale = Callable[[float], float]
COLOURS = ("#2f7bd6", "#d08a1e", "#2f9e5b", "#7a5cd0", "#cf4c4c", "#1c97a3")

_STYLE = """
.fl-chart{--ink:#1b2430;--soft:#5b6676;--grid:#dfe4eb;--card:#fff;
font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12px}
@media (prefers-color-scheme:dark){.fl-chart{--ink:#e7ebf1;--soft:#a3aebd;--grid:#39424f;--card:#1d232c}}
.fl-chart .card{fill:var(--card)}.fl-chart text{fill:var(--ink)}.fl-chart .soft{fill:var(--soft)}
.fl-chart .title{font-size:13.5px;font-weight:600}.fl-chart .grid{stroke:var(--grid)}
.fl-chart .shade{fill:#c8362e;fill-opacity:.1}
.fl-chart .zero{stroke:var(--soft);stroke-dasharray:4 4}
"""


@dataclass(frozen=True)
class Mark:
    """A value with its interval.

    Attributes:
        x: where it stands: a number, or a word of the axis.
        low, value, high: an end that is not known is None.
    """

    x: float | str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Marks that belong together."""

    name: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """A picture that a notebook shows by itself. `save` writes it to a file."""

    svg: str

    def _repr_svg_(self) -> str:
        """The picture."""
        return self.svg

    def _repr_html_(self) -> str:
        """The picture, where a notebook prefers HTML."""
        return f'<div style="max-width:{WIDTH:g}px">{self.svg}</div>'

    def save(self, path: str | Path) -> None:
        """Write the picture as an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``.

    >>> ticks(0, 9.3)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    raw = span / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if raw <= size * factor * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def lines(
    series: Sequence[Series],
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    band: bool = False,
    zero: bool = True,
    shaded: Sequence[tuple[float, float]] = (),
    join: bool = True,
    level: float | None = None,
) -> Chart:
    """Lines through the marks, each with its interval as a bar (or all of them as a band).

    Args:
        series: what is drawn; a word as `x` makes the axis one of words, in order of first use.
        title: above the picture.
        x, y: names of the axes.
        band: one band instead of bars, for many marks.
        zero: begin the vertical axis at zero.
        shaded: spans of the horizontal axis to shade.
        join: draw a line through the marks of a series.
        level: a value to draw a line at.
    """
    words = list(dict.fromkeys(str(m.x) for s in series for m in s.marks if isinstance(m.x, str)))
    place = {word: float(number) for number, word in enumerate(words)}

    def at(mark: Mark) -> float:
        return place[mark.x] if isinstance(mark.x, str) else float(mark.x)

    xs = [at(mark) for s in series for mark in s.marks] or [0.0]
    values = [
        end
        for s in series
        for mark in s.marks
        for end in (mark.low, mark.value, mark.high)
        if end is not None and math.isfinite(end)
    ] or [0.0]
    values += [] if level is None else [level]
    left, right = (min(xs) - 0.4, max(xs) + 0.4) if words else (min(xs), max(xs))
    low, high = min([0.0, *values] if zero else values), max([0.0, *values] if zero else values)
    if right <= left:
        left, right = left - 0.5, right + 0.5
    high += (high - low) * 0.06 or 1.0

    def sx(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def sy(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, low), high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts: list[str] = []
    for start, end in shaded:
        a, b = sx(max(left, start)), sx(min(right, end))
        parts.append(
            f'<rect class="shade" x="{a:.1f}" y="{TOP:g}" width="{max(0.0, b - a):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM:g}"/>'
        )
    for tick in ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{sy(tick):.1f}" y2="{sy(tick):.1f}"/>'
        )
        parts.append(_text(LEFT - 8, sy(tick) + 4, f"{tick:g}", "soft", "end"))
    marks = [(place[word], word) for word in words] or [(tick, f"{tick:g}") for tick in ticks(left, right, 8)]
    parts += [_text(sx(value), HEIGHT - BOTTOM + 18, word, "soft", "middle") for value, word in marks]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x, "soft", "middle"))
    parts.append(
        f'<text transform="translate(15 {(HEIGHT + TOP - BOTTOM) / 2:.0f}) rotate(-90)" class="soft" '
        f'text-anchor="middle">{escape(y)}</text>'
    )
    for line in ([0.0] if low < 0 < high else []) + ([] if level is None else [level]):
        parts.append(
            f'<line class="zero" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{sy(line):.1f}" y2="{sy(line):.1f}"/>'
        )
    shift = 7.0 if len(series) > 1 and not band else 0.0
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        move = shift * (number - (len(series) - 1) / 2)
        points = [(sx(at(mark)) + move, mark) for mark in one.marks if math.isfinite(mark.value)]
        if band:
            parts += _band(points, sy, colour, high)
        else:
            parts += [_bar(where, mark, sy, colour, low, high) for where, mark in points]
        path = " ".join(f"{where:.1f},{sy(mark.value):.1f}" for where, mark in points)
        if join:
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if not band:
            parts += [
                f'<circle cx="{where:.1f}" cy="{sy(mark.value):.1f}" r="4" fill="{colour}">'
                f"<title>{escape(_told(one.name, mark))}</title></circle>"
                for where, mark in points
            ]
    legend, more = _legend([one.name for one in series]) if any(one.name for one in series) else ([], 0.0)
    return Chart("".join([*_frame(title, HEIGHT + more), *parts, *legend, "</svg>"]))


def rows(marks: Sequence[Mark], *, title: str = "", x: str = "") -> Chart:
    """A row per mark, its `x` as the label: intervals beside zero, for differences."""
    ends = [0.0] + [
        end for m in marks for end in (m.low, m.value, m.high) if end is not None and math.isfinite(end)
    ]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    low, high = low - span * 0.05, high + span * 0.05
    label, step = 24 + _LETTER * max((len(str(mark.x)) for mark in marks), default=0), 24.0
    label = min(label, WIDTH * 0.6)
    height = TOP + step * len(marks) + BOTTOM

    def sx(value: float) -> float:
        return label + (min(max(value, low), high) - low) / (high - low) * (WIDTH - label - RIGHT)

    parts = _frame(title, height)
    bottom = TOP + step * len(marks)
    for tick in ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{sx(tick):.1f}" x2="{sx(tick):.1f}" y1="{TOP:g}" y2="{bottom:g}"/>'
        )
        parts.append(_text(sx(tick), bottom + 16, f"{tick:g}", "soft", "middle"))
    parts.append(f'<line class="zero" x1="{sx(0):.1f}" x2="{sx(0):.1f}" y1="{TOP:g}" y2="{bottom:g}"/>')
    for number, mark in enumerate(marks):
        y = TOP + step * (number + 0.5)
        clear = mark.low is not None and mark.high is not None and (mark.low > 0 or mark.high < 0)
        colour = COLOURS[0] if clear else "#8a94a3"
        start = sx(low if mark.low is None else mark.low)
        end = sx(high if mark.high is None else mark.high)
        parts.append(_text(label - 12, y + 4, str(mark.x), "", "end"))
        parts.append(
            f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-width="5" stroke-opacity=".4" stroke-linecap="round"/>'
            f'<circle cx="{sx(mark.value):.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
            f"<title>{escape(_told(str(mark.x), mark))}</title></circle>"
        )
    parts.append(_text((label + WIDTH - RIGHT) / 2, height - 8, x, "soft", "middle"))
    return Chart("".join([*parts, "</svg>"]))


def _frame(title: str, height: float = HEIGHT) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fl-chart" viewBox="0 0 {WIDTH:g} {height:g}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>',
        f'<rect class="card" width="{WIDTH:g}" height="{height:g}" rx="6"/>',
        _text(LEFT, 20, title, "title"),
    ]


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def _bar(where: float, mark: Mark, sy: _Scale, colour: str, low: float, high: float) -> str:
    if mark.low is None and mark.high is None:
        return ""
    bottom = sy(low if mark.low is None else mark.low)
    top = sy(high if mark.high is None else mark.high)
    return (
        f'<line x1="{where:.1f}" x2="{where:.1f}" y1="{bottom:.1f}" y2="{top:.1f}" stroke="{colour}" '
        f'stroke-width="5" stroke-opacity=".35" stroke-linecap="round"/>'
    )


def _band(points: Sequence[tuple[float, Mark]], sy: _Scale, colour: str, high: float) -> list[str]:
    known = [(where, mark) for where, mark in points if mark.low is not None and mark.high is not None]
    if not known:
        return []
    upper = [f"{where:.1f},{sy(mark.high if mark.high is not None else high):.1f}" for where, mark in known]
    lower = [f"{where:.1f},{sy(mark.low if mark.low is not None else 0.0):.1f}" for where, mark in known]
    path = " ".join([*upper, *reversed(lower)])
    return [f'<polygon points="{path}" fill="{colour}" fill-opacity=".22"/>']


def _told(name: str, mark: Mark) -> str:
    interval = "" if mark.low is None or mark.high is None else f" [{mark.low:.4g}, {mark.high:.4g}]"
    return f"{name} at {mark.x}: {mark.value:.4g}{interval}"


def _legend(names: Sequence[str]) -> tuple[list[str], float]:
    """Names of the series below the picture, as many to a line as fit; and the height they take."""
    parts, x, y = [], LEFT, HEIGHT + 10.0
    for number, name in enumerate(names):
        width = _LETTER * len(name) + 34
        if x > LEFT and x + width > WIDTH:
            x, y = LEFT, y + 20
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 15, y, name, "soft"))
        x += width
    return parts, y + 12 - HEIGHT

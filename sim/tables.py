"""Tables for notebooks: plain HTML that follows the notebook's own style."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """An HTML table; all texts are escaped."""
    head = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None, unit: str) -> str:
    """A value with three significant digits and its unit.

    >>> number(0.0421, "s"), number(0.9932, "ratio"), number(41.26, "/s"), number(3.0, "count")
    ('42.1 ms', '99.3 %', '41.3 /s', '3')
    """
    if value is None or math.isnan(value):
        return "–"
    if unit == "s":
        return f"{value * 1e3:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    return f"{value:.3g} /s" if unit == "/s" else f"{value:.4g}"


def interval_cell(low: float, value: float, high: float, unit: str) -> str:
    """A value with its interval.

    >>> interval_cell(1.0, 2.0, 3.5, "s")
    '2 s [1 s – 3.5 s]'
    """
    return f"{number(value, unit)} [{number(low, unit)} – {number(high, unit)}]"

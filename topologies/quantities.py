"""Human quantities at the edges, plain floats in SI units inside.

A quantity is written with its unit (``30ms``, ``250Mbit``, ``0.1%``, ``30GiB``,
``10/s``) and held as a float (seconds, bits per second, a ratio, bytes, per second).
A bare number is accepted only from Python code: files must say the unit, because
``rtt: 30`` reads as milliseconds to one person and as seconds to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, localcontext
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

_NUMBER = r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?)"

DURATION_UNITS: Mapping[str, float] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
BANDWIDTH_UNITS: Mapping[str, float] = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9, "Tbit": 1e12}
SIZE_UNITS: Mapping[str, float] = {
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "TiB": 2.0**40,
}
RATIO_UNITS: Mapping[str, float] = {"%": 0.01}
RATE_UNITS: Mapping[str, float] = {"/s": 1.0, "/min": 1 / 60, "/m": 1 / 60, "/h": 1 / 3600, "/d": 1 / 86400}


def parse(text: str, units: Mapping[str, float], example: str) -> float:
    """Return ``text`` in the base unit of ``units``.

    Raises:
        ValueError: when the number or the unit cannot be read; the message names
            the known units and gives ``example`` as the way to write it.
    """
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(?P<unit>[^\s\d]*)\s*", text)
    if match is None or match["unit"] not in units:
        raise ValueError(
            f"cannot read {text!r}: write a number with one of {', '.join(units)}, as in {example}"
        )
    with localcontext(prec=60):  # in decimal, so that 0.1% is exactly the float 0.001
        value = float(Decimal(match["number"]) * Decimal(repr(units[match["unit"]])))
    if not math.isfinite(value):
        raise ValueError(f"cannot read {text!r}: the number is too large")
    return value + 0.0  # never minus zero


_SECOND_NAMES = frozenset({"µs", "m", "/m"})
"""Units that are read but not written, having another name."""


def _candidates(value: float, units: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Units to write ``value`` in: those not larger than it, the largest first, else the smallest."""
    named = sorted(((size, name) for name, size in units.items() if name not in _SECOND_NAMES), reverse=True)
    fitting = [(name, size) for size, name in named if abs(value) >= size]
    if value == 0:
        fitting = [(name, size) for size, name in named if size == 1.0]
    yield from fitting or [(named[-1][1], named[-1][0])]


def _reads_back(text: str, value: float, units: Mapping[str, float]) -> bool:
    return parse(text, units, "") == value


def _in_unit(value: float, size: float) -> Decimal:
    with localcontext(prec=60):
        return Decimal(repr(value)) / Decimal(repr(size))


def spell(value: float, units: Mapping[str, float]) -> str:
    """Write ``value`` for people, with six digits.

    The unit is the largest in which six digits lose nothing (``100s``, not ``1.66667m``), else the
    largest that keeps the number at or above one. What is not finite has no unit.
    """
    if not math.isfinite(value):
        return f"{value:g}"
    numbers = [(_in_unit(value, size), unit) for unit, size in _candidates(value, units)]
    texts = [f"{float(n):.6g}{unit}" if abs(n) < 1e300 else f"{n:.5e}{unit}" for n, unit in numbers]
    return next((text for text in texts if _reads_back(text, value, units)), texts[0])


def write(value: float, units: Mapping[str, float]) -> str:
    """Write ``value`` for a file: what `parse` reads back as the very same float.

    Raises:
        ValueError: it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as a quantity")
    texts = [spell(value, units)]
    texts += [f"{_in_unit(value, size)}{unit}" for unit, size in _candidates(value, units)]
    exact = [text for text in texts if _reads_back(text, value, units)]
    return next((text for text in exact if len(text) < 24), exact[-1])


def _reader(units: Mapping[str, float], example: str) -> Callable[[Any, ValidationInfo], float]:
    def read(value: Any, info: ValidationInfo) -> float:
        if isinstance(value, str):
            return parse(value, units, example)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a quantity as in {example}")
        if value != 0 and isinstance(info.context, dict) and info.context.get("units") == "required":
            raise ValueError(f"the number {value} has no unit: write it as in {example}")
        if not math.isfinite(value):
            raise ValueError(f"expected a finite quantity as in {example}")
        return float(value)

    return read


def _not_negative(value: float) -> float:
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _at_most_one(value: float) -> float:
    if value > 1:
        raise ValueError("must not exceed 100%")
    return value


def _schema(units: Mapping[str, float], example: str, meaning: str) -> WithJsonSchema:
    """What a file may hold: a text with a unit, or a bare zero."""
    names = "|".join(re.escape(name) for name in units)
    pattern = rf"^\s*\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*({names})\s*$"
    return WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": pattern, "examples": [example]}, {"const": 0}],
            "description": f"{meaning}: {', '.join(units)}",
        }
    )


def _spelled(units: Mapping[str, float]) -> PlainSerializer:
    return PlainSerializer(lambda value: write(value, units), return_type=str, when_used="json")


Duration = Annotated[
    float,
    BeforeValidator(_reader(DURATION_UNITS, "30ms")),
    AfterValidator(_not_negative),
    _spelled(DURATION_UNITS),
    _schema(DURATION_UNITS, "30ms", "a time with its unit"),
]
"""Seconds."""

Bandwidth = Annotated[
    float,
    BeforeValidator(_reader(BANDWIDTH_UNITS, "250Mbit")),
    AfterValidator(_not_negative),
    _spelled(BANDWIDTH_UNITS),
    _schema(BANDWIDTH_UNITS, "1Gbit", "bits per second with its unit"),
]
"""Bits per second."""

Size = Annotated[
    float,
    BeforeValidator(_reader(SIZE_UNITS, "30GiB")),
    AfterValidator(_not_negative),
    _spelled(SIZE_UNITS),
    _schema(SIZE_UNITS, "30GiB", "bytes with its unit"),
]
"""Bytes."""

Ratio = Annotated[
    float,
    BeforeValidator(_reader(RATIO_UNITS, "0.1%")),
    AfterValidator(_not_negative),
    AfterValidator(_at_most_one),
    _spelled(RATIO_UNITS),
    _schema(RATIO_UNITS, "0.1%", "a share, written in percent"),
]
"""A ratio between 0 and 1."""

Rate = Annotated[
    float,
    BeforeValidator(_reader(RATE_UNITS, "10/s")),
    AfterValidator(_not_negative),
    _spelled({"/s": 1.0}),
    _schema(RATE_UNITS, "10/s", "events per time"),
]
"""Events per second."""

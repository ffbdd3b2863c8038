"""Human quantities at the edges, plain floats in SI units inside.

A quantity is written with its unit (``30ms``, ``250Mbit``, ``0.1%``, ``30GiB``,
``10/s``) and held as a float (seconds, bits per second, a ratio, bytes, per second).
A bare number is accepted only from Python code: files must say the unit, because
``rtt: 30`` reads as milliseconds to one person and as seconds to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

_NUMBER = r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"

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
    value = float(match["number"]) * units[match["unit"]]
    if not math.isfinite(value):
        raise ValueError(f"cannot read {text!r}: the number is too large")
    return value


def spell(value: float, units: Mapping[str, float]) -> str:
    """Write ``value`` with the largest unit that keeps the number at or above one."""
    unit, factor = min(units.items(), key=lambda item: item[1])
    for name, size in sorted(units.items(), key=lambda item: item[1]):
        if abs(value) >= size and name not in {"µs", "min", "/m"}:
            unit, factor = name, size
    return f"{value / factor:.6g}{unit}"


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


def _schema(example: str, meaning: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "number"], "examples": [example], "description": meaning})


def _spelled(units: Mapping[str, float]) -> PlainSerializer:
    return PlainSerializer(lambda value: spell(value, units), return_type=str, when_used="json")


Duration = Annotated[
    float,
    BeforeValidator(_reader(DURATION_UNITS, "30ms")),
    AfterValidator(_not_negative),
    _spelled(DURATION_UNITS),
    _schema("30ms", "a time with its unit: ns, us, ms, s, min, h, d"),
]
"""Seconds."""

Bandwidth = Annotated[
    float,
    BeforeValidator(_reader(BANDWIDTH_UNITS, "250Mbit")),
    AfterValidator(_not_negative),
    _spelled(BANDWIDTH_UNITS),
    _schema("1Gbit", "bits per second with its unit: bit, kbit, Mbit, Gbit"),
]
"""Bits per second."""

Size = Annotated[
    float,
    BeforeValidator(_reader(SIZE_UNITS, "30GiB")),
    AfterValidator(_not_negative),
    _spelled(SIZE_UNITS),
    _schema("30GiB", "bytes with its unit: kB, MB, GB, KiB, MiB, GiB"),
]
"""Bytes."""

Ratio = Annotated[
    float,
    BeforeValidator(_reader(RATIO_UNITS, "0.1%")),
    AfterValidator(_not_negative),
    AfterValidator(_at_most_one),
    _spelled(RATIO_UNITS),
    _schema("0.1%", "a share, written in percent"),
]
"""A ratio between 0 and 1."""

Rate = Annotated[
    float,
    BeforeValidator(_reader(RATE_UNITS, "10/s")),
    AfterValidator(_not_negative),
    _spelled({"/s": 1.0}),
    _schema("10/s", "events per time: /s, /min, /h, /d"),
]
"""Events per second."""

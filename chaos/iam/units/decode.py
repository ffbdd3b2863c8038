"""Bytes of the text protocol to Python values."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.iam.connection import Row


def text(value: bytes | None) -> str:
    """A string column; NULL reads as empty."""
    return value.decode() if value is not None else ""


def number(value: bytes | None) -> int | None:
    """An integer column."""
    return int(value) if value is not None else None


def flag(value: bytes | None) -> bool:
    """A boolean column; NULL reads as false."""
    return value is not None and value != b"0"


def first_column(rows: Sequence[Row]) -> tuple[str, ...]:
    """The first column of every row, as strings."""
    return tuple(text(row[0]) for row in rows)

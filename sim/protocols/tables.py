"""How protocol states are stored, so that both engines can use the same functions.

A state is a ``NamedTuple`` of flat tables: one-dimensional sequences of ints or floats, a matrix
stored row after row (``table[row * columns + column]``). The reference engine keeps them as plain
lists, because CPython reads a list element several times faster than an array element;
the compiled engine calls :func:`as_arrays` once and hands the same functions numpy arrays.

Example:
    >>> from sim.protocols import evs
    >>> as_arrays(evs.new_view(2)).held.dtype
    dtype('int64')
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

Ints = list[int]
"""Flat table of integers: a list, or an int64 array in the compiled engine."""

Floats = list[float]
"""Flat table of floats: a list, or a float64 array in the compiled engine."""

State = TypeVar("State", bound=tuple[Any, ...])


def as_arrays(state: State) -> State:
    """The same state with every flat table as a numpy array (a copy).

    Only for states whose tables have a fixed length (those without queues).
    """
    packed = [np.array(part) if isinstance(part, list) else part for part in state]
    return type(state)(*packed)


def members_of(mask: int) -> list[int]:
    """The members in a bit mask, in ascending order.

    Example:
        >>> members_of(0b101)
        [0, 2]
    """
    members = []
    member = 0
    while mask:
        if mask & 1:
            members.append(member)
        mask >>= 1
        member += 1
    return members


def mask_of(members: list[int]) -> int:
    """The bit mask of a list of members (inverse of :func:`members_of`)."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask

"""Counter-based random numbers: a draw is named, not taken in turn.

A number is a pure function of (seed, stream, entity, index): the order in which events
happen, the process that draws, or what other entities do cannot change it. Two runs that
differ in one parameter therefore share all their other randomness (common random numbers).
Philox is keyed by a blake2b hash of the name, so `PYTHONHASHSEED` has no part in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 256
"""Draws made at once; only the speed depends on it."""

_COUNTERS_PER_BLOCK = BLOCK // 4  # one Philox4x64 counter step yields four 64-bit words


def key_of(seed: int, stream: str, entity: str) -> NDArray[np.uint64]:
    """128-bit Philox key of a named stream."""
    name = f"{seed}\x1f{stream}\x1f{entity}".encode()
    return np.frombuffer(hashlib.blake2b(name, digest_size=16).digest(), dtype="<u8").astype(np.uint64)


class Stream:
    """Draws of one entity, addressed by index (0, 1, 2, ...) in any order.

    The uniform, the normal and the exponential draw of one index come from the same word:
    use different indices for quantities that must be independent.
    """

    __slots__ = ("_block", "_exponentials", "_key", "_next", "_normals", "_uniforms")

    def __init__(self, seed: int, stream: str, entity: str = "") -> None:
        self._key = key_of(seed, stream, entity)
        self._block = -1
        self._next = 0
        self._uniforms: list[float] = []
        self._normals: list[float] | None = None
        self._exponentials: list[float] | None = None

    def _load(self, block: int) -> None:
        # Philox adds one to its counter before the first output, so counters are block * k.
        generator = np.random.Philox(key=self._key, counter=[block * _COUNTERS_PER_BLOCK, 0, 0, 0])
        words = generator.random_raw(BLOCK)
        # 53 random bits, moved half a step from 0: neither 0 nor 1 can come out.
        self._uniforms = ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54).tolist()
        self._normals = None
        self._exponentials = None
        self._block = block

    def uniform(self, index: int) -> float:
        """Draw ``index``, uniform on the open interval (0, 1)."""
        block, offset = divmod(index, BLOCK)
        if block != self._block:
            self._load(block)
        return self._uniforms[offset]

    def normal(self, index: int) -> float:
        """Draw ``index``, standard normal."""
        block, offset = divmod(index, BLOCK)
        if block != self._block:
            self._load(block)
        if self._normals is None:
            self._normals = ndtri(np.asarray(self._uniforms)).tolist()
        return self._normals[offset]

    def exponential(self, index: int) -> float:
        """Draw ``index``, exponential with mean one."""
        block, offset = divmod(index, BLOCK)
        if block != self._block:
            self._load(block)
        if self._exponentials is None:
            self._exponentials = (-np.log(np.asarray(self._uniforms))).tolist()
        return self._exponentials[offset]

    def next(self) -> int:
        """The next unused index, for entities whose draws have a natural order of their own."""
        index = self._next
        self._next = index + 1
        return index


class Streams:
    """All named streams of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[tuple[str, str], Stream] = {}

    def get(self, stream: str, entity: str = "") -> Stream:
        """The stream of that name; the same object on every call."""
        name = (stream, entity)
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = Stream(self.seed, stream, entity)
        return found


def lognormal(normal: float, cv: float) -> float:
    """Turn a standard normal draw into a factor of mean one and coefficient of variation ``cv``."""
    if cv <= 0:
        return 1.0
    variance = float(np.log1p(cv * cv))
    return float(np.exp(variance**0.5 * normal - variance / 2))

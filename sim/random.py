"""Counter-based random numbers: a draw is named, not taken in turn.

A number is a pure function of (seed, stream, entity, index): the order in which events
happen, the process that draws, or what other entities do cannot change it. Two runs that
differ in one parameter therefore share all their other randomness (common random numbers).
Philox is keyed by a blake2b hash of the name, so `PYTHONHASHSEED` has no part in it.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

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

    __slots__ = ("_block", "_key", "_next", "_uniforms")

    def __init__(self, seed: int, stream: str, entity: str = "") -> None:
        self._key = key_of(seed, stream, entity)
        self._block = -1
        self._next = 0
        self._uniforms: list[float] = []

    def _load(self, block: int) -> None:
        # Philox adds one to its counter before the first output, so counters are block * k.
        generator = np.random.Philox(key=self._key, counter=[block * _COUNTERS_PER_BLOCK, 0, 0, 0])
        words = generator.random_raw(BLOCK)
        # 53 random bits, moved half a step from 0: neither 0 nor 1 can come out.
        self._uniforms = ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54).tolist()
        self._block = block

    def uniform(self, index: int) -> float:
        """Draw ``index``, uniform on the open interval (0, 1)."""
        block, offset = divmod(index, BLOCK)
        if block != self._block:
            self._load(block)
        return self._uniforms[offset]

    def normal(self, index: int) -> float:
        """Draw ``index``, standard normal."""
        return normal_of(self.uniform(index))

    def exponential(self, index: int) -> float:
        """Draw ``index``, exponential with mean one."""
        return -math.log(self.uniform(index))

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


def normal_of(u: float) -> float:
    """The standard normal quantile of ``u`` in (0, 1), to about 1e-16 (Wichura 1988, algorithm AS 241).

    Plain arithmetic and the C library's `log` and `sqrt` only: both engines, and every processor of an
    architecture, get the same bits, which vectorised library functions do not promise.
    """
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = 2509.0809287301226727 * r + 33430.575583588128105
        above = (above * r + 67265.770927008700853) * r + 45921.953931549871457
        above = (above * r + 13731.693765509461125) * r + 1971.5909503065514427
        above = (above * r + 133.14166789178437745) * r + 3.387132872796366608
        below = 5226.495278852854561 * r + 28729.085735721942674
        below = (below * r + 39307.89580009271061) * r + 21213.794301586595867
        below = (below * r + 5394.1960214247511077) * r + 687.1870074920579083
        below = (below * r + 42.313330701600911252) * r + 1.0
        return q * above / below
    r = math.sqrt(-math.log(u if q < 0 else 1.0 - u))
    if r <= 5.0:
        r -= 1.6
        above = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
        above = (above * r + 0.24178072517745061177) * r + 1.27045825245236838258
        above = (above * r + 3.64784832476320460504) * r + 5.7694972214606914055
        above = (above * r + 4.6303378461565452959) * r + 1.42343711074968357734
        below = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
        below = (below * r + 0.0151986665636164571966) * r + 0.14810397642748007459
        below = (below * r + 0.68976733498510000455) * r + 1.6763848301838038494
        below = (below * r + 2.05319162663775882187) * r + 1.0
    else:
        r -= 5.0
        above = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
        above = (above * r + 0.0012426609473880784386) * r + 0.026532189526576123093
        above = (above * r + 0.29656057182850489123) * r + 1.7848265399172913358
        above = (above * r + 5.4637849111641143699) * r + 6.6579046435011037772
        below = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
        below = (below * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4
        below = (below * r + 0.0148753612908506148525) * r + 0.13692988092273580531
        below = (below * r + 0.59983220655588793769) * r + 1.0
    return math.copysign(above / below, q)


def lognormal(normal: float, cv: float) -> float:
    """Turn a standard normal draw into a factor of mean one and coefficient of variation ``cv``."""
    if cv <= 0:
        return 1.0
    variance = math.log1p(cv * cv)
    return math.exp(math.sqrt(variance) * normal - variance / 2)

"""Random numbers of `sim.random`, drawn inside the kernels: the same words from the same names."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

import numpy as np

from sim import random as plain
from sim.engine.compiled import layout as w
from sim.engine.compiled.jit import Floats, Ints, entry, kernel, twins

_made = twins(plain, ("normal_of", "lognormal"))
normal_of = _made["normal_of"]
lognormal = _made["lognormal"]

_M0 = np.uint64(0xD2E7470EE14C6C93)
_M1 = np.uint64(0xCA5A826395121157)
_W0 = np.uint64(0x9E3779B97F4A7C15)
_W1 = np.uint64(0xBB67AE8584CAA73B)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SHIFT = np.uint64(11)


@kernel
def high(a: Any, b: Any) -> Any:
    """Upper 64 bits of a product of two 64-bit words."""
    a0 = a & _LOW
    a1 = a >> _HALF
    b0 = b & _LOW
    b1 = b >> _HALF
    middle = a1 * b0 + ((a0 * b0) >> _HALF)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _HALF) + (other >> _HALF)


@kernel
def philox(i64: Ints, f64: Floats, stream: int, counter: int) -> None:
    """Fill the stream's four words with those of ``counter`` (Philox4x64, ten rounds)."""
    k0 = np.uint64(i64[stream + w.S_KEY0])
    k1 = np.uint64(i64[stream + w.S_KEY1])
    c0 = np.uint64(counter)
    c1 = np.uint64(0)
    c2 = np.uint64(0)
    c3 = np.uint64(0)
    for _ in range(10):
        h0 = high(_M0, c0)
        l0 = _M0 * c0
        h1 = high(_M1, c2)
        l1 = _M1 * c2
        c0 = h1 ^ c1 ^ k0
        c1 = l1
        c2 = h0 ^ c3 ^ k1
        c3 = l0
        k0 = k0 + _W0
        k1 = k1 + _W1
    i64[stream + w.S_COUNTER] = counter
    i64[stream + w.S_W0] = np.int64(c0)
    i64[stream + w.S_W1] = np.int64(c1)
    i64[stream + w.S_W2] = np.int64(c2)
    i64[stream + w.S_W3] = np.int64(c3)


@entry
def uniform(i64: Ints, f64: Floats, stream: int, index: int) -> float:
    """Draw ``index``, uniform on the open interval (0, 1)."""
    counter = (index >> 2) + 1  # numpy adds one to its counter before the first output
    if i64[stream + w.S_COUNTER] != counter:
        philox(i64, f64, stream, counter)
    word = np.uint64(i64[stream + w.S_W0 + (index & 3)])
    return float(word >> _SHIFT) * 2.0**-53 + 2.0**-54


@kernel
def following(i64: Ints, f64: Floats, stream: int) -> int:
    """The next unused index."""
    index = i64[stream + w.S_NEXT]
    i64[stream + w.S_NEXT] = index + 1
    return index


@entry
def normal(i64: Ints, f64: Floats, stream: int, index: int) -> float:
    """Draw ``index``, standard normal."""
    return normal_of(uniform(i64, f64, stream, index))


@entry
def exponential(i64: Ints, f64: Floats, stream: int, index: int) -> float:
    """Draw ``index``, exponential with mean one."""
    return -math.log(uniform(i64, f64, stream, index))


@kernel
def cost(i64: Ints, f64: Floats, mean: float, cv: float, stream: int) -> float:
    """One draw of a calibrated cost."""
    if cv == 0.0:
        return mean
    return mean * lognormal(normal(i64, f64, stream, following(i64, f64, stream)), cv)

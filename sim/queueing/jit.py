"""How kernels are compiled, and the random numbers they draw.

Numbers are Philox words by (key, entity, index) as in `sim.random`, so that the order of events has no
influence on them. A cached kernel is as fresh as the file it stands in: whoever changes one of these
files touches those that call it.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call,misc,untyped-decorator"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_M0 = np.uint64(0xD2E7470EE14C6C93)
_M1 = np.uint64(0xCA5A826395121157)
_W0 = np.uint64(0x9E3779B97F4A7C15)
_W1 = np.uint64(0xBB67AE8584CAA73B)
_SHIFT = np.uint64(11)


def kernel(function: Function) -> Function:
    """Compile at the first call and keep it on disk."""
    compiler: Callable[..., Any] = njit(cache=True, error_model="numpy", nogil=True)
    compiled: Function = compiler(function)
    return compiled


def inlined(function: Function) -> Function:
    """The same for what is too small to be called."""
    compiler: Callable[..., Any] = njit(cache=True, error_model="numpy", nogil=True, inline="always")
    compiled: Function = compiler(function)
    return compiled


def _product(typing_context: Any, a: Any, b: Any) -> Any:
    """Upper 64 bits of a product of two 64-bit words: one machine instruction."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_high: Any = intrinsic(_product)


def _ask_for(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask the processor for the cache line of ``array[index]``, which will be needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, *[ir.IntType(32)] * 3])
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        # To be read, to be kept in all caches, data.
        builder.call(function, [place, *(ir.Constant(ir.IntType(32), value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_ask_for)


@kernel
def philox(key0: int, key1: int, counter: int, entity: int, words: Words, at: int) -> None:
    """Write the four words of (counter, entity) to ``words[at:]`` (Philox4x64, ten rounds)."""
    c0 = np.uint64(counter)
    c1 = np.uint64(entity)
    c2 = np.uint64(0)
    c3 = np.uint64(0)
    k0 = np.uint64(key0)
    k1 = np.uint64(key1)
    for _ in range(10):
        h0 = _high(_M0, c0)
        l0 = _M0 * c0
        h1 = _high(_M1, c2)
        l1 = _M1 * c2
        c0 = h1 ^ c1 ^ k0
        c1 = l1
        c2 = h0 ^ c3 ^ k1
        c3 = l0
        k0 = k0 + _W0
        k1 = k1 + _W1
    words[at] = c0
    words[at + 1] = c1
    words[at + 2] = c2
    words[at + 3] = c3


@kernel
def unit(word: int) -> float:
    """A word as a number in the open interval (0, 1): as `sim.random.Stream.uniform`."""
    return float(np.uint64(word) >> _SHIFT) * 2.0**-53 + 2.0**-54


@kernel
def service_time(u: float, mean: float, cv: float) -> float:
    """A service time from one uniform number: `sim.queueing.model.Station.cv`."""
    if cv == 1.0:
        return -mean * math.log(u)
    if cv == 0.0:
        return mean
    if cv < 1.0:
        return mean * (1.0 - cv) - mean * cv * math.log(u)
    # Two phases with balanced means; what is left of the number after the choice draws the time.
    squared = cv * cv
    p = 0.5 * (1.0 + math.sqrt((squared - 1.0) / (squared + 1.0)))
    if u < p:
        return -mean / (2.0 * p) * math.log(u / p)
    return -mean / (2.0 * (1.0 - p)) * math.log((u - p) / (1.0 - p))

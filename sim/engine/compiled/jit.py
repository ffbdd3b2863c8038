"""How kernels are compiled: once, kept on disk, and never stale.

The cache lies in the user's cache directory under a hash of all sources of `sim`, of numba's
version and of the interpreter: a changed protocol function never meets an old kernel.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cache_directory() -> Path:
    """Where compiled kernels are kept for this version of the sources."""
    root = Path(__file__).parents[2]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{version('numba')} {version('llvmlite')} {version('numpy')} {sys.version}".encode())
    for source in sorted(
        [*root.glob("*.py"), *root.glob("protocols/*.py"), *root.glob("engine/compiled/*.py")]
    ):
        digest.update(source.read_bytes())
    base = os.environ.get("FAULTLINE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    home = Path(base) if base else Path.home() / ".cache"
    return home / "faultline" / f"kernels-{digest.hexdigest()}"


def _njit() -> Callable[..., Any]:
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(cache_directory())
    import numba

    config: Any = numba.config
    if not config.CACHE_DIR:
        config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
    njit: Any = numba.njit
    compiler: Callable[..., Any] = njit
    return compiler


_compiler = _njit()


_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
"""No fast-math: every operation rounds as in the reference engine. No reference counts: no kernel
makes an array."""


def _plain(dispatcher: Any) -> Any:
    """Have one compiled form per function: numba would make one more for each constant argument."""
    from numba import types

    unliteral: Any = types.unliteral
    template = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return template(
            tuple(unliteral(arg) for arg in args),
            {name: unliteral(arg) for name, arg in dict(kws).items()},
        )

    dispatcher.get_call_template = get_call_template
    return dispatcher


def kernel(function: Function) -> Function:
    """Compile ``function`` when another kernel calls it first; its type stays that of the Python function."""
    compiled: Function = _plain(
        _compiler(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    )
    return compiled


def entry(function: Function) -> Function:
    """A kernel that Python may call too."""
    compiled: Function = _plain(_compiler(no_cfunc_wrapper=True, **_OPTIONS)(function))
    return compiled


def inlined(function: Function) -> Function:
    """A kernel whose arguments would cost more to pass than it does to do."""
    compiled: Function = _compiler(
        no_cpython_wrapper=True, no_cfunc_wrapper=True, inline="always", **_OPTIONS
    )(function)
    return compiled


def twins(module: ModuleType, names: Iterable[str]) -> dict[str, Any]:
    """Compile functions of a protocol module as they stand, calling one another's compiled form."""
    space = dict(vars(module))
    made: dict[str, Any] = {}
    for name in names:
        plain = space[name]
        copy = FunctionType(plain.__code__, space, name, plain.__defaults__, plain.__closure__)
        copy.__kwdefaults__ = plain.__kwdefaults__
        copy.__qualname__ = plain.__qualname__
        copy.__module__ = plain.__module__
        made[name] = kernel(copy)
    space.update(made)
    return made

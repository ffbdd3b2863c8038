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

KERNELS = 315
"""How many there are, roughly; for the progress line only."""

_CONSTANTS = (
    *("random", "steps", "program", "engine/frontends", "engine/network", "engine/pools"),
    *("engine/replication", "engine/service"),
)
"""Modules outside this package and the protocols that kernels take constants or functions from."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cache_directory() -> Path:
    """Where compiled kernels are kept for this version of the sources."""
    root = Path(__file__).parents[2]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(f"{version('numba')} {version('llvmlite')} {version('numpy')} {sys.version}".encode())
    constants = [root / f"{name}.py" for name in _CONSTANTS]
    for source in sorted([*constants, *root.glob("protocols/*.py"), *root.glob("engine/compiled/*.py")]):
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

from sim.engine.compiled.parts import (  # noqa: E402 - numba knows its cache now
    Kept,
    PartCompiler,
    WholeCompiler,
    remembered_types,
)

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
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
        _compiler(no_cpython_wrapper=True, pipeline_class=PartCompiler, **_OPTIONS)(function)
    )
    return compiled


_ENTRIES: list[tuple[Any, Callable[..., Any]]] = []


def entry(function: Function) -> Function:
    """A kernel that Python may call too."""
    compiled: Function = _plain(_compiler(cache=True, pipeline_class=WholeCompiler, **_OPTIONS)(function))
    dispatcher: Any = compiled
    dispatcher._cache = Kept(function)  # type: ignore[no-untyped-call]
    _ENTRIES.append((compiled, function))
    return compiled


def inlined(function: Function) -> Function:
    """A kernel whose arguments would cost more to pass than it does to do."""
    compiled: Function = _compiler(
        no_cpython_wrapper=True, pipeline_class=PartCompiler, inline="always", **_OPTIONS
    )(function)
    return compiled


def _marker() -> Path:
    return Path(os.environ["NUMBA_CACHE_DIR"]) / "ready"


def is_ready() -> bool:
    """Whether all kernels have been compiled here."""
    return _marker().exists()


def warm_up(note: Callable[[str], None]) -> None:
    """Compile all kernels and keep them on disk, saying how it goes."""
    from numba.core import event

    from sim.engine.compiled import simulation  # noqa: F401 - brings all kernels in

    class Count(event.Listener):
        done = 0

        def on_start(self, event: Any) -> None:
            """Nothing to say yet."""

        def on_end(self, event: Any) -> None:
            """One more."""
            self.done += 1
            if self.done % 20 == 0:
                note(f"compiling the engine, once on this machine: {self.done} of about {KERNELS} parts")

    note("compiling the engine, once on this machine: this can take a minute")
    listener = Count()
    with remembered_types(), event.install_listener("numba:compile", listener):
        for compiled, function in _ENTRIES:
            compiled.compile(_signature(function))
    marker = _marker()
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(f"{listener.done}\n")


def _signature(function: Callable[..., Any]) -> tuple[Any, ...]:
    from numba import types

    kinds = {
        "Ints": types.int64[::1],
        "Floats": types.float64[::1],
        "int": types.int64,
        "float": types.float64,
        "bool": types.boolean,
    }
    return tuple(kinds[kind] for name, kind in function.__annotations__.items() if name != "return")


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

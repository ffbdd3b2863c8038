"""How numba builds kernels here: every function is translated once, and machine code is made of entries only.

Left to itself, numba optimises each function together with everything that it calls and makes machine
code of both, at every level of the calls: most of the time goes to code that nobody calls from Python. Here
a function is kept by itself, as a part; an entry links all parts that it reaches and is optimised and
turned into machine code as a whole. The instructions, and so every rounding, are the same.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import caching, codegen, compiler, typed_passes, types
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.types import functions


class Part(codegen.JITCodeLibrary):
    """One function's code, for others to link: it is never run by itself."""

    def finalize(self) -> None:
        """Nothing to link, to optimise or to emit yet."""
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code."""
        return 0


class Whole(codegen.JITCodeLibrary):
    """An entry's code with all that it reaches."""

    _alone: Any = None

    def finalize(self) -> None:
        """Link everything within reach, once."""
        self._alone = self._final_module.clone()
        own = list(self._linking_libraries)
        self._linking_libraries = _reach(own)
        super().finalize()
        self._linking_libraries = own

    def _get_module_for_linking(self) -> Any:
        """Who links this entry links what it reaches by itself."""
        self._ensure_finalized()
        if self._shared_module is None:
            self._shared_module = _for_linking(self._alone)
        return self._shared_module

    def serialize_using_object_code(self) -> Any:
        """What is kept on disk stands for itself."""
        self._ensure_finalized()
        whole = _for_linking(self._final_module.clone())
        return self.name, "object", (self._get_compiled_object(), whole.as_bitcode())


def _reach(libraries: list[Any]) -> list[Any]:
    found: dict[Any, None] = {}
    waiting = list(reversed(libraries))
    while waiting:
        library = waiting.pop()
        if library not in found:
            found[library] = None
            if isinstance(library, Part | Whole):
                waiting.extend(reversed(library._linking_libraries))
    return list(found)


def _for_linking(module: Any) -> Any:
    """Have its functions linked into several modules, and dropped where nobody calls them."""
    for function in module.functions:
        if not function.is_declaration and function.linkage.name == "external":
            function.linkage = "linkonce_odr"
    return module


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(typed_passes.NativeLowering):
    """Keep a function as a `Part`."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """Translate the function and make it known to its callers."""
        target = state.targetctx
        state.library = library = Part(target.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        made = state["cr"]
        described = made.fndesc
        name = described.qualname.split(".")[-1]
        # numba tells functions apart by what Python would call; this cannot be called.
        handle = _dynfunc.make_function(described.lookup_module(), name, "", 0, made.env, (library,))
        target.insert_user_function(handle, described, [library])
        state["cr"] = made._replace(cfunc=handle)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class WholeLowering(typed_passes.NativeLowering):
    """Make an entry of a function."""

    _name = "whole_lowering"

    def run_pass(self, state: Any) -> bool:
        """Translate the function, link what it reaches, make machine code."""
        state.library = Whole(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


class _Compiler(compiler.CompilerBase):
    lowering: Any

    def define_pipelines(self) -> list[Any]:
        """Numba's own, with another last step."""
        usual = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        mine = PassManager("kernels")
        for found, description in usual.passes:
            chosen = self.lowering if found is typed_passes.NativeLowering else found
            mine.add_pass(chosen, description)
        mine.finalize()
        return [mine]


class PartCompiler(_Compiler):
    """Compiles to a `Part`."""

    lowering = PartLowering


class WholeCompiler(_Compiler):
    """Compiles to a `Whole`."""

    lowering = WholeLowering


class Kept(caching.FunctionCache):
    """Entries on disk, loaded as they are: numba would first load all that it can compile."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The entry for a signature, None if there is none."""
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


@contextmanager
def remembered_types() -> Iterator[None]:
    """While this lasts, numba works out the type of an operation on the same types once, not every time."""
    plain = functions.BaseFunction.get_call_type
    known: dict[Any, Any] = {}

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        key = (self, _general(self, args), tuple(kws.items()))
        found = known.get(key)
        if found is None:
            found = known[key] = plain(self, context, args, kws)
        return found

    functions.BaseFunction.get_call_type = get_call_type  # type: ignore[method-assign]
    try:
        yield
    finally:
        functions.BaseFunction.get_call_type = plain  # type: ignore[method-assign]


def _general(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of an operation on numbers and arrays the types matter, not the constants."""
    if getattr(function.typing_key, "__module__", None) != "_operator":
        return args
    general = tuple(types.unliteral(arg) for arg in args)
    return (
        general
        if all(isinstance(arg, types.Number | types.Boolean | types.Array) for arg in general)
        else args
    )

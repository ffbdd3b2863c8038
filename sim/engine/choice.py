"""Which engine runs a program: the compiled one, or the reference where a program needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from sim.engine.reference import Simulation
    from sim.program import Program

Engine = Literal["compiled", "reference"]
"""`compiled` gives the same answers as `reference`, many times as fast."""

ENGINES: tuple[Engine, ...] = get_args(Engine)


def engine_for(program: Program, wanted: Engine = "compiled") -> Engine:
    """The engine that will run ``program``: the reference takes over what the compiled one does not know."""
    if wanted == "reference":
        return "reference"
    from sim.engine.compiled.supports import supports

    return "reference" if supports(program) else "compiled"


def simulation_of(program: Program, seed: int, engine: Engine = "compiled") -> Simulation:
    """A simulation of ``program`` at t = 0 on the engine that `engine_for` names."""
    if engine_for(program, engine) == "reference":
        from sim.engine.reference import Simulation

        return Simulation.of(program, seed)
    from sim.engine.compiled.simulation import Simulation as Compiled

    return Compiled.of(program, seed)


def prepare(note: Callable[[str], None] | None = None) -> None:
    """Compile the compiled engine unless that has been done on this machine.

    Args:
        note: told how it goes, in a line at a time: it takes up to a minute, once per installation.
    """
    from sim.engine.compiled.jit import is_ready, warm_up

    if not is_ready():
        warm_up(note or (lambda _: None))

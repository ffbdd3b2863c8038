"""Opening a lab by its name: the only place where the simulator is put into a lab's clothes."""

from __future__ import annotations

from collections.abc import Callable

from chaos.lab.base import Lab
from faultline.inputs import Backend, Inputs
from faultline.score import SIMULATED
from topologies.errors import InputError
from topologies.loader import SizeName


def ensure_runnable(backend: Backend, size: SizeName) -> None:
    """Refuse before anything is predicted what could not be run afterwards.

    Raises:
        MissingCapability: this machine lacks something; the message says what and how to get it.
        InputError: the local lab was asked for in production size.
    """
    if backend == SIMULATED:
        return
    if size != "lab":
        raise InputError(
            f"the local lab cannot run the size {size!r}",
            file="--size",
            expected="lab",
            hint="`--backend simulated` or `faultline predict` take any size",
        )
    from chaos.host.capabilities import require

    require()


def open_lab(inputs: Inputs, backend: Backend, note: Callable[[str], None]) -> Lab:
    """A lab that is not up yet.

    Args:
        inputs: what will run in it.
        backend: its name.
        note: told in words what the lab does.
    """
    if backend == SIMULATED:
        from chaos.lab.simulated import SimulatedLab
        from sim.engine.reference import Simulation

        return SimulatedLab(Simulation(inputs.calibration, inputs.size))
    from chaos.lab.local import LocalLab

    return LocalLab(progress=note, seed=inputs.seed)


def validates(backend: str) -> bool:
    """Whether a measurement on ``backend`` says anything about reality."""
    return backend != SIMULATED

"""A lab that stays up after its command has ended."""

from __future__ import annotations

from collections.abc import Callable

from chaos.errors import LabError
from chaos.lab.base import ComponentStatus, Endpoint
from chaos.lab.host import HostLab
from chaos.lab.layout import lab_directory
from chaos.lab.local import LocalLab
from chaos.lab.state import LabState
from topologies.model import Topology


def bring_up(topology: Topology, note: Callable[[str], None], backend: str = "local") -> list[Endpoint]:
    """Bring ``topology`` up and leave it; return where its services answer.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: it did not come up; what was started has been removed.
    """
    lab = _lab(backend, note)
    lab.up(topology)
    endpoints = lab.endpoints()
    lab.detach()
    return endpoints


def keep_clusters(topology: Topology, note: Callable[[str], None]) -> None:
    """Make the clusters of ``topology`` and leave them, empty, for runs to come.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: they were not made; what was started has been removed.
    """
    from chaos.lab.kind import KindLab

    KindLab(progress=note).prepare(topology)


def look() -> list[ComponentStatus]:
    """State of every component of the lab that is up; empty when none is."""
    try:
        backend = LabState.read(lab_directory()).backend
    except LabError:
        return []
    return _lab(backend).status()


def _lab(backend: str, note: Callable[[str], None] | None = None) -> HostLab:
    if backend == "kind":
        from chaos.lab.kind import KindLab

        return KindLab(progress=note)
    return LocalLab(progress=note)

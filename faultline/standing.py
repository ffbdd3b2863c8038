"""A lab that stays up after its command has ended."""

from __future__ import annotations

from collections.abc import Callable

from chaos.lab.base import ComponentStatus, Endpoint
from chaos.lab.local import LocalLab
from topologies.model import Topology


def bring_up(topology: Topology, note: Callable[[str], None]) -> list[Endpoint]:
    """Bring ``topology`` up and leave it; return where its services answer.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: it did not come up; what was started has been removed.
    """
    lab = LocalLab(progress=note)
    lab.up(topology)
    endpoints = lab.endpoints()
    lab.detach()
    return endpoints


def look() -> list[ComponentStatus]:
    """State of every component of the lab that is up; empty when none is."""
    return LocalLab().status()

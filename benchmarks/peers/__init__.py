"""The same work by others: one file per simulator, as its own documentation would have it written.

A peer has `NAME`, `missing()` (why it cannot run here, or None) and any of `line(rate, service, servers,
customers, seed)` and `closed(services, think, users, customers, seed)`; both return the mean response.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAMES = ("simpy_written", "ciw_network", "salabim_process", "happysim_server", "asyncflow_server")


def peers() -> list[ModuleType]:
    """All of them, installed or not."""
    return [import_module(f"benchmarks.peers.{name}") for name in NAMES]

"""The same work by others: one file per simulator, as its own documentation would have it written.

A peer has `NAME`, `missing()` (why it cannot run here, or None) and any of `line(rate, service, servers,
customers, seed)` and `closed(services, think, users, customers, seed)`; both return the mean response.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.timing import Run, within

NAMES = ("simpy_written", "ciw_network", "salabim_process", "happysim_server", "asyncflow_server")


def peers() -> list[ModuleType]:
    """All of them, installed or not."""
    return [import_module(f"benchmarks.peers.{name}") for name in NAMES]


def measured(
    peer: ModuleType, rate: float, service: float, servers: int, customers: int, seconds: float
) -> Run | str:
    """Time a peer's queue here, or in the Python that FAULTLINE_PEERS names; or say why it cannot run."""
    reason: str | None = peer.missing()
    if reason is None:
        return within(lambda count: peer.line(rate, service, servers, count, 1), customers, seconds)
    python = os.environ.get("FAULTLINE_PEERS", "")
    if not Path(python).is_file():
        return f"{reason}; no newer Python was found (FAULTLINE_PEERS names one)"
    work = {"rate": rate, "service": service, "servers": servers, "customers": customers, "seconds": seconds}
    done = subprocess.run(
        [python, "-m", "benchmarks.peers.alone", peer.__name__.rpartition(".")[2]],
        input=json.dumps(work),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60 + 10 * seconds,
        check=False,
    )
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    if "missing" in found:
        return reason
    return Run(found["customers"], found["seconds"], note=f"in Python {found['python']}")

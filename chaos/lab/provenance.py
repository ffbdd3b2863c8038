"""What a local lab was made of, for the run record: enough to tell two runs' circumstances apart."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.host.capabilities import TOOLS, version_of
from chaos.host.cgroups import PERIOD, Cgroups
from chaos.lab.state import LabState
from chaos.services import galera

_WANTED = frozenset(
    ("mariadbd", "redis-server", "redis-sentinel", "haproxy", "nginx", "gdnsd", "wg", "rsync")
)


def collect(state: LabState, cgroups: Cgroups, network: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a lab that is up.

    Args:
        state: of the lab.
        cgroups: that it uses.
        network: facts of its WAN: relay and WireGuard.
    """
    return {
        "machine": machine(),
        "versions": versions(),
        "network": dict(network),
        "cgroup_version": cgroups.hierarchy.version,
        "quota_cores": {name: site.cpu for name, site in state.topology.sites.items()},
        "quota_period": PERIOD,
        "configurations": {one.component: one.digest for one in state.daemons},
    }


def machine() -> dict[str, str]:
    """Processor, cores, memory and kernel."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count() or 1),
        "memory": _memory(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the daemons; `unknown` for one that does not say."""
    found = {tool.command: version_of(tool) or "unknown" for tool in TOOLS if tool.command in _WANTED}
    if galera.PROVIDER.exists():
        found["galera"] = _galera_version()
    return found


def _galera_version() -> str:
    # Debian's version of the package; the library itself says `4.x(rXXXX)` in a log line only.
    status = Path("/var/lib/dpkg/status")
    if not status.exists():
        return "unknown"
    for paragraph in status.read_text(errors="replace").split("\n\n"):
        if paragraph.startswith("Package: galera-4\n"):
            for line in paragraph.splitlines():
                if line.startswith("Version: "):
                    return line.removeprefix("Version: ")
    return "unknown"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory() -> str:
    first = Path("/proc/meminfo").read_text().splitlines()[0]
    return f"{int(first.split()[1]) / 2**20:.1f}GiB"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"

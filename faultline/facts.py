"""What a run was made with: machine, versions, command line."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "faultline",
    "chaostoolkit-lib",
    "simpy",
    "numpy",
    "pandas",
    "pydantic",
    "locust",
    "gunicorn",
    "pymysql",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """The machine: CPU model, cores this process may use, memory, kernel, distribution."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _memory(),
        "kernel": platform.release(),
        "distribution": _distribution(),
    }


def command() -> str:
    """The command line, with the program's bare name."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            key, separator, value = line.replace("=", ":", 1).partition(":")
            if separator and key.strip() == name:
                return value.strip().strip('"')
    except OSError:
        pass
    return ""


def _cpu_model() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.machine()


def _memory() -> str:
    total = _field("/proc/meminfo", "MemTotal").split()
    return f"{int(total[0]) / 2**20:.1f} GiB" if total and total[0].isdigit() else ""


def _distribution() -> str:
    return _field("/etc/os-release", "PRETTY_NAME")

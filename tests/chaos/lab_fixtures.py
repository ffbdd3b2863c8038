"""What the tests share that create namespaces and control groups."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chaos.heal import heal, prepare_directory
from chaos.host import namespaces, remains
from chaos.host.cgroups import Cgroups
from chaos.lock import LabLock


@contextmanager
def machine(directory: Path) -> Iterator[Cgroups]:
    """The machine for this test alone, clean before and after. Refuses when a real lab runs."""
    with LabLock(directory):
        heal(directory)
        prepare_directory(directory)
        groups = Cgroups()
        groups.create()
        try:
            yield groups
        finally:
            heal(directory)


def leftovers() -> list[str]:
    """Everything on this machine that bears the lab's prefixes."""
    found = [f"namespace {name}" for name in namespaces.names()]
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    found += [f"netns {line}" for line in listed.splitlines() if line.startswith("fl-")]
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        found += [f"control group {path}" for path in hierarchy.glob("faultline*")]
    found += [f"interface {name}" for name in remains.interfaces()]
    found += [f"socket {path}" for path in Path("/run/wireguard").glob("flwg*")]
    return found


def processes_mentioning(text: str) -> list[str]:
    """Command lines of live processes that contain ``text``."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line:
                found.append(f"{path.name}: {line}")
    return found


def inside(namespace: str, argv: Sequence[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command in a namespace of the lab."""
    return subprocess.run(
        namespaces.argv_inside(namespace, argv),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def ping(namespace: str, address: str, count: int = 10, interval: float = 0.02, *options: str) -> list[float]:
    """Round-trip times in seconds of the pings that were answered."""
    argv = ["ping", "-c", str(count), "-i", str(interval), "-W", "1", *options, address]
    lines = inside(namespace, argv, timeout=30 + count * interval).stdout.splitlines()
    return [float(line.split("time=")[1].split()[0]) / 1e3 for line in lines if "time=" in line]

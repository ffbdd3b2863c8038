"""Network namespaces of the lab: all of them are named `fl-...`, nothing else is ever touched.

A site of the topology is one namespace; so are its users and the DNS balancer (facts/lab.md).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from chaos.errors import LabError
from chaos.host.commands import run

PREFIX = "fl-"
RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000

# A namespace starts with the kernel's defaults for a workstation; a site forwards packets between
# its links, and packets of a VPN without a full mesh come in where they would not go out.
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/ip_unprivileged_port_start": "0",
}
FORWARDING = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
)
"""What a namespace that somebody else made needs of these to be a site."""


def _ours(name: str) -> str:
    if not name.startswith(PREFIX) or "/" in name:
        raise LabError(f"{name!r} is not a namespace of the lab: its name must start with {PREFIX!r}")
    return name


def names() -> list[str]:
    """The lab's namespaces on this machine, half-created ones included, sorted."""
    if not RUN.is_dir():
        return []
    return sorted(entry.name for entry in RUN.iterdir() if entry.name.startswith(PREFIX))


def create(name: str) -> None:
    """Create namespace ``name`` with `lo` up and the lab's sysctls.

    Raises:
        LabError: the name lacks the prefix, exists already, or the kernel refuses.
    """
    run(["ip", "netns", "add", _ours(name)])
    run(["ip", "-n", name, "link", "set", "lo", "up"])
    _set_sysctls(name, SYSCTLS)


def attach(name: str, pid: int) -> None:
    """Give the network namespace of process ``pid`` the name ``name``, and let it forward.

    It stays that process's own: `delete` takes the name away again, nothing else. A name that stood for
    another namespace stands for this one afterwards.

    Raises:
        LabError: the name lacks the prefix, or the kernel refuses.
    """
    delete(name)
    run(["ip", "netns", "attach", _ours(name), str(pid)])
    _set_sysctls(name, {key: SYSCTLS[key] for key in FORWARDING})


def _set_sysctls(name: str, values: Mapping[str, str]) -> None:
    with entered(name):
        for key, value in values.items():
            with suppress(OSError):  # no IPv6 in this kernel: nothing to switch off
                Path("/proc/sys", key).write_text(value)


def delete(name: str) -> bool:
    """Delete namespace ``name``; tell whether there was anything to delete."""
    if not (RUN / _ours(name)).exists():
        return False
    run(["ip", "netns", "delete", name], check=False)
    if (RUN / name).exists():
        # What is left of an `ip netns add` that was killed between the file and the mount.
        with suppress(OSError):
            (RUN / name).unlink()
    return not (RUN / name).exists()


def argv_inside(name: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` inside namespace ``name``."""
    return ["ip", "netns", "exec", _ours(name), *argv]


def ip_batch(name: str, lines: Sequence[str]) -> None:
    """Run `ip` subcommands inside namespace ``name``, one per line, in one process."""
    run(["ip", "-n", _ours(name), "-batch", "-"], stdin="\n".join(lines) + "\n")


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def of_process(pid: int) -> str:
    """The network that process ``pid`` lives in, for `entered`: a pod's has no name."""
    return f"/proc/{pid}/ns/net"


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Move the calling thread's network into namespace ``name``, or that `of_process`, for the block.

    Only the network changes: files opened by path are still the machine's, except `/proc/sys/net`,
    which follows the thread.

    Raises:
        LabError: there is no such namespace, or the process may not enter it.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            place = name if name.startswith("/proc/") else RUN / _ours(name)
            target = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise LabError(f"there is no namespace {name}: {error.strerror}") from error
        try:
            _setns(target)
        except OSError as error:
            raise LabError(f"cannot enter namespace {name}: {error.strerror}") from error
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)

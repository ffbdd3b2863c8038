"""Finding and removing what a lab leaves on the machine outside its directory, by prefix alone."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from chaos.host.commands import run

INTERFACE_PREFIX = "flwg"
WIREGUARD_SOCKETS = Path("/run/wireguard")
NETNS_CONFIGURATION = Path("/etc/netns")


def _unescape(path: str) -> str:
    # The kernel writes blanks and the like in mount points as octal (proc(5)).
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def mounts_below(directory: Path, mountinfo: str | None = None) -> list[Path]:
    """Mount points below ``directory``, the last mounted first."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found = [Path(_unescape(line.split()[4])) for line in text.splitlines()]
    return [path for path in reversed(found) if directory in path.parents]


def unmount_below(directory: Path) -> list[str]:
    """Unmount everything below ``directory``; a busy one is detached. Returns what was done."""
    done = []
    for path in mounts_below(directory):
        run(["umount", "--lazy", str(path)], check=False)
        done.append(f"unmounted {path}")
    return done


def interfaces() -> list[str]:
    """The lab's WireGuard devices in this process's own namespace: there should never be one."""
    return sorted(path.name for path in Path("/sys/class/net").iterdir() if _is_ours(path.name))


def _is_ours(interface: str) -> bool:
    return re.fullmatch(INTERFACE_PREFIX + r"\d+", interface) is not None


def remove_interfaces() -> list[str]:
    """Remove stray devices and control sockets of WireGuard. Returns what was done."""
    done = []
    for name in interfaces():
        run(["ip", "link", "delete", name], check=False)
        done.append(f"removed interface {name}")
    if WIREGUARD_SOCKETS.is_dir():
        for path in sorted(WIREGUARD_SOCKETS.iterdir()):
            if path.suffix == ".sock" and _is_ours(path.stem):
                with suppress(OSError):
                    path.unlink()
                    done.append(f"removed socket {path}")
    return done


def remove_netns_configuration(prefix: str) -> list[str]:
    """Remove `/etc/netns/<prefix>*`, which `ip netns exec` binds over /etc. Returns what was done."""
    done = []
    if NETNS_CONFIGURATION.is_dir():
        for path in sorted(NETNS_CONFIGURATION.iterdir()):
            if path.name.startswith(prefix):
                shutil.rmtree(path, ignore_errors=True)
                done.append(f"removed {path}")
    return done

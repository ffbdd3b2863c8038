"""What this machine can run, as data: for `faultline doctor`, and to refuse a run before it begins.

Nothing is created, loaded or started by looking.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from chaos.errors import LabError, MissingCapability
from chaos.host import cgroups
from chaos.host.commands import run

DISTRIBUTION = "faultline"
_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21


@dataclass(frozen=True)
class Capability:
    """One thing the lab needs or can make use of.

    Attributes:
        name: what it is.
        present: whether this machine has it.
        required: whether the local lab cannot do without it.
        detail: version or what was found, for people.
        remedy: the exact command that gets it; empty when it is there or nothing can be done.
    """

    name: str
    present: bool
    required: bool = True
    detail: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.name} is missing" + (f": {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Tool:
    """A program the lab runs.

    Attributes:
        command: its name.
        package: the Debian and Ubuntu package that has it.
        version_argv: arguments that make it say its version.
        required: whether the local lab cannot do without it.
    """

    command: str
    package: str
    version_argv: tuple[str, ...] = ("--version",)
    required: bool = True


TOOLS = (
    Tool("ip", "iproute2", ("-V",)),
    Tool("setpriv", "util-linux"),
    Tool("taskset", "util-linux"),
    Tool("wg", "wireguard-tools"),
    Tool("mariadbd", "mariadb-server"),
    Tool("mariadb-install-db", "mariadb-server", ()),
    Tool("rsync", "rsync"),
    Tool("redis-server", "redis-server"),
    Tool("redis-sentinel", "redis-sentinel"),
    Tool("haproxy", "haproxy", ("-v",)),
    Tool("nginx", "nginx-light", ("-v",)),
    Tool("gdnsd", "gdnsd", ("-V",)),
)

GALERA_LIBRARIES = (Path("/usr/lib/galera/libgalera_smm.so"), Path("/usr/lib64/galera/libgalera_smm.so"))


def search_path() -> str:
    """The PATH with the system directories, which unprivileged users often lack."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def _sudo(command: str) -> str:
    return f"`{command}`" if os.geteuid() == 0 else f"`sudo {command}`"


def _apt(package: str) -> str:
    return _sudo(f"apt-get install --no-install-recommends {package}")


def version_of(tool: Tool) -> str | None:
    """What ``tool`` says is its version; None when it is not installed, empty when it does not say."""
    command = shutil.which(tool.command, path=search_path())
    if command is None:
        return None
    if not tool.version_argv:
        return ""
    try:
        said = run([command, *tool.version_argv], check=False, timeout=10)
    except LabError:
        return ""
    match = re.search(r"\d+(?:\.\d+)+[\w.+~-]*", f"{said.stdout} {said.stderr}")
    return match[0] if match else ""


def _tool(tool: Tool, *, versions: bool) -> Capability:
    if versions:
        version = version_of(tool)
    else:
        version = None if shutil.which(tool.command, path=search_path()) is None else ""
    present = version is not None
    return Capability(
        tool.command, present, tool.required, version or "", "" if present else _apt(tool.package)
    )


def _root(status: str | None = None) -> Capability:
    text = Path("/proc/self/status").read_text() if status is None else status
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    effective = int(match[1], 16) if match else 0
    needed = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    present = effective & needed == needed
    if present:
        return Capability("root", present=True, detail="CAP_NET_ADMIN and CAP_SYS_ADMIN")
    if os.geteuid() == 0:
        return Capability("root", present=False, remedy="start the container with `--privileged`")
    return Capability("root", present=False, remedy=f"run as root: `sudo -E {' '.join(_command_line())}`")


def _command_line() -> list[str]:
    name = Path(sys.argv[0]).name
    return (
        [shutil.which(name) or name, *sys.argv[1:]] if name.startswith("faultline") else ["faultline", "run"]
    )


def _namespaces() -> Capability:
    present = Path("/proc/self/ns/net").exists()
    return Capability(
        "network namespaces", present, remedy="" if present else "use a kernel with CONFIG_NET_NS"
    )


def _tun() -> Capability:
    device = Path("/dev/net/tun")
    if device.exists():
        return Capability("TUN devices", present=True)
    return Capability(
        "TUN devices",
        present=False,
        remedy=_sudo("sh -c 'modprobe tun; mkdir -p /dev/net; mknod /dev/net/tun c 10 200'"),
    )


def _cgroups() -> Capability:
    name = "control groups with CPU quota"
    try:
        found = cgroups.detect()
    except MissingCapability:
        remedy = _sudo("mount -t cgroup2 none /sys/fs/cgroup")
        return Capability(name, present=False, remedy=remedy)
    if found.cpu is None:
        return Capability(
            name,
            present=False,
            detail=f"version {found.version}",
            remedy="the cpu controller is not available here: run on the host, not in a restricted container",
        )
    return Capability(name, present=True, detail=f"version {found.version}")


def has_module(name: str, release: str | None = None, modules: Path = Path("/lib/modules")) -> bool:
    """Whether the running kernel has a module loaded, built in or on disk. Loads nothing."""
    if Path("/sys/module", name).exists():
        return True
    directory = modules / (release or platform.release())
    pattern = re.compile(rf"(^|/){re.escape(name)}\.ko(\.\w+)?(:|$)", re.MULTILINE)
    return any(
        pattern.search((directory / listing).read_text())
        for listing in ("modules.builtin", "modules.dep")
        if (directory / listing).exists()
    )


def _wireguard(*, versions: bool) -> Capability:
    if has_module("wireguard"):
        return Capability("WireGuard", present=True, detail=f"in the kernel ({platform.release()})")
    program = _tool(Tool("wireguard-go", "wireguard-go"), versions=versions)
    detail = f"wireguard-go {program.detail}".strip() if program.present else ""
    return Capability("WireGuard", program.present, detail=detail, remedy=program.remedy)


def _galera() -> Capability:
    found = next((path for path in GALERA_LIBRARIES if path.exists()), None)
    return Capability(
        "Galera provider",
        found is not None,
        detail=str(found or ""),
        remedy="" if found else _apt("galera-4"),
    )


def _python(extra: str = "lab") -> list[Capability]:
    """The Python packages of an extra of this project's own metadata."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return [Capability("python packages", present=False, remedy="`pip install '.[lab]'` in the clone")]
    found = []
    for requirement in requirements:
        if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", requirement) is None:
            continue
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert match is not None
        try:
            version = metadata.version(match[0])
        except metadata.PackageNotFoundError:
            remedy = f"`{sys.executable} -m pip install '.[{extra}]'` in the clone"
            found.append(Capability(f"python package {match[0]}", present=False, remedy=remedy))
        else:
            found.append(Capability(f"python package {match[0]}", present=True, detail=version))
    return found


def _optional() -> list[Capability]:
    return [
        Capability(
            "netem",
            has_module("sch_netem"),
            required=False,
            detail="not used: the relay delays packets on every kernel",
        ),
        Capability(
            "two cores",
            (os.cpu_count() or 1) >= 2,
            required=False,
            detail=f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        ),
    ]


def survey(*, versions: bool = True) -> list[Capability]:
    """Everything the local lab needs or can use, in the order in which it needs it.

    Args:
        versions: also ask every program for its version (about a second).
    """
    checks: list[Callable[[], Capability]] = [_root, _namespaces, _tun, _cgroups]
    found = [check() for check in checks]
    found.append(_wireguard(versions=versions))
    found += [_tool(tool, versions=versions) for tool in TOOLS]
    found.append(_galera())
    found += _python()
    return found + _optional()


def missing() -> list[Capability]:
    """What the local lab needs and this machine lacks."""
    return [one for one in survey(versions=False) if one.required and not one.present]


def require() -> None:
    """Refuse when anything is missing.

    Raises:
        MissingCapability: names everything that is missing, each with the command that gets it.
    """
    lacking = missing()
    if lacking:
        lines = "\n".join(f"  {one}" for one in lacking)
        raise MissingCapability(
            f"this machine cannot run the local lab:\n{lines}\n  `make install` gets all packages"
        )

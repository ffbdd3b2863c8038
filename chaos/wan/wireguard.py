"""WireGuard between the sites: the kernel's where it is there, wireguard-go otherwise.

One interface `flwg<i>` per site with a peer for each link of the topology that has a VPN. Names
are distinct over the machine: user-space WireGuard keeps its control sockets in one directory for
all namespaces (facts/lab.md). MTU 1420 and no persistent keepalive, as `wg-quick` sets up.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import LabError, MissingCapability
from chaos.host import namespaces, processes
from chaos.host.cgroups import Cgroups
from chaos.host.commands import run
from chaos.host.processes import Process
from chaos.lab.layout import WIREGUARD_PORT, Layout
from chaos.wan.plan import Plan

MTU = 1420
PREFIX = "flwg"
SOCKETS = Path("/run/wireguard")
NICE = -15
"""Encryption is part of the link and should not wait for the sites' daemons. Niceness, not SCHED_FIFO: the
tunnel's tail is longer (99th percentile 40 ms instead of 32 ms at RTT 30 ms with both cores 90 % busy), but
threads of the Go runtime that spin at a real-time priority can shut each other and the machine
out; seen once, until the kernel's real-time throttling stopped the network of the whole lab.
"""


@dataclass(frozen=True)
class Peer:
    """The other end of a link, as one site sees it.

    Attributes:
        site: its name.
        destinations: sites whose packets go to and come from this peer.
    """

    site: str
    destinations: tuple[str, ...]


def peers_of(plan: Plan, site: str) -> list[Peer]:
    """The site's WireGuard peers: its neighbours over links with VPN, with all that lies behind them."""
    found: dict[str, list[str]] = {}
    for target, hop in plan.next_hop[site].items():
        index = plan.link_index(site, hop)
        if index is not None and plan.links[index].vpn == "wireguard":
            found.setdefault(hop, []).append(target)
    return [Peer(hop, tuple(found[hop])) for hop in plan.sites if hop in found]


def configuration(
    site: str, peers: Sequence[Peer], layout: Layout, private: str, public: Mapping[str, str]
) -> str:
    """The `wg setconf` file of a site.

    Args:
        site: whose.
        peers: from `peers_of`.
        layout: addresses.
        private: the site's private key.
        public: site -> public key.
    """
    lines = ["[Interface]", f"PrivateKey = {private}", f"ListenPort = {WIREGUARD_PORT}"]
    for peer in peers:
        allowed = ", ".join(f"{layout.overlay(target)}/32" for target in peer.destinations)
        lines += [
            "",
            f"# {site} - {peer.site}",
            "[Peer]",
            f"PublicKey = {public[peer.site]}",
            f"AllowedIPs = {allowed}",
            f"Endpoint = {layout.public(peer.site)}:{WIREGUARD_PORT}",
        ]
    return "\n".join(lines) + "\n"


class Tunnels:
    """The WireGuard interfaces of all sites that have one."""

    def __init__(self, plan: Plan, layout: Layout, directory: Path, cgroups: Cgroups, group: str) -> None:
        """Prepare; keys, configurations and logs go to ``directory``, processes to ``group``."""
        self._plan = plan
        self._layout = layout
        self._directory = directory
        self._cgroups = cgroups
        self._group = group
        self.peers = {site: found for site in plan.sites if (found := peers_of(plan, site))}
        self.processes: dict[str, Process] = {}
        self.implementation = "none"

    def up(self, timeout: float = 15.0) -> None:
        """Create the interfaces and return when every pair of peers has shaken hands.

        Args:
            timeout: seconds.

        Raises:
            MissingCapability: neither the kernel nor wireguard-go offers WireGuard.
            LabError: an interface does not come up, or a handshake fails.
        """
        keys = {site: _key_pair() for site in self.peers}
        public = {site: pair[1] for site, pair in keys.items()}
        for site in self.peers:
            self._create(site)
        deadline = time.monotonic() + timeout
        for site, peers in self.peers.items():
            name, namespace = self._layout.interface(site), self._layout.namespace(site)
            if site in self.processes:
                self._await_socket(site, deadline)
            path = self._directory / f"{name}.conf"
            path.touch(mode=0o600)
            path.write_text(configuration(site, peers, self._layout, keys[site][0], public))
            run(namespaces.argv_inside(namespace, ["wg", "setconf", name, str(path)]))
            address = self._layout.overlay(site)
            routes = [
                f"route add {self._layout.overlay(target)}/32 dev {name} src {address}"
                for peer in peers
                for target in peer.destinations
            ]
            namespaces.ip_batch(
                namespace,
                [f"address add {address}/32 dev {name}", f"link set {name} mtu {MTU} up", *routes],
            )
        self._shake_hands(deadline)

    def forget(self) -> None:
        """Remove the control sockets of processes that were killed."""
        for site in self.peers:
            (SOCKETS / f"{self._layout.interface(site)}.sock").unlink(missing_ok=True)
        self.processes.clear()

    def _create(self, site: str) -> None:
        name, namespace = self._layout.interface(site), self._layout.namespace(site)
        if self.implementation in {"none", "kernel"}:
            argv = ["ip", "-n", namespace, "link", "add", name, "type", "wireguard"]
            if run(argv, check=False).returncode == 0:
                self.implementation = "kernel"
                return
            if self.implementation == "kernel":
                raise LabError(f"cannot create the WireGuard interface {name} in {namespace}")
        (SOCKETS / f"{name}.sock").unlink(missing_ok=True)  # of a lab that was killed
        program = ["wireguard-go", "--foreground", name]
        if version_of_wireguard_go() is None:
            raise MissingCapability(
                "this kernel has no WireGuard and wireguard-go is not installed: "
                "run `apt-get install --no-install-recommends wireguard-go`"
            )
        self.processes[site] = processes.start(
            program,
            group=self._group,
            cgroups=self._cgroups,
            log=self._directory / f"{name}.log",
            namespace=namespace,
            nice=NICE,
            env={"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1", "LOG_LEVEL": "error"},
        )
        self.implementation = "wireguard-go"

    def _await_socket(self, site: str, deadline: float) -> None:
        # Connecting is the only sure sign: the file is there a moment before anybody listens, and
        # `wg` takes a refusal for a dead process and removes the file.
        name = self._layout.interface(site)
        while not _listens(SOCKETS / f"{name}.sock"):
            if not processes.is_alive(self.processes[site]) or time.monotonic() > deadline:
                raise LabError(f"wireguard-go for {name} does not start: see {self._directory}/{name}.log")
            time.sleep(0.01)

    def _shake_hands(self, deadline: float) -> None:
        """Send something to every peer until all have answered: no first request pays for it later."""
        waiting = dict(self.peers)
        order = list(self._plan.sites)
        while waiting:
            for site, peers in waiting.items():
                # One end of each link begins: two handshakes that cross can cost a retry of 5 s.
                later = [peer.site for peer in peers if order.index(peer.site) > order.index(site)]
                with (
                    namespaces.entered(self._layout.namespace(site)),
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
                ):
                    for neighbour in later:
                        with suppress(OSError):  # nobody listens there: the packet is all that matters
                            sender.sendto(b"", (self._layout.overlay(neighbour), 9))
            for _ in range(40):
                waiting = {site: peers for site, peers in waiting.items() if not self._met(site, len(peers))}
                if not waiting or time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            if waiting and time.monotonic() > deadline:
                raise LabError(
                    f"no WireGuard handshake at {', '.join(waiting)}: "
                    f"see {self._directory} for configurations and logs"
                )

    def _met(self, site: str, peers: int) -> bool:
        name, namespace = self._layout.interface(site), self._layout.namespace(site)
        shown = run(namespaces.argv_inside(namespace, ["wg", "show", name, "latest-handshakes"])).stdout
        times = [line.split()[1] for line in shown.splitlines()]
        return len(times) == peers and "0" not in times

    def facts(self) -> dict[str, str]:
        """Which WireGuard carries the links, for the run record."""
        if self.implementation == "kernel":
            version = platform.release()
        elif self.implementation == "wireguard-go":
            version = version_of_wireguard_go() or "unknown"
        else:
            version = ""
        return {"implementation": self.implementation, "version": version, "mtu": str(MTU)}


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(path)) == 0


def version_of_wireguard_go() -> str | None:
    """Version of the installed wireguard-go; None when there is none."""
    try:
        said = run(["wireguard-go", "--version"], check=False).stdout.split()
    except MissingCapability:
        return None
    return said[1] if len(said) > 1 else "unknown"


def _key_pair() -> tuple[str, str]:
    private = run(["wg", "genkey"]).stdout.strip()
    return private, run(["wg", "pubkey"], stdin=private).stdout.strip()

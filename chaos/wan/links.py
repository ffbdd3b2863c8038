"""The WAN from the lab's side: bring it up, cut and degrade links, ask how the relay is doing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.faults.context import Pair, PathClass
from chaos.host import namespaces, processes
from chaos.host.cgroups import LAB_WEIGHT, Cgroups
from chaos.host.processes import Process
from chaos.lab.layout import Layout
from chaos.wan import control
from chaos.wan.plan import DNS, PUBLIC_NETWORK, Plan, Station, plan, quality_of
from chaos.wan.wireguard import Tunnels
from topologies.model import Link, Topology

DEVICE = "wan0"
MTU = 1500
GROUP = "net"
WEIGHT = 16.0
"""CPU weight of relay and WireGuard against the sites: the network must not be what is slow."""
RELINKED = "relinked"
"""Name under which the relay keeps the values of a link that was changed while the lab is up."""
QUEUE = 5000
"""Packets a device holds while the relay is not reading: 0.25 s at 20,000 packets a second."""


@dataclass(frozen=True)
class RelayStats:
    """What the relay counted since it started or since the last reset.

    Attributes:
        packets: delivered.
        bytes: delivered.
        drops: reason (`cut`, `loss`, `queue`, `unroutable`, `device`) -> packets.
        late_p99: seconds that delivery came after its due time, 99th percentile (steps of 50 us).
        late_max: the worst of them.
        held: packets under way now.
        cpu_seconds: CPU time of the relay process since it started.
        scheduling: what the machine permitted: `fifo`, `nice` or `normal`.
        channels: `source>target/path` -> packets delivered.
        quality: `source>target/path` -> delay, jitter, loss and rate in force.
        cuts: `source>target/path` -> names of the cuts in force.
    """

    packets: int
    bytes: int
    drops: dict[str, int]
    late_p99: float
    late_max: float
    held: int
    cpu_seconds: float
    scheduling: str
    channels: dict[str, int]
    quality: dict[str, dict[str, float]]
    cuts: dict[str, list[str]]


class Wan:
    """The network between the sites of one topology.

    `up` needs root and no namespaces of an earlier lab (heal first).
    """

    def __init__(
        self,
        topology: Topology,
        directory: Path,
        cgroups: Cgroups,
        seed: int = 0,
        networks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Plan the network of ``topology``; its files go to ``directory``/wan.

        Raises:
            LabError: the topology cannot be laid out (see chaos.wan.plan).
        """
        self.plan: Plan = plan(topology, directory, seed, networks)
        self.layout = Layout(self.plan.sites, directory)
        self.directory = directory / "wan"
        self.tunnels = Tunnels(self.plan, self.layout, self.directory, cgroups, GROUP)
        self.relay: Process | None = None
        self._cgroups = cgroups

    @property
    def socket(self) -> Path:
        """The relay's control socket."""
        return self.directory / "relay.sock"

    def sites(self) -> Sequence[str]:
        """Sites of the topology, in file order."""
        return self.plan.sites

    def places(self) -> Sequence[str]:
        """Sites and `dns`."""
        return (*self.plan.sites, DNS)

    def has_link(self, a: str, b: str) -> bool:
        """Whether the topology links the two sites directly."""
        return self.plan.link_index(a, b) is not None

    def route(self, a: str, b: str) -> Sequence[str]:
        """Sites that packets between two sites pass, both ends included."""
        return self.plan.route(a, b)

    def up(self, timeout: float = 20.0) -> None:
        """Create the namespaces, start the relay, address the devices, start WireGuard.

        Raises:
            MissingCapability: a tool is missing.
            LabError: something could not be created; call `down` (or heal) before trying again.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._cgroups.create(weight=LAB_WEIGHT)
        self._cgroups.create(GROUP, weight=WEIGHT)
        for station in self.plan.stations:
            self._open(station)
        plan_file = self.directory / "plan.json"
        plan_file.write_text(json.dumps(self.plan.data(), indent=1))
        self.relay = processes.start(
            [sys.executable, "-m", "chaos.wan.relay", "--plan", str(plan_file), "--socket", str(self.socket)],
            group=GROUP,
            cgroups=self._cgroups,
            log=self.directory / "relay.log",
            realtime=True,
        )
        self._await_relay(time.monotonic() + timeout)
        for station in self.plan.stations:
            namespaces.ip_batch(station.namespace, self._addressing(station))
        self._connect(timeout)

    def _open(self, station: Station) -> None:
        """Make a station's namespace."""
        namespaces.create(station.namespace)

    def _connect(self, timeout: float) -> None:
        """Build the tunnels."""
        self.tunnels.up(timeout)

    def _await_relay(self, deadline: float) -> str:
        assert self.relay is not None
        while True:
            try:
                return str(control.request(self.socket, "ping")["scheduling"])
            except LabError as error:
                if not processes.is_alive(self.relay) or time.monotonic() > deadline:
                    raise LabError(f"the WAN relay does not start: see {self.directory}/relay.log") from error
                time.sleep(0.02)

    def _addressing(self, station: Station) -> list[str]:
        lines = [
            f"address add {station.public}/32 dev {DEVICE}",
            f"link set {DEVICE} mtu {MTU} txqueuelen {QUEUE} up",
            f"route add {PUBLIC_NETWORK} dev {DEVICE} src {station.public}",
        ]
        if station.vpn is None:
            return lines
        here = station.place
        if here not in self.tunnels.peers:
            lines.append(f"address add {station.vpn}/32 dev {DEVICE}")
        encrypted = {site for peer in self.tunnels.peers.get(here, []) for site in peer.destinations}
        if here in self.tunnels.peers and len(encrypted) < len(self.plan.sites) - 1:
            # `src` below must be an address of this namespace before the tunnel has it.
            lines.append(f"address add {station.vpn}/32 dev lo")
        lines += [
            f"route add {self.layout.overlay(site)}/32 dev {DEVICE} src {station.vpn}"
            for site in self.plan.sites
            if site != here and site not in encrypted
        ]
        return lines

    def down(self) -> None:
        """Stop relay and WireGuard and delete the namespaces; harmless on a half-built network."""
        self._cgroups.remove(GROUP)
        self.relay = None
        self.tunnels.forget()
        for station in self.plan.stations:
            namespaces.delete(station.namespace)
        self.socket.unlink(missing_ok=True)

    def processes(self) -> dict[str, Process]:
        """Relay and WireGuard daemons by name, for lab health."""
        found = {f"wireguard@{site}": process for site, process in self.tunnels.processes.items()}
        if self.relay is not None:
            found["relay"] = self.relay
        return found

    def set_link(
        self,
        source: str,
        target: str,
        path: PathClass = "all",
        *,
        delay: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        rate: float | None = None,
    ) -> None:
        """Fix values of one direction (one-way delay in seconds, rate in bits per second).

        They stay, degradations of the link or not, until `set_link` is called without values.

        Raises:
            LabError: there is no such direction, or the relay does not answer.
        """
        values = _given(delay=delay, jitter=jitter, loss=loss, rate=rate)
        control.request(self.socket, "set", source=source, target=target, path=path, **values)

    def cut(self, name: str, pairs: Collection[Pair], path: PathClass) -> None:
        """Drop the packets of ``pairs`` (source, target), those under way included, until `heal(name)`."""
        control.request(self.socket, "cut", name=name, pairs=[list(pair) for pair in pairs], path=path)

    def heal(self, name: str | None = None) -> None:
        """Take the cut ``name`` back, or all of them; harmless when there is none."""
        control.request(self.socket, "heal", name=name)

    def degrade(
        self,
        name: str,
        a: str,
        b: str,
        *,
        rtt: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        bandwidth: float | None = None,
    ) -> None:
        """Make a link worse until `restore(name)`: both directions, both paths, routes over it included."""
        values = _given(delay=None if rtt is None else rtt / 2, jitter=jitter, loss=loss, rate=bandwidth)
        control.request(self.socket, "degrade", name=name, link=self._link(a, b), **values)

    def relink(self, link: Link) -> None:
        """Give the link between the same two sites the values of ``link``, as if it had been planned so.

        Call it while no degradation is in force: what comes later is on top of it.

        Raises:
            LabError: there is no link between the two, or the relay does not answer.
        """
        index = self._link(*link.between)
        for way, site in enumerate(self.plan.links[index].between):
            wanted = asdict(quality_of(link, site))
            control.request(self.socket, "degrade", name=RELINKED, link=index, way=way, **wanted)

    def _link(self, a: str, b: str) -> int:
        index = self.plan.link_index(a, b)
        if index is None:
            raise LabError(f"there is no link between {a} and {b}")
        return index

    def restore(self, name: str | None = None) -> None:
        """Take the degradation ``name`` back, or all of them; harmless when there is none."""
        control.request(self.socket, "restore", name=name)

    def stats(self, *, reset: bool = False) -> RelayStats:
        """The relay's counters.

        Raises:
            LabError: the relay does not answer.
        """
        return RelayStats(**control.request(self.socket, "stats", reset=reset)["stats"])

    def facts(self) -> dict[str, Any]:
        """For the run record: how packets are delayed, and which WireGuard carries the links."""
        return {
            "delay": "relay",
            "relay_scheduling": control.request(self.socket, "ping")["scheduling"],
            "wireguard": self.tunnels.facts(),
        }


def _given(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}

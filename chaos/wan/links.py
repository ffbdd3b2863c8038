"""The WAN from the lab's side: bring it up, cut and degrade links, ask how the relay is doing."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Pair, PathClass
from chaos.host import namespaces, processes
from chaos.host.cgroups import Cgroups
from chaos.host.processes import Process
from chaos.wan.plan import DNS, PUBLIC_NETWORK, Channel, Plan, Station, combined, plan
from chaos.wan.wireguard import Tunnels
from topologies.model import Topology

DEVICE = "wan0"
GROUP = "net"
WEIGHT = 16.0
"""CPU weight of relay and WireGuard against the sites: the network must not be what is slow."""
REALTIME = 10
"""SCHED_FIFO priority of the relay, where the machine permits it."""


@dataclass(frozen=True)
class RelayStats:
    """What the relay counted since it started or since the last reset.

    Attributes:
        packets: delivered.
        bytes: delivered.
        drops: reason (`cut`, `loss`, `queue`, `unroutable`, `device`) -> packets.
        late_p99: seconds that delivery came after its due time, 99th percentile (to 50 us).
        late_max: the worst of them.
        cpu_seconds: CPU time of the relay process.
        scheduling: `fifo` or `nice` or `normal`: what the machine permitted.
        channels: `source>target/path` -> packets delivered.
    """

    packets: int
    bytes: int
    drops: dict[str, int]
    late_p99: float
    late_max: float
    cpu_seconds: float
    scheduling: str
    channels: dict[str, int]


class Wan:
    """The network between the sites of one topology.

    `up` needs root, the control group `faultline` and no namespaces of an earlier lab (heal first).
    """

    def __init__(self, topology: Topology, directory: Path, cgroups: Cgroups, seed: int = 0) -> None:
        """Plan the network of ``topology``; its files go to ``directory``/wan."""
        self.plan: Plan = plan(topology, directory, seed)
        self.directory = directory / "wan"
        self.cgroups = cgroups
        self.relay: Process | None = None
        self.tunnels: Tunnels | None = None

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

    def up(self, timeout: float = 15.0) -> None:
        """Create the namespaces, start the relay, address the devices, start WireGuard.

        Raises:
            MissingCapability: a tool is missing.
            LabError: something could not be created; call `down` (or heal) before trying again.
        """
        raise NotImplementedError

    def down(self) -> None:
        """Stop relay and WireGuard and delete the namespaces; harmless on a half-built network."""
        raise NotImplementedError

    def processes(self) -> dict[str, Process]:
        """Relay and WireGuard daemons by name, for lab health."""
        raise NotImplementedError

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
        """Change one direction for good (one-way delay in seconds, rate in bits per second)."""
        raise NotImplementedError

    def cut(self, name: str, pairs: Collection[Pair], path: PathClass) -> None:
        """Drop the packets of ``pairs`` (source, target), those under way included, until `heal(name)`."""
        raise NotImplementedError

    def heal(self, name: str | None = None) -> None:
        """Take the cut ``name`` back, or all of them; harmless when there is none."""
        raise NotImplementedError

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
        """Make the link between two sites worse in both directions and on both paths until `restore(name)`."""
        raise NotImplementedError

    def restore(self, name: str | None = None) -> None:
        """Take the degradation ``name`` back, or all of them; harmless when there is none."""
        raise NotImplementedError

    def stats(self, *, reset: bool = False) -> RelayStats:
        """The relay's counters.

        Raises:
            LabError: the relay does not answer.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """For the run record: relay scheduling, WireGuard implementation and version, MTU."""
        raise NotImplementedError

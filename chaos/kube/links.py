"""The wide-area network between clusters: the relay of the local lab, with gateway nodes as its stations.

The network namespace of each gateway node gets the name that a site has in the local lab, so users,
the DNS balancer and everything that cuts or degrades links are the same. What is different
is who builds the tunnels: pods (`chaos.kube.gateways`), not this machine.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.host import namespaces
from chaos.host.cgroups import Cgroups
from chaos.host.commands import run
from chaos.kube.addresses import Addresses
from chaos.kube.gateway import Configuration
from chaos.kube.gateways import configurations, ensure_carried
from chaos.wan import control
from chaos.wan.links import DEVICE, MTU, QUEUE, Wan
from chaos.wan.plan import PUBLIC_NETWORK, Station
from topologies.model import Topology


class ClusterWan(Wan):
    """The network between the clusters of one topology.

    Args:
        topology: in lab size.
        directory: of the lab.
        cgroups: of the lab.
        addresses: of pods and Services.
        gateway_pid: site -> process id of its gateway node, now.
        seed: of losses and jitters.
    """

    def __init__(
        self,
        topology: Topology,
        directory: Path,
        cgroups: Cgroups,
        addresses: Addresses,
        gateway_pid: Callable[[str], int],
        seed: int = 0,
    ) -> None:
        """Plan the network.

        Raises:
            LabError: the topology cannot be laid out, or has links that this lab cannot build.
        """
        ensure_carried(topology)
        seen = {
            site: (addresses.seen_pod_range(site), addresses.seen_service_range(site))
            for site in topology.sites
        }
        super().__init__(topology, directory, cgroups, seed, seen)
        self._topology = topology
        self._addresses = addresses
        self._gateway_pid = gateway_pid

    def gateways(self) -> tuple[dict[str, Configuration], dict[str, str]]:
        """What each site's gateway keeps, and its private key; new keys at every call."""
        private = {site: run(["wg", "genkey"]).stdout.strip() for site in self.plan.sites}
        public = {site: run(["wg", "pubkey"], stdin=key).stdout.strip() for site, key in private.items()}
        return configurations(self._topology, self.plan, self.layout, self._addresses, public), private

    def reattach(self, site: str) -> None:
        """Put a restarted gateway node back on the network: it has a new namespace, without devices.

        Raises:
            LabError: the node does not run, or the relay does not answer.
        """
        station = next(one for one in self.plan.stations if one.place == site and one.vpn is not None)
        self._open(station)
        control.request(self.socket, "reopen", namespace=station.namespace)
        namespaces.ip_batch(station.namespace, self._addressing(station))

    def await_gateways(self, patience: float = 60.0) -> None:
        """Return when every gateway reaches every other one.

        Raises:
            LabError: one does not within ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        for site in self.plan.sites:
            for other in self.plan.sites:
                while other > site and not self._reaches(site, other):
                    if time.monotonic() > deadline:
                        raise LabError(
                            f"no packet comes from the gateway of {site} to that of {other} and back: "
                            "see the logs of the gateway pods"
                        )
                    time.sleep(0.2)

    def _reaches(self, site: str, other: str) -> bool:
        return round_trip(self.layout.namespace(site), self.layout.overlay(other), 1.0) is not None

    def _open(self, station: Station) -> None:
        if station.vpn is None:
            super()._open(station)
        else:
            namespaces.attach(station.namespace, self._gateway_pid(station.place))

    def _connect(self, timeout: float) -> None:
        """Nothing: the gateways' pods build the tunnels, and again whenever they are gone."""

    def _addressing(self, station: Station) -> list[str]:
        lines = [
            f"address replace {station.public}/32 dev {DEVICE}",
            f"link set {DEVICE} mtu {MTU} txqueuelen {QUEUE} up",
            f"route replace {PUBLIC_NETWORK} dev {DEVICE} src {station.public}",
        ]
        if station.vpn is not None and station.place not in self.tunnels.peers:
            lines.append(f"address replace {station.vpn}/32 dev {DEVICE}")
        return lines

    def facts(self) -> dict[str, Any]:
        """For the run record: how packets are delayed."""
        return {
            "delay": "relay",
            "relay_scheduling": control.request(self.socket, "ping")["scheduling"],
        }


def round_trip(namespace: str, address: str, timeout: float, number: int = 1) -> float | None:
    """Seconds until an ICMP echo to ``address`` comes back; None when it does not within ``timeout``."""
    with (
        namespaces.entered(namespace),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender,
    ):
        return _echo(sender, address, timeout, number)


def _echo(sender: socket.socket, address: str, timeout: float, number: int) -> float | None:
    mark = time.monotonic_ns() & 0xFFFF
    header = struct.pack("!BBHHH", 8, 0, 0, mark, number)
    body = b"faultline"
    packet = struct.pack("!BBHHH", 8, 0, _checksum(header + body), mark, number) + body
    began = time.monotonic()
    try:
        sender.sendto(packet, (address, 0))
        while (left := began + timeout - time.monotonic()) > 0:
            sender.settimeout(left)
            answer = sender.recv(2048)
            came = time.monotonic()
            start = (answer[0] & 0x0F) * 4
            kind, _, _, got, which = struct.unpack("!BBHHH", answer[start : start + 8])
            if (kind, got, which) == (0, mark, number):
                return came - began
    except OSError:
        return None
    return None


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

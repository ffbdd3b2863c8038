"""Which path a packet takes through the relay: read from its IPv4 header, nothing else."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

UDP = 17
WIREGUARD_PORT = 51820
_WIREGUARD = WIREGUARD_PORT.to_bytes(2)


@dataclass(frozen=True)
class Decision:
    """Where packets between two addresses go.

    Attributes:
        egress: index of the station that gets them.
        public: channel of ordinary packets; empty when there is none.
        vpn: channel of WireGuard's own packets; empty when there is none.
    """

    egress: int
    public: str
    vpn: str


def channel_name(source: str, target: str, path: str) -> str:
    """The name of one direction of one path."""
    return f"{source}>{target}/{path}"


def is_wireguard(packet: bytes) -> bool:
    """Whether an IPv4 packet is a WireGuard datagram (UDP, port 51820 at both ends)."""
    if packet[9] != UDP or packet[6] & 0x1F or packet[7]:  # later fragments carry no ports
        return False
    ports = (packet[0] & 0x0F) * 4
    return packet[ports : ports + 4] == _WIREGUARD + _WIREGUARD


class Routes:
    """The relay's view of who is where.

    Packets to or from a VPN address travel unencrypted over links without VPN: they are path
    `vpn`, and go to the next site of the route, which forwards them. So is WireGuard's own traffic
    between two sites. All other packets are `public`.
    """

    def __init__(
        self,
        stations: Sequence[Mapping[str, Any]],
        next_hop: Mapping[str, Mapping[str, str]],
        channels: Sequence[str],
    ) -> None:
        """Take over the stations, routes and channel names of a plan's data."""
        self._stations = list(stations)
        self._next_hop = next_hop
        self._channels = set(channels)
        self._public = {socket.inet_aton(s["public"]): i for i, s in enumerate(stations)}
        self._vpn = {socket.inet_aton(s["vpn"]): i for i, s in enumerate(stations) if s["vpn"]}
        self._gateway = {s["place"]: i for i, s in enumerate(stations) if s["vpn"]}
        self._ranges = [
            (ip_network(text), i) for i, s in enumerate(stations) for text in s.get("networks", ())
        ]

    def decide(self, ingress: int, source: bytes, target: bytes) -> Decision | None:
        """Where packets between two addresses (4 bytes each) go that enter at a station; None: nowhere."""
        station = self._stations[ingress]
        here = station["place"]
        behind = self._gateway_of(target)
        if behind is not None:
            there = self._stations[behind]["place"]
            hop = self._next_hop.get(here, {}).get(there)
            known = self._gateway_of(source) is not None or source in self._public
            if not station["vpn"] or hop is None or not known:
                return None
            channel = channel_name(here, hop, "vpn")
            return Decision(self._gateway[hop], channel, channel) if channel in self._channels else None
        egress = self._public.get(target)
        if egress is None or egress == ingress:
            return None
        there = self._stations[egress]["place"]
        vpn = channel_name(here, there, "vpn")
        if self._gateway_of(source) is not None:
            return Decision(egress, vpn, vpn) if vpn in self._channels else None
        if self._public.get(source) != ingress:
            return None
        public = channel_name(here, there, "public")
        between_sites = station["vpn"] and self._stations[egress]["vpn"]
        return Decision(
            egress,
            public if public in self._channels else "",
            vpn if between_sites and vpn in self._channels else public,
        )

    def _gateway_of(self, address: bytes) -> int | None:
        """Index of the station that an address of the VPN belongs to."""
        found = self._vpn.get(address)
        if found is None and self._ranges:
            spelled = ip_address(address)
            found = next((index for network, index in self._ranges if spelled in network), None)
        return found

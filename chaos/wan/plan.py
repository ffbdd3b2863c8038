"""Who has which address and how long packets take: a topology turned into the WAN's plain data.

Addresses come from chaos.lab.layout; delays, jitter, losses and rates from the topology's links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.lab.layout import DNS_ADDRESS, DNS_NAMESPACE, MOST_SITES, Layout
from chaos.wan.shaping import Quality
from topologies.graph import routes
from topologies.model import Link, Topology

DNS = "dns"
"""The place of the DNS balancer: reached from every site without extra delay."""

PUBLIC_NETWORK = "198.18.0.0/16"
VPN_NETWORK = "198.19.0.0/16"


@dataclass(frozen=True)
class Station:
    """A namespace on the WAN.

    Attributes:
        namespace: its name.
        place: the site it is at, or `dns`.
        public: its public address.
        vpn: its VPN address; None for users and the DNS balancer.
        networks: ranges of pods and Services behind it, where the site is a cluster.
    """

    namespace: str
    place: str
    public: str
    vpn: str | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channel:
    """One direction between two places on one path (`vpn` or `public`).

    Attributes:
        via: indices (`direction`) of what it runs over, in order; none at one place.
    """

    source: str
    target: str
    path: str
    via: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything the WAN needs to know.

    Attributes:
        sites: in file order.
        links: of the topology.
        stations: all namespaces.
        channels: all directions.
        next_hop: site -> destination site -> the neighbour that VPN packets go to first.
        seed: of loss and jitter.
    """

    sites: tuple[str, ...]
    links: tuple[Link, ...]
    stations: tuple[Station, ...]
    channels: tuple[Channel, ...]
    next_hop: dict[str, dict[str, str]] = field(default_factory=dict)
    seed: int = 0

    def link_index(self, a: str, b: str) -> int | None:
        """Index of the link between two sites; None when they have none."""
        for index, link in enumerate(self.links):
            if set(link.between) == {a, b}:
                return index
        return None

    def direction(self, source: str, target: str) -> int | None:
        """Index of one direction of the link between two sites: two per link, in file order."""
        index = self.link_index(source, target)
        return None if index is None else 2 * index + (source != self.links[index].between[0])

    def route(self, a: str, b: str) -> list[str]:
        """Sites that VPN packets from ``a`` to ``b`` pass, both ends included."""
        hops = [a]
        while hops[-1] != b:
            hops.append(self.next_hop[hops[-1]][b])
        return hops

    def data(self) -> dict[str, Any]:
        """As plain data for the relay."""
        return {
            "seed": self.seed,
            "links": [asdict(quality_of(link, site)) for link in self.links for site in link.between],
            "stations": [asdict(station) for station in self.stations],
            "channels": [asdict(channel) for channel in self.channels],
            "next_hop": self.next_hop,
        }


def plan(
    topology: Topology,
    directory: Path,
    seed: int = 0,
    networks: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Lay the addresses, routes and delays of ``topology`` out.

    Packets take the route of least RTT (`topologies.graph`), whose delays and jitters add up, whose
    losses combine and whose rate is the narrowest link's: on the public network in one step, on the
    VPN from site to site. Users sit at their site; the DNS balancer is next to everybody.

    Args:
        topology: in lab size.
        directory: of the lab.
        seed: of loss and jitter.
        networks: site -> ranges that lie behind it, where sites are clusters.

    Raises:
        LabError: more sites than addresses, a site name that belongs to the lab itself, or routes
            on which the sites would not agree.
    """
    sites = tuple(topology.sites)
    layout = Layout(sites, directory)
    if len(sites) > MOST_SITES:
        raise LabError(f"the local lab has addresses for {MOST_SITES} sites, the topology has {len(sites)}")
    taken = {DNS, *(f"{site}-u" for site in sites)} & set(sites)
    if taken:
        raise LabError(f"the site name {min(taken)!r} is used by the lab itself: choose another")
    links = tuple(topology.links)
    next_hop = _next_hops(topology)
    stations = [
        *(
            Station(
                layout.namespace(s),
                s,
                layout.public(s),
                layout.overlay(s),
                tuple((networks or {}).get(s, ())),
            )
            for s in sites
        ),
        *(Station(layout.users_namespace(s), s, layout.users(s)) for s in sites),
        Station(DNS_NAMESPACE, DNS, DNS_ADDRESS),
    ]
    laid = Plan(sites, links, tuple(stations), (), next_hop, seed)
    channels = [Channel(place, place, "public") for place in (*sites, DNS)]
    for site in sites:
        channels += [Channel(site, DNS, "public"), Channel(DNS, site, "public")]
    for a in sites:
        for b in sites:
            if a == b:
                continue
            direct = laid.direction(a, b)
            if direct is not None:
                channels.append(Channel(a, b, "vpn", (direct,)))
            hops = pairwise(laid.route(a, b))
            via = tuple(index for hop in hops if (index := laid.direction(*hop)) is not None)
            channels.append(Channel(a, b, "public", via))
    return Plan(sites, links, laid.stations, tuple(channels), next_hop, seed)


def quality_of(link: Link, source: str) -> Quality:
    """What ``link`` does to packets from ``source``."""
    return Quality(link.one_way(source), link.jitter, link.loss, link.bandwidth)


def _next_hops(topology: Topology) -> dict[str, dict[str, str]]:
    """First hop of the route from each site to each other (`topologies.graph`).

    Sites forward hop by hop, and WireGuard drops what does not come in where it would go out: every
    site on a route must agree with it, in both directions. Only unusual ties break that.
    """
    hops: dict[str, dict[str, str]] = {site: {} for site in topology.sites}
    for (a, b), way in routes(topology).items():
        if a != b:
            hops[a][b] = way.sites[1]
    for (_, b), way in routes(topology).items():
        for here, following in pairwise(way.sites):
            if hops[here][b] != following:
                raise LabError(
                    f"the route {'-'.join(way.sites)} has an equally short rival: give one of its links "
                    "another RTT, so that every site takes the same one"
                )
    return hops

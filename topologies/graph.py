"""Routes and delays between sites, and what a cut does to them.

Routes are static and the same for the VPN and the public network: the path of least RTT over the
topology as written. A cut does not reroute anything, because WireGuard peers and the lab's relay
have fixed routes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from topologies.grudge import (
    Grudge,
    bridge,
    complete_grudge,
    components,
    cut_pairs,
    grudge_of,
    hears,
    isolate,
    majorities_ring,
)
from topologies.model import Link, Topology

__all__ = [
    "Grudge",
    "Route",
    "blocked_pairs",
    "bridge",
    "client_delay",
    "complete_grudge",
    "components",
    "cut_pairs",
    "graph",
    "grudge_of",
    "hears",
    "isolate",
    "largest_rtt",
    "link_between",
    "majorities_ring",
    "one_way_delay",
    "public_delay",
    "route",
    "routes",
    "site_index",
]


@dataclass(frozen=True)
class Route:
    """The way packets take between two sites.

    Attributes:
        sites: from the first to the last, both included.
        links: the links passed, in order.
    """

    sites: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def rtt(self) -> float:
        """Round-trip time in seconds without jitter."""
        return sum(link.rtt for link in self.links)

    @property
    def one_way(self) -> float:
        """Seconds from the first site to the last, without jitter."""
        return sum(link.one_way(site) for site, link in zip(self.sites, self.links, strict=False))

    @property
    def jitter(self) -> float:
        """Largest one-way deviation in seconds: the links' jitters can all point the same way."""
        return sum(link.jitter for link in self.links)

    @property
    def loss(self) -> float:
        """Ratio of packets lost in one direction, independent losses on each link."""
        kept = 1.0
        for link in self.links:
            kept *= 1.0 - link.loss
        return 1.0 - kept

    @property
    def bandwidth(self) -> float:
        """Bits per second of the narrowest link; infinite within a site."""
        return min((link.bandwidth for link in self.links), default=float("inf"))

    @property
    def encrypted(self) -> bool:
        """Whether service traffic is inside WireGuard on every link."""
        return all(link.vpn != "none" for link in self.links)


def graph(topology: Topology) -> nx.Graph[str]:
    """The sites as nodes and the links as edges.

    A node has `index`, `nodes`, `cpu` and `memory`; an edge has `link` and every field of the link.
    """
    result: nx.Graph[str] = nx.Graph(name=topology.topology)
    for index, (name, site) in enumerate(topology.sites.items(), start=1):
        result.add_node(name, index=index, **site.model_dump())
    for link in topology.links:
        result.add_edge(*link.between, link=link, **link.model_dump(exclude={"between"}))
    return result


def site_index(topology: Topology, site: str) -> int:
    """Number of ``site``, from 1 in the order of the file. It is part of the lab's addresses.

    Raises:
        KeyError: there is no such site.
    """
    for index, name in enumerate(topology.sites, start=1):
        if name == site:
            return index
    raise KeyError(site)


def link_between(topology: Topology, one: str, other: str) -> Link | None:
    """The direct link of two sites, if there is one."""
    pair = {one, other}
    return next((link for link in topology.links if set(link.between) == pair), None)


def route(topology: Topology, source: str, target: str) -> Route:
    """The route of least RTT; of equals the one with fewest hops, then the first by site order.

    Raises:
        KeyError: a site is unknown.
    """
    for site in (source, target):
        if site not in topology.sites:
            raise KeyError(site)
    # The way back is the way there: search from the site that comes first in the file.
    first, last = sorted((source, target), key=lambda site: site_index(topology, site))
    way = _least(graph(topology), first, last)
    links = [link_between(topology, *hop) for hop in pairwise(way)]
    found = Route(way, tuple(link for link in links if link is not None))
    return found if first == source else Route(way[::-1], found.links[::-1])


def _least(view: nx.Graph[str], first: str, last: str) -> tuple[str, ...]:
    """Dijkstra's search on (RTT, hops, order of sites): ties, such as links of zero RTT, have one answer."""
    waiting: list[tuple[float, int, tuple[int, ...], tuple[str, ...]]] = [(0.0, 1, (), (first,))]
    done: set[str] = set()
    while waiting:
        rtt, hops, order, way = heapq.heappop(waiting)
        here = way[-1]
        if here == last:
            return way
        if here in done:
            continue
        done.add(here)
        for neighbour in view.neighbors(here):
            if neighbour not in done:
                longer = rtt + view.edges[here, neighbour]["rtt"]
                place = (*order, view.nodes[neighbour]["index"])
                heapq.heappush(waiting, (longer, hops + 1, place, (*way, neighbour)))
    raise KeyError(last)  # a consistent topology is connected


def routes(topology: Topology) -> dict[tuple[str, str], Route]:
    """The route of every ordered pair of sites, a site to itself included."""
    return {(a, b): route(topology, a, b) for a in topology.sites for b in topology.sites}


def one_way_delay(topology: Topology, source: str, target: str) -> float:
    """Seconds from one site to another without jitter; zero within a site."""
    return route(topology, source, target).one_way


def public_delay(topology: Topology, source: str, target: str) -> float:
    """Seconds between two sites over the public network: the same route, outside the VPN."""
    return one_way_delay(topology, source, target)


def client_delay(topology: Topology, clients: str, site: str) -> float:
    """Seconds from the population ``clients`` to a front end at ``site``; zero at its own site.

    Raises:
        KeyError: there is no such population or site.
    """
    return public_delay(topology, topology.clients[clients].site, site)


def largest_rtt(topology: Topology) -> float:
    """The RTT in seconds of the two sites furthest apart."""
    return max((way.rtt for way in routes(topology).values()), default=0.0)


def blocked_pairs(topology: Topology, grudge: Grudge) -> frozenset[tuple[str, str]]:
    """All (sender, receiver) whose packets do not arrive: refused at the end or on a hop of their route."""
    return frozenset(
        pair
        for pair, way in routes(topology).items()
        if pair[0] != pair[1]
        and (
            not hears(grudge, pair[1], pair[0])
            or any(not hears(grudge, b, a) for a, b in pairwise(way.sites))
        )
    )

"""What a topology cannot afford to lose: single points of failure, and what would remove them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx

from topologies.consistency import sites_of
from topologies.graph import graph
from topologies.model import DnsBalancer, Galera, MariadbReplication, RedisSentinel, Topology


@dataclass(frozen=True)
class Weakness:
    """Something whose loss alone takes a service or a connection away.

    Attributes:
        component: `service`, `service@site`, a site, or a link `a-b`.
        loses: what is lost with it.
        remedy: what would remove the weakness.
    """

    component: str
    loses: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.component}: {self.loses}; {self.remedy}"


def weaknesses(topology: Topology) -> list[Weakness]:
    """Single points of failure of ``topology``: links, sites, then services in file order."""
    return [*_network(topology), *_services(topology)]


def _network(topology: Topology) -> Iterator[Weakness]:
    view = graph(topology)
    if len(view) == 1:
        (site,) = view
        yield Weakness(site, "it is the only site", "add a second site")
        return
    bridges = sorted(tuple(sorted(pair, key=list(view).index)) for pair in nx.bridges(view))
    for one, other in bridges:
        cut = view.copy()
        cut.remove_edge(one, other)
        parts = sorted(
            (sorted(part) for part in nx.connected_components(cut)), key=lambda part: (len(part), part)
        )
        lost = ", ".join(parts[0])
        remedy = "add a link that goes around it" if len(view) > 2 else "add a third site linked to both"
        yield Weakness(f"{one}-{other}", f"the only way between {lost} and the rest", remedy)
    for site in sorted(nx.articulation_points(view)):
        yield Weakness(
            site, "other sites reach each other only through it", "add links between its neighbours"
        )


def _services(topology: Topology) -> Iterator[Weakness]:
    for name, service in topology.services.items():
        placed = sites_of(topology, name)
        if isinstance(service, DnsBalancer):
            continue  # the name service stands for the world's, outside the sites
        if sum(placed.values()) == 1:
            (site,) = placed
            yield Weakness(f"{name}@{site}", "the only replica", "add one at another site")
            continue
        if len(placed) == 1:
            (site,) = placed
            yield Weakness(site, f"all replicas of {name} are there", "place one at another site")
        match service:
            case Galera(members=members):
                yield from _galera(name, members)
            case MariadbReplication(primary=primary):
                yield Weakness(
                    f"{name}@{primary}",
                    "all writes: no replica is promoted without an operator",
                    "use galera, or have a runbook for the promotion",
                )
            case RedisSentinel():
                yield from _sentinels(name, service)


def _galera(name: str, members: dict[str, int]) -> Iterator[Weakness]:
    """A part goes on only with more than half of the last view (components.md 1.11: equality is a split)."""
    total = sum(members.values())
    for site, count in members.items():
        if 2 * (total - count) <= total and len(members) > 1:
            alone = (
                "even the crash of one member"
                if total == 2
                else f"its loss leaves {total - count} of {total}"
            )
            yield Weakness(
                f"{name}@{site}",
                f"the quorum: {alone} stops the rest" if total == 2 else f"the quorum: {alone}",
                "add a member at a third site" if len(members) == 2 else "give no site half of the members",
            )


def _sentinels(name: str, service: RedisSentinel) -> Iterator[Weakness]:
    """A fail-over needs a majority of all known sentinels, dead ones included (components.md 3.2)."""
    count = len(service.sentinels)
    needed = max(count // 2 + 1, service.quorum or 0)
    if count - 1 < needed:
        yield Weakness(
            name,
            f"fail-over: it needs {needed} of {count} sentinels, so the loss of one ends it",
            "have sentinels at three sites or more",
        )

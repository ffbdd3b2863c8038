"""Which sites were cut off from the rest, as the events of a run tell."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from experiments.observation import Event
from topologies.model import Topology


def isolated_sites(events: Iterable[Event], topology: Topology, since: float, until: float) -> set[str]:
    """Sites that at some moment in [since, until] had no route to the largest group of sites.

    Follows `link.cut` and `link.healed` events over the topology's links. With groups of equal size
    nobody is called isolated: no side can be said to be the rest.
    """
    names = {f"{a}-{b}": (a, b) for link in topology.links for a, b in [link.between, link.between[::-1]]}
    graph = nx.Graph(link.between for link in topology.links)
    graph.add_nodes_from(topology.sites)
    isolated: set[str] = set()
    changes = sorted(
        (event for event in events if event.kind in ("link.cut", "link.healed") and event.component in names),
        key=lambda event: event.at,
    )
    for index, event in enumerate(changes):
        ends = names[event.component]
        if event.kind == "link.healed":
            graph.add_edge(*ends)
        elif graph.has_edge(*ends):
            graph.remove_edge(*ends)
        lasts = changes[index + 1].at if index + 1 < len(changes) else until
        if event.at > until or lasts < since or lasts == event.at:  # outside, or one of several at once
            continue
        groups = sorted(nx.connected_components(graph), key=len, reverse=True)
        if len(groups) > 1 and len(groups[0]) > len(groups[1]):
            isolated |= set().union(*groups[1:])
    return isolated

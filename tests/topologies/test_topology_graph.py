"""Routes, delays and what a topology cannot afford to lose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies import Topology, load
from topologies.consistency import sites_of
from topologies.graph import (
    blocked_pairs,
    client_delay,
    graph,
    isolate,
    largest_rtt,
    link_between,
    one_way_delay,
    public_delay,
    route,
    routes,
    site_index,
)
from topologies.grudge import between
from topologies.weakness import weaknesses


def topology_of(sites: list[str], links: list[Any], **changes: Any) -> Topology:
    """The smallest service over ``sites`` with ``links``: (one, other, RTT in seconds), or whole mappings."""
    data: dict[str, Any] = {
        "topology": "test",
        "sites": {site: {} for site in sites},
        "links": [
            link if isinstance(link, dict) else {"between": link[:2], "rtt": link[2]} for link in links
        ],
        "services": {
            "iam": {"kind": "indigo-iam", "replicas": dict.fromkeys(sites, 1), "database": "db"},
            "db": {"kind": "galera", "members": dict.fromkeys(sites, 1)},
        },
        "clients": {"users": {"site": sites[0]}},
    }
    return Topology.model_validate({**data, **changes})


CHAIN = topology_of(["a", "b", "c"], [("a", "b", 0.030), ("b", "c", 0.050)])
# The direct way a-c is slower than the way over b.
DETOUR = topology_of(["a", "b", "c"], [("a", "b", 0.030), ("b", "c", 0.050), ("a", "c", 0.100)])


class TestDelays:
    """Hand-computed delays."""

    def test_half_the_rtt_each_way(self) -> None:
        """One-way delay is half the RTT of the route; a site has no delay to itself."""
        assert one_way_delay(CHAIN, "a", "b") == pytest.approx(0.015)
        assert one_way_delay(CHAIN, "c", "a") == pytest.approx(0.040)
        assert one_way_delay(CHAIN, "b", "b") == 0
        assert public_delay(CHAIN, "a", "c") == pytest.approx(0.040)

    def test_the_two_ways_may_differ(self) -> None:
        """`forward` is the share of the way from the first site to the second; together they are the RTT."""
        skewed = [{"between": [a, b], "rtt": 0.1, "forward": 0.7} for a, b in (("a", "b"), ("c", "b"))]
        there = topology_of(["a", "b", "c"], skewed)
        assert one_way_delay(there, "a", "b") == pytest.approx(0.07)
        assert one_way_delay(there, "b", "a") == pytest.approx(0.03)
        assert one_way_delay(there, "a", "c") == pytest.approx(0.07 + 0.03)
        assert one_way_delay(there, "c", "a") == pytest.approx(0.07 + 0.03)
        assert largest_rtt(there) == pytest.approx(0.2)
        assert largest_rtt(CHAIN) == pytest.approx(0.080)

    def test_the_shortest_way_wins_over_the_direct_one(self) -> None:
        """Packets take the route of least RTT, even where a direct link exists."""
        way = route(DETOUR, "a", "c")
        assert way.sites == ("a", "b", "c")
        assert way.rtt == pytest.approx(0.080)

    def test_users_are_next_to_their_site(self) -> None:
        """A population has no delay to its own site and the route's to the others."""
        assert client_delay(CHAIN, "users", "a") == 0
        assert client_delay(CHAIN, "users", "c") == pytest.approx(0.040)

    def test_a_route_adds_up_its_links(self) -> None:
        """Jitter adds, the narrowest link limits, losses combine as independent."""
        links = [
            {"between": ("a", "b"), "rtt": 0.03, "jitter": 0.001, "loss": 0.1, "bandwidth": 1e9},
            {
                "between": ("b", "c"),
                "rtt": 0.05,
                "jitter": 0.002,
                "loss": 0.2,
                "bandwidth": 1e8,
                "vpn": "none",
            },
        ]
        way = route(topology_of(["a", "b", "c"], links), "a", "c")
        assert way.jitter == pytest.approx(0.003)
        assert way.bandwidth == 1e8
        assert way.loss == pytest.approx(1 - 0.9 * 0.8)
        assert not way.encrypted

    @given(st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.04]), min_size=10, max_size=10))
    def test_routes_are_shortest_and_symmetric(self, rtts: list[float]) -> None:
        """The way back is the way there, and no route over a third site is shorter."""
        sites = list("abcde")
        pairs = [(a, b) for place, a in enumerate(sites) for b in sites[place + 1 :]]
        topology = topology_of(sites, [(a, b, rtt) for (a, b), rtt in zip(pairs, rtts, strict=True)])
        table = routes(topology)
        for a in sites:
            for b in sites:
                assert table[a, b].sites == table[b, a].sites[::-1]
                for c in sites:
                    assert table[a, b].rtt <= table[a, c].rtt + table[c, b].rtt + 1e-12

    def test_many_links_of_zero_rtt_are_routed_at_once(self) -> None:
        """Ties do not make the search explore every way: a dozen sites in one place are all direct."""
        sites = [f"s{number}" for number in range(12)]
        links = [(a, b, 0.0) for place, a in enumerate(sites) for b in sites[place + 1 :]]
        assert route(topology_of(sites, links), "s0", "s11").sites == ("s0", "s11")

    def test_unknown_sites_are_key_errors(self) -> None:
        """Code that asks for a site that is not there is told so."""
        with pytest.raises(KeyError, match="zzz"):
            route(CHAIN, "a", "zzz")
        with pytest.raises(KeyError, match="zzz"):
            site_index(CHAIN, "zzz")

    def test_the_view_carries_every_field(self) -> None:
        """Nodes know their index in file order, edges their link."""
        view = graph(CHAIN)
        assert [view.nodes[site]["index"] for site in ("a", "b", "c")] == [1, 2, 3]
        assert view.edges["b", "a"]["rtt"] == 0.030
        assert view.edges["a", "b"]["link"] is link_between(CHAIN, "b", "a")
        assert link_between(CHAIN, "a", "c") is None


class TestCuts:
    """What a grudge does to packets on fixed routes."""

    def test_a_cut_link_takes_the_routes_over_it_along(self) -> None:
        """On a chain, losing a-b also separates a from c, in both directions."""
        assert blocked_pairs(CHAIN, between("a", "b")) == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}

    def test_a_mesh_loses_only_the_pair(self) -> None:
        """With a direct link between every two sites nothing else is blocked."""
        mesh = load("iris-3site-galera")
        assert blocked_pairs(mesh, between("ral", "edi")) == {("ral", "edi"), ("edi", "ral")}
        assert len(blocked_pairs(mesh, isolate(list(mesh.sites), ["edi"]))) == 4

    def test_one_direction_stays_one_direction(self) -> None:
        """If b refuses a, packets from a stop at b, those to a arrive."""
        assert blocked_pairs(CHAIN, {"b": frozenset("a")}) == {("a", "b"), ("a", "c")}

    def test_no_grudge_blocks_nothing(self) -> None:
        """The empty grudge is the healthy network."""
        assert blocked_pairs(CHAIN, {}) == frozenset()


class TestWeaknesses:
    """Single points of failure."""

    def names(self, topology: Topology) -> set[str]:
        """The components that are weak."""
        return {item.component for item in weaknesses(topology)}

    def test_the_three_site_topology_has_none(self) -> None:
        """A mesh of three sites with three members and three sentinels survives any single loss."""
        assert weaknesses(load("iris-3site-galera")) == []

    def test_two_members_depend_on_each_other(self) -> None:
        """A two-member Galera cluster, two sentinels and a single link are all named."""
        found = self.names(load("iris-2site-galera"))
        assert found == {"ral-cam", "db@ral", "db@cam", "cache"}

    def test_a_primary_without_promotion_is_named(self) -> None:
        """Of a replicated database the primary is the weak part, not the replica."""
        found = self.names(load("iris-2site-replication"))
        assert "db@ral" in found and "db@cam" not in found

    def test_one_site_is_weak_altogether(self) -> None:
        """With one site everything single at it is named."""
        found = self.names(load("iris-1site"))
        assert {"ral", "db@ral", "cache@ral", "frontend@ral", "web@ral"} <= found

    def test_chains_have_bridges_and_a_middle(self) -> None:
        """Both links of a chain are bridges and its middle site is needed by the ends."""
        found = self.names(CHAIN)
        assert {"a-b", "b-c", "b"} <= found

    def test_half_of_the_members_at_one_site_is_a_trap(self) -> None:
        """Equality is no majority: with 2+1+1 members the loss of the site with two stops the rest."""
        services = {
            "iam": {"kind": "indigo-iam", "replicas": {"a": 1, "b": 1}, "database": "db"},
            "db": {"kind": "galera", "members": {"a": 2, "b": 1, "c": 1}},
        }
        links = [("a", "b", 0.03), ("b", "c", 0.03), ("a", "c", 0.03)]
        found = self.names(topology_of(["a", "b", "c"], links, services=services))
        assert found == {"db@a"}


def test_processes_are_counted_by_site() -> None:
    """Every kind of service says how many processes it has where, in site order."""
    topology = load("iris-3site-galera")
    assert sites_of(topology, "iam") == {"ral": 3, "cam": 2, "edi": 1}
    assert sites_of(topology, "cache") == {"ral": 1, "cam": 1, "edi": 1}
    assert list(sites_of(topology, "web")) == ["ral", "cam", "edi"]
    assert sites_of(topology, "dns") == {}
    assert sites_of(topology, "nothing") == {}

"""Addresses of the lab on Kubernetes: pure, without collisions, inside their ranges."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.kube.addresses import FIRST_SERVICE, MOST_SITES, Addresses
from topologies import loader
from topologies.model import Topology

names = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Topologies with up to six sites and every kind of service."""
    sites = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    some = st.lists(st.sampled_from(sites), min_size=1, unique=True)
    with_servers, with_caches, fronts = draw(some), draw(some), draw(some)
    services: dict[str, Any] = {
        "db": {"kind": "galera", "members": {site: draw(st.integers(1, 4)) for site in with_servers}},
        "cache": {
            "kind": "redis-sentinel",
            "primary": with_caches[0],
            "replicas": with_caches[1:],
            "sentinels": draw(some),
        },
        "iam": {
            "kind": "indigo-iam",
            "replicas": {site: draw(st.integers(1, 3)) for site in fronts},
            "database": "db",
            "sessions": "cache",
        },
        "web": {"kind": "nginx", "sites": fronts, "upstream": "iam"},
        "frontend": {"kind": "haproxy", "sites": fronts, "backend": "web"},
        "dns": {"kind": "dns-balancer", "targets": "frontend"},
    }
    order = draw(st.permutations(list(services)))
    return Topology.model_validate(
        {
            "topology": "any",
            "sites": {site: {} for site in sites},
            "links": [{"between": [sites[0], site], "rtt": "10ms"} for site in sites[1:]],
            "services": {name: services[name] for name in order},
            "clients": {"users": {"site": sites[0]}},
        }
    )


@given(topologies(), st.booleans())
def test_addresses_of_services_are_unique_and_in_range(topology: Topology, overlapping: bool) -> None:
    """No two Services of a lab share an address; each lies in its site's range, off what Kubernetes takes."""
    found = Addresses.of(topology, overlapping=overlapping)
    seen = [one.address for one in found.endpoints]
    assert len(set(seen)) == len(seen)
    for site in found.sites:
        own = found.at(site)
        assert len({one.cluster_ip for one in own}) == len(own)
        for one in own:
            network = ipaddress.ip_network(found.service_range(site))
            assert ipaddress.ip_address(one.cluster_ip) in network
            assert ipaddress.ip_address(one.address) in ipaddress.ip_network(found.seen_service_range(site))
            offset = int(ipaddress.ip_address(one.cluster_ip)) - int(network.network_address)
            assert FIRST_SERVICE <= offset < 256


@given(topologies(), st.booleans())
def test_ranges_of_sites_do_not_overlap_as_others_see_them(topology: Topology, overlapping: bool) -> None:
    """Pods and Services of all sites have disjoint ranges on the way between the sites."""
    found = Addresses.of(topology, overlapping=overlapping)
    ranges = [found.seen_pod_range(site) for site in found.sites]
    ranges += [found.seen_service_range(site) for site in found.sites]
    networks = [ipaddress.ip_network(one) for one in ranges]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])
    if not overlapping:
        assert [found.pod_range(s) for s in found.sites] == [found.seen_pod_range(s) for s in found.sites]


@given(topologies(), st.booleans())
def test_overlapping_ranges_change_only_the_address_inside_the_cluster(
    topology: Topology, overlapping: bool
) -> None:
    """Names and lab-wide addresses are the same whether the clusters' own ranges overlap or not."""
    plain, other = Addresses.of(topology), Addresses.of(topology, overlapping=overlapping)
    assert plain.hosts() == other.hosts()
    if overlapping:
        assert len({other.service_range(site) for site in other.sites}) == 1


@given(topologies())
def test_stateful_pods_have_a_service_each(topology: Topology) -> None:
    """Every database member, Redis server and sentinel has a Service of its own, and one for all."""
    found = Addresses.of(topology)
    members = topology.services["db"].members  # type: ignore[union-attr]
    for site, count in members.items():
        pods = [one.pod for one in found.at(site) if one.service == "db"]
        assert pods == [f"db-{number}" for number in range(count)] + [None]


def test_the_library_topology_has_these_addresses() -> None:
    """The addresses of iris-2site-galera, written out: other tools and people rely on them."""
    found = Addresses.of(loader.load("iris-2site-galera", size="lab"))
    assert [(one.name, one.cluster_ip) for one in found.at("cam")] == [
        ("iam", "10.202.0.32"),
        ("db-0", "10.202.0.33"),
        ("db", "10.202.0.34"),
        ("cache-0", "10.202.0.35"),
        ("cache", "10.202.0.36"),
        ("cache-sentinel-0", "10.202.0.37"),
        ("cache-sentinel", "10.202.0.38"),
        ("web", "10.202.0.39"),
        ("frontend", "10.202.0.40"),
    ]
    assert found.endpoint("db-0", "ral").host == "db-0.ral.faultline.test"
    assert found.pod_range("cam") == "10.102.0.0/16"


def _topology(services: dict[str, Any], sites: int = 1) -> Topology:
    names = [f"s{number}" for number in range(sites)]
    return Topology.model_validate(
        {
            "topology": "any",
            "sites": {name: {} for name in names},
            "links": [{"between": [names[0], name], "rtt": "1ms"} for name in names[1:]],
            "services": services,
            "clients": {"users": {"site": "s0"}},
        }
    )


@pytest.mark.parametrize("other", ["db-0", "gateway", "db-"])
def test_names_that_collide_or_that_kubernetes_refuses_are_told(other: str) -> None:
    """A service whose Kubernetes name is taken, reserved or invalid is refused by name."""
    topology = _topology(
        {
            "db": {"kind": "galera", "members": {"s0": 1}},
            other: {"kind": "redis-sentinel", "primary": "s0", "sentinels": ["s0"]},
        }
    )
    with pytest.raises(LabError, match=f"rename '{other}'"):
        Addresses.of(topology)


def test_more_sites_than_ranges_are_refused() -> None:
    """A 55th site would need the range 10.255.0.0/16: refused, saying how many fit."""
    services = {"db": {"kind": "galera", "members": {"s0": 1}}}
    assert Addresses.of(_topology(services, MOST_SITES)).service_range("s53") == "10.254.0.0/16"
    with pytest.raises(LabError, match="at most 54 sites"):
        Addresses.of(_topology(services, MOST_SITES + 1))

"""The gateways of clusters: what each keeps, as data, and which way packets between clusters take."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from chaos.errors import LabError
from chaos.kube import gateways
from chaos.kube.addresses import Addresses
from chaos.kube.gateway import (
    Configuration,
    mangle_rules,
    member_rules,
    nat_rules,
    wireguard_configuration,
)
from chaos.lab.layout import Layout
from chaos.services import deployment
from chaos.wan.plan import plan
from chaos.wan.routing import Routes, channel_name
from topologies.loader import load
from topologies.model import Topology

HOME = Path("/var/lib/faultline/lab")


def topology(*overrides: str, name: str = "iris-3site-galera") -> Topology:
    """A topology in lab size."""
    return load(name, size="lab", overrides=list(overrides))


def networks(addresses: Addresses) -> dict[str, tuple[str, str]]:
    """Ranges of each site as others see them."""
    return {
        site: (addresses.seen_pod_range(site), addresses.seen_service_range(site)) for site in addresses.sites
    }


def kept(found: Topology) -> dict[str, Configuration]:
    """What the gateways of a topology keep."""
    addresses = Addresses.of(found, overlapping=gateways.is_translated(found))
    laid = plan(found, HOME, 0, networks(addresses))
    layout = Layout(laid.sites, HOME)
    public = {site: f"key-of-{site}" for site in laid.sites}
    return gateways.configurations(found, laid, layout, addresses, public)


def decide(found: Topology, ingress: str, source: str, target: str) -> tuple[str, str] | None:
    """Egress and channel of a packet that enters at a site's gateway node."""
    addresses = Addresses.of(found, overlapping=gateways.is_translated(found))
    laid = plan(found, HOME, 0, networks(addresses))
    names = [channel_name(c.source, c.target, c.path) for c in laid.channels]
    routes = Routes(laid.data()["stations"], laid.next_hop, names)
    index = [s.namespace for s in laid.stations].index(f"fl-{ingress}")
    decision = routes.decide(index, socket.inet_aton(source), socket.inet_aton(target))
    return None if decision is None else (laid.stations[decision.egress].namespace, decision.public)


def test_each_gateway_has_the_others_as_peers_with_their_pods_and_services() -> None:
    """In a full mesh a peer's ranges are those of its own site, and no range is reached without VPN."""
    ral = kept(topology())["ral"]
    assert [(peer.site, peer.endpoint) for peer in ral.peers] == [
        ("cam", "198.18.2.1:51820"),
        ("edi", "198.18.3.1:51820"),
    ]
    assert ral.peers[0].ranges == ("10.102.0.0/16", "10.202.0.0/16", "198.19.2.1/32")
    assert ral.direct == ()
    assert set(ral.remote) == {"10.102.0.0/16", "10.202.0.0/16", "10.103.0.0/16", "10.203.0.0/16"}


def test_without_vpn_ranges_are_reached_over_the_wide_area_network() -> None:
    """`vpn: none` on a link: no interface where no link has a VPN, and the other site's ranges go direct."""
    cam = kept(topology("links[0].vpn=none", name="iris-2site-galera"))["cam"]
    assert cam.interface == ""
    assert cam.peers == ()
    assert cam.direct == ("10.101.0.0/16", "10.201.0.0/16", "198.19.1.1/32")
    assert mangle_rules(cam) == []


def test_a_site_behind_another_is_reached_through_it() -> None:
    """Without a link of its own a site's ranges belong to the peer that packets go to first."""
    chain = topology("links[1].rtt=300ms")
    chain = chain.model_copy(update={"links": [chain.links[0], chain.links[2]]})
    found = kept(chain)
    assert [peer.site for peer in found["ral"].peers] == ["cam"]
    assert "10.103.0.0/16" in found["ral"].peers[0].ranges


def test_pods_keep_their_addresses_between_sites() -> None:
    """Nothing between own pods and remote ranges is masqueraded, in either direction."""
    rules = nat_rules(kept(topology(name="iris-2site-galera"))["ral"])
    assert "-A FAULTLINE-POST -s 10.101.0.0/16 -d 10.202.0.0/16 -j ACCEPT" in rules
    assert "-A FAULTLINE-POST -s 10.102.0.0/16 -d 10.101.0.0/16 -j ACCEPT" in rules
    assert not any("NETMAP" in rule for rule in rules)


def test_overlapping_ranges_are_translated_one_to_one_at_the_gateway() -> None:
    """`nat: true`: all clusters use the same ranges and are seen under distinct ones, both ways."""
    found = kept(topology("links[0].nat=true", name="iris-2site-galera"))
    assert found["ral"].own == found["cam"].own == ("10.100.0.0/16",)
    rules = nat_rules(found["cam"])
    assert "-A FAULTLINE-POST -o flwg2 -s 10.100.0.0/16 -j NETMAP --to 10.102.0.0/16" in rules
    assert "-A FAULTLINE-PRE -i flwg2 -d 10.102.0.0/16 -j NETMAP --to 10.100.0.0/16" in rules
    # The translation comes before the rules that end the search.
    ends = [number for number, rule in enumerate(rules) if rule.endswith("ACCEPT")]
    assert max(n for n, rule in enumerate(rules) if "NETMAP" in rule) < min(ends)


KUBE_PROXY = """\
-A KUBE-SERVICES -d 10.201.0.33/32 -p tcp -m comment --comment "x/db-0:galera cluster IP" -m tcp --dport 4567 -j KUBE-SVC-A
-A KUBE-SERVICES -d 10.201.0.33/32 -p tcp -m comment --comment "x/db-0:mysql cluster IP" -m tcp --dport 3306 -j KUBE-SVC-B
-A KUBE-SVC-A ! -s 10.101.0.0/16 -d 10.201.0.33/32 -p tcp -m tcp --dport 4567 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m comment --comment "x/db-0:galera -> 10.101.0.7:4567" -j KUBE-SEP-C
-A KUBE-SVC-B -m comment --comment "x/db-0:mysql -> 10.101.0.7:3306" -j KUBE-SEP-D
-A KUBE-SEP-C -s 10.101.0.7/32 -m comment --comment "x/db-0:galera" -j KUBE-MARK-MASQ
-A KUBE-SEP-C -p tcp -m comment --comment "x/db-0:galera" -m tcp -j DNAT --to-destination 10.101.0.7:4567
-A KUBE-SEP-D -p tcp -m comment --comment "x/db-0:mysql" -m tcp -j DNAT --to-destination 10.101.0.9:3306
""".splitlines()  # noqa: E501
"""What kube-proxy writes for a Service with one pod (Kubernetes 1.34, iptables mode)."""


def test_a_member_comes_from_the_address_its_peers_know() -> None:
    """Galera refuses a member that it sees under two addresses: what it sends leaves as its Service."""
    ral = kept(topology(name="iris-2site-galera"))["ral"]
    assert ral.members == (("10.201.0.33", 4567),)
    assert member_rules(ral, KUBE_PROXY) == [
        "-A FAULTLINE-POST -s 10.101.0.7 -p tcp --dport 4567 -j SNAT --to-source 10.201.0.33"
    ]


def test_a_member_is_found_behind_an_external_address() -> None:
    """With overlapping ranges kube-proxy has one more chain between the address and the pod."""
    cam = kept(topology("links[0].nat=true", name="iris-2site-galera"))["cam"]
    external = [line.replace("10.201.0.33/32", "10.202.0.33/32") for line in KUBE_PROXY]
    external[0] = external[0].replace("KUBE-SVC-A", "KUBE-EXT-A")
    external += ["-A KUBE-EXT-A -j KUBE-MARK-MASQ", "-A KUBE-EXT-A -j KUBE-SVC-A"]
    assert member_rules(cam, external) == [
        "-A FAULTLINE-POST -s 10.101.0.7 -p tcp --dport 4567 -j SNAT --to-source 10.202.0.33"
    ]


def test_without_a_pod_there_is_nothing_to_translate() -> None:
    """A Service without endpoints has no chain of its own."""
    assert member_rules(kept(topology())["ral"], []) == []


def test_segments_fit_into_the_tunnel() -> None:
    """Both ends of a connection learn an MSS of the tunnel's MTU less IP and TCP headers (1420 - 40)."""
    rules = mangle_rules(kept(topology())["edi"])
    assert len(rules) == 2
    assert all("--set-mss 1380" in rule for rule in rules)


def test_configuration_survives_the_way_to_the_pod() -> None:
    """What the pod reads from its ConfigMap is what was written into it."""
    for found in kept(topology("links[0].nat=true")).values():
        assert Configuration.read(found.text()) == found


def test_wireguard_gets_every_peer() -> None:
    """The `wg setconf` file has the private key once and each peer with key, ranges and endpoint."""
    text = wireguard_configuration(kept(topology())["ral"], "secret")
    assert text.count("PrivateKey = secret") == 1
    assert text.count("[Peer]") == 2
    assert "PublicKey = key-of-edi\nAllowedIPs = 10.103.0.0/16, 10.203.0.0/16, 198.19.3.1/32" in text


def test_the_private_key_is_in_the_secret_only() -> None:
    """Whoever may read ConfigMaps and pods learns no private key."""
    found = topology()
    objects = gateways.objects(kept(found)["ral"], "very-private", "image:1", found.kubernetes, 2)
    assert [one["kind"] for one in objects] == ["ConfigMap", "Secret", "Deployment", "DaemonSet"]
    assert not any("very-private" in str(one) for one in objects if one["kind"] != "Secret")


def test_one_node_needs_no_companion() -> None:
    """Routes to the gateway are only needed on nodes that are not the gateway."""
    found = topology()
    kinds = [one["kind"] for one in gateways.objects(kept(found)["ral"], "k", "image:1", found.kubernetes, 1)]
    assert "DaemonSet" not in kinds


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("10.101.3.4", "10.202.0.32", ("fl-cam", "ral>cam/vpn")),
        ("10.101.3.4", "10.103.0.7", ("fl-edi", "ral>edi/vpn")),
        ("198.18.1.1", "10.102.0.7", ("fl-cam", "ral>cam/vpn")),
        ("10.101.3.4", "198.18.3.1", ("fl-edi", "ral>edi/vpn")),
        ("10.101.3.4", "10.104.0.1", None),
        ("192.0.2.1", "10.102.0.7", None),
    ],
)
def test_the_relay_knows_what_lies_behind_a_gateway(
    source: str, target: str, expected: tuple[str, str] | None
) -> None:
    """Pods and Services of a site travel on the VPN's path to its gateway; strangers go nowhere."""
    assert decide(topology(), "ral", source, target) == expected


def test_liqo_is_refused_in_words() -> None:
    """No lab of this machine runs Liqo, and the message says what does."""
    with pytest.raises(LabError, match="--backend kubernetes"):
        gateways.ensure_carried(topology("links[0].vpn=liqo"))
    with pytest.raises(LabError, match="set `vpn: wireguard`"):
        deployment.plan(topology("links[0].vpn=liqo"), Layout.of(topology()))


def test_the_local_lab_refuses_translation() -> None:
    """Without clusters nothing can overlap, and silence would look as if it had been tried."""
    with pytest.raises(LabError, match="--backend kind"):
        deployment.plan(topology("links[0].nat=true"), Layout.of(topology()))

"""The WAN without a machine under it: plan, routing, shaping, and what is done to links."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wan_topologies import line, topology, triangle

from chaos.errors import LabError
from chaos.wan.plan import Plan, plan
from chaos.wan.relay import LATENESS_STEP, Counters, Network
from chaos.wan.routing import Routes, channel_name, is_wireguard
from chaos.wan.shaping import LONGEST_QUEUE, Quality, Shaper, in_series
from chaos.wan.wireguard import configuration, peers_of

HOME = Path("/var/lib/faultline/lab")


def packet(
    protocol: int = 17, ports: tuple[int, int] = (51820, 51820), options: int = 0, fragment: int = 0
) -> bytes:
    """An IPv4 packet with the fields that the relay reads."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + options,
        0,
        48 + 4 * options,
        1,
        fragment,
        64,
        protocol,
        0,
        socket.inet_aton("198.18.1.1"),
        socket.inet_aton("198.18.2.1"),
    )
    return header + b"\1" * 4 * options + struct.pack("!HHHH", *ports, 28, 0) + b"payload"


def routes_of(laid: Plan) -> Routes:
    """The relay's view of a plan."""
    names = [channel_name(c.source, c.target, c.path) for c in laid.channels]
    return Routes(laid.data()["stations"], laid.next_hop, names)


class TestPlan:
    """A topology becomes addresses, routes and channels."""

    def test_stations_have_the_addresses_of_the_layout(self) -> None:
        """Sites, users and the DNS balancer each get a namespace and their documented address."""
        found = {s.namespace: (s.public, s.vpn, s.place) for s in plan(triangle(), HOME).stations}
        assert found["fl-cam"] == ("198.18.2.1", "198.19.2.1", "cam")
        assert found["fl-edi-u"] == ("198.18.3.129", None, "edi")
        assert found["fl-dns"] == ("198.18.250.1", None, "dns")
        assert len(found) == 7

    def test_a_link_delays_each_direction_by_half_its_rtt(self) -> None:
        """RTT is round trip, the relay works with one-way delays."""
        network = Network(plan(triangle("30ms", jitter="2ms", bandwidth="10Mbit", loss="1%"), HOME).data())
        assert network.quality("ral>cam/vpn") == Quality(0.015, 0.002, 0.01, 10e6)
        assert network.quality("cam>ral/public") == network.quality("ral>cam/vpn")

    def test_the_two_ways_of_a_link_may_differ(self) -> None:
        """`forward` is the first site's share of the round trip, whichever way a route runs over the link."""
        network = Network(plan(triangle("30ms", forward=0.8), HOME).data())
        assert network.quality("ral>cam/vpn").delay == pytest.approx(0.024)
        assert network.quality("cam>ral/vpn").delay == pytest.approx(0.006)
        network = Network(plan(line(forward=1.0), HOME).data())
        assert network.quality("ral>edi/public").delay == pytest.approx(0.030)
        assert network.quality("edi>ral/public").delay == 0.0

    def test_users_and_dns_are_next_to_their_sites(self) -> None:
        """No delay between users and their own site, nor between the DNS balancer and anybody."""
        network = Network(plan(triangle(), HOME).data())
        for channel in ("ral>ral/public", "dns>edi/public", "edi>dns/public"):
            assert network.quality(channel) == Quality()

    def test_sites_without_a_link_use_the_route_over_others(self) -> None:
        """Public packets take the route in one step; VPN packets are handed from site to site."""
        laid = plan(line(), HOME)
        network = Network(laid.data())
        public = network.quality("ral>edi/public")
        assert public.delay == pytest.approx(0.015)
        assert (public.loss, public.rate) == (pytest.approx(0.1), 50e6)
        assert "ral>edi/vpn" not in network.shapers
        assert laid.route("ral", "edi") == ["ral", "cam", "edi"]

    @pytest.mark.parametrize("name", ["dns", "ral-u"])
    def test_names_that_the_lab_uses_itself_are_refused(self, name: str) -> None:
        """A site called `dns` or like another site's users would share its namespace."""
        with pytest.raises(LabError, match=f"'{name}' is used by the lab itself"):
            plan(topology(["ral", name], [{"between": ["ral", name], "rtt": "1ms"}]), HOME)


class TestWireguard:
    """Peers and allowed addresses follow the links."""

    def test_a_mesh_has_a_peer_per_neighbour(self) -> None:
        """Each peer carries its own address and no other."""
        found = {peer.site: peer.destinations for peer in peers_of(plan(triangle(), HOME), "cam")}
        assert found == {"ral": ("ral",), "edi": ("edi",)}

    def test_what_lies_behind_a_neighbour_is_allowed_from_it(self) -> None:
        """In a row the middle carries the far end's packets."""
        laid = plan(line(), HOME)
        assert {p.site: set(p.destinations) for p in peers_of(laid, "ral")} == {"cam": {"cam", "edi"}}
        assert {p.site: set(p.destinations) for p in peers_of(laid, "cam")} == {
            "ral": {"ral"},
            "edi": {"edi"},
        }

    def test_links_without_vpn_have_no_peer(self) -> None:
        """`vpn: none` leaves the traffic unencrypted."""
        assert peers_of(plan(triangle(vpn="none"), HOME), "ral") == []

    def test_the_configuration_names_endpoint_and_allowed_addresses(self) -> None:
        """The file is what `wg setconf` reads."""
        from chaos.lab.layout import Layout

        laid = plan(line(), HOME)
        text = configuration(
            "ral", peers_of(laid, "ral"), Layout(laid.sites, HOME), "PRIVATE", {"cam": "CAM", "edi": "EDI"}
        )
        assert "PrivateKey = PRIVATE\nListenPort = 51820" in text
        assert (
            "PublicKey = CAM\nAllowedIPs = 198.19.2.1/32, 198.19.3.1/32\nEndpoint = 198.18.2.1:51820" in text
        )
        assert "EDI" not in text


class TestRouting:
    """The path of a packet is read from its header."""

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            (packet(), True),
            (packet(options=3), True),
            (packet(ports=(51820, 53)), False),
            (packet(ports=(40000, 51820)), False),
            (packet(protocol=6), False),
            (packet(fragment=185), False),
            (packet()[:22], False),
        ],
    )
    def test_wireguard_is_udp_between_its_ports(self, sent: bytes, expected: bool) -> None:
        """Header options are skipped; later fragments and truncated packets are not WireGuard's."""
        assert is_wireguard(sent) is expected

    def _decide(self, laid: Plan, ingress: str, source: str, target: str) -> tuple[str, str, str] | None:
        index = [s.namespace for s in laid.stations].index(ingress)
        found = routes_of(laid).decide(index, socket.inet_aton(source), socket.inet_aton(target))
        return None if found is None else (laid.stations[found.egress].namespace, found.public, found.vpn)

    def test_sites_have_two_paths_to_each_other(self) -> None:
        """Between two sites ordinary packets are public and WireGuard's are `vpn`."""
        found = self._decide(plan(triangle(), HOME), "fl-ral", "198.18.1.1", "198.18.3.1")
        assert found == ("fl-edi", "ral>edi/public", "ral>edi/vpn")

    def test_users_have_only_the_public_network(self) -> None:
        """Even a user who sends from WireGuard's port stays public, and reaches no VPN address."""
        laid = plan(triangle(), HOME)
        assert self._decide(laid, "fl-ral-u", "198.18.1.129", "198.18.2.1") == (
            "fl-cam",
            "ral>cam/public",
            "ral>cam/public",
        )
        assert self._decide(laid, "fl-ral-u", "198.18.1.129", "198.19.2.1") is None

    def test_vpn_addresses_go_to_the_next_site_of_the_route(self) -> None:
        """Over links without VPN the relay hands packets to the site that forwards them."""
        laid = plan(line(vpn="none"), HOME)
        assert self._decide(laid, "fl-ral", "198.19.1.1", "198.19.3.1") == (
            "fl-cam",
            "ral>cam/vpn",
            "ral>cam/vpn",
        )
        assert self._decide(laid, "fl-cam", "198.19.1.1", "198.19.3.1") == (
            "fl-edi",
            "cam>edi/vpn",
            "cam>edi/vpn",
        )

    def test_strangers_are_not_carried(self) -> None:
        """Unknown addresses and forged public ones go nowhere."""
        laid = plan(triangle(), HOME)
        assert self._decide(laid, "fl-ral", "198.18.1.1", "8.8.8.8") is None
        assert self._decide(laid, "fl-ral", "198.18.2.1", "198.18.3.1") is None
        assert self._decide(laid, "fl-ral", "10.0.0.1", "198.19.3.1") is None


qualities = st.builds(
    Quality,
    delay=st.floats(0, 0.5),
    jitter=st.floats(0, 0.1),
    loss=st.floats(0, 1),
    rate=st.one_of(st.just(0.0), st.floats(1e4, 1e9)),
)


class TestShaping:
    """Delay, jitter, loss, rate and cuts, on a clock that the test holds."""

    @given(st.lists(qualities, max_size=4), st.lists(qualities, max_size=4))
    def test_series_is_associative(self, first: list[Quality], second: list[Quality]) -> None:
        """A route's quality does not depend on where it is divided."""
        whole = in_series(first + second)
        parts = in_series([in_series(first), in_series(second)])
        assert whole.delay == pytest.approx(parts.delay)
        assert whole.jitter == pytest.approx(parts.jitter)
        assert whole.loss == pytest.approx(parts.loss)
        assert whole.rate == parts.rate

    @given(
        qualities,
        st.lists(st.tuples(st.floats(0, 0.05), st.integers(20, 1500)), max_size=60),
        st.integers(0, 9),
    )
    def test_packets_leave_in_order_and_never_early(
        self, quality: Quality, sent: list[tuple[float, int]], seed: int
    ) -> None:
        """Whatever the jitter, no packet overtakes another or arrives before delay minus jitter."""
        shaper = Shaper("a>b/vpn", quality, seed)
        now = last = 0.0
        for gap, size in sent:
            now += gap
            due = shaper.admit(now, size)
            if due is not None:
                assert due >= max(now, last, now + quality.delay - quality.jitter - 1e-9)
                last = due

    def test_rate_serialises(self) -> None:
        """Ten packets of 1250 bytes at 1 Mbit/s leave 10 ms apart."""
        shaper = Shaper("a>b/vpn", Quality(delay=0.005, rate=1e6), 1)
        due = [shaper.admit(0.0, 1250) for _ in range(10)]
        assert due == pytest.approx([0.015 + 0.010 * n for n in range(10)])

    def test_a_full_queue_drops(self) -> None:
        """A direction never holds more than a quarter of a second of its own transmission."""
        shaper = Shaper("a>b/vpn", Quality(rate=1e6), 1)
        passed = [due for _ in range(100) if (due := shaper.admit(0.0, 1250)) is not None]
        assert len(passed) in {25, 26}  # 0.25 s are 25 packets of 10 ms
        assert max(passed) <= LONGEST_QUEUE + 0.011
        assert shaper.dropped == "queue"

    def test_loss_has_its_ratio_and_its_seed(self) -> None:
        """10 % of 20,000 packets within four standard deviations; the same seed loses the same ones."""

        def passed(seed: int, name: str = "a>b/vpn") -> list[bool]:
            shaper = Shaper(name, Quality(loss=0.1), seed)
            return [shaper.admit(0.0, 100) is not None for _ in range(20_000)]

        assert passed(7).count(False) == pytest.approx(2000, abs=4 * 42.4)
        assert passed(7) == passed(7)
        assert passed(7) != passed(8)
        assert passed(7) != passed(7, "b>a/vpn")

    def test_jitter_is_uniform_around_the_delay(self) -> None:
        """Mean and spread of packets far enough apart are those of a uniform distribution."""
        shaper = Shaper("a>b/vpn", Quality(delay=0.030, jitter=0.010), 3)
        delays = [due - n for n in range(5000) if (due := shaper.admit(float(n), 100)) is not None]
        assert sum(delays) / len(delays) == pytest.approx(0.030, abs=0.0004)
        assert (min(delays), max(delays)) == (pytest.approx(0.020, abs=1e-4), pytest.approx(0.040, abs=1e-4))

    def test_a_cut_drops_everything(self) -> None:
        """As long as there is one cut nothing passes."""
        shaper = Shaper("a>b/vpn", Quality(), 1)
        shaper.cuts.add("x")
        assert shaper.admit(0.0, 100) is None
        assert shaper.dropped == "cut"


class TestNetwork:
    """Cuts and degradations overlap, and each is taken back on its own."""

    @pytest.fixture
    def network(self) -> Network:
        """Three sites in a row."""
        return Network(plan(line(), HOME).data())

    def test_a_cut_is_per_direction_and_path(self, network: Network) -> None:
        """The way back and the public network are left alone."""
        network.cut("f1", [["ral", "cam"]], "vpn")
        assert [name for name, shaper in network.shapers.items() if shaper.cuts] == ["ral>cam/vpn"]

    def test_overlapping_cuts_need_both_heals(self, network: Network) -> None:
        """What two partitions cut stays cut until both are healed."""
        network.cut("f1", [["ral", "cam"]], "all")
        network.cut("f2", [["ral", "cam"], ["cam", "ral"]], "vpn")
        network.heal("f1")
        assert network.shapers["ral>cam/vpn"].cuts == {"f2"}
        assert not network.shapers["ral>cam/public"].cuts
        network.heal()
        assert not any(shaper.cuts for shaper in network.shapers.values())

    def test_a_cut_of_an_unknown_place_changes_nothing(self, network: Network) -> None:
        """All or nothing: the known pair is not cut either."""
        with pytest.raises(ValueError, match="from ral to mars"):
            network.cut("f1", [["ral", "cam"], ["ral", "mars"]], "all")
        assert not any(shaper.cuts for shaper in network.shapers.values())

    def test_degrading_a_link_degrades_every_route_over_it(self, network: Network) -> None:
        """Both directions, both paths, and the public route of the far ends; the rest stays."""
        network.degrade("f1", 0, delay=0.1)
        assert network.shapers["ral>cam/vpn"].quality.delay == pytest.approx(0.1)
        assert network.shapers["cam>ral/public"].quality.delay == pytest.approx(0.1)
        assert network.shapers["ral>edi/public"].quality.delay == pytest.approx(0.11)
        assert network.shapers["cam>edi/vpn"].quality.delay == pytest.approx(0.01)
        assert network.shapers["ral>cam/vpn"].quality.rate == 100e6

    def test_one_way_of_a_link_can_be_changed_alone(self, network: Network) -> None:
        """The other keeps its values; a later degradation of both is on top, and leaves it when it ends."""
        network.degrade("relinked", 0, 1, delay=0.3)
        assert network.shapers["ral>cam/vpn"].quality.delay == pytest.approx(0.005)
        assert network.shapers["cam>ral/vpn"].quality.delay == pytest.approx(0.3)
        network.degrade("f1", 0, delay=0.1)
        assert network.shapers["cam>ral/vpn"].quality.delay == pytest.approx(0.1)
        network.restore("f1")
        assert network.shapers["cam>ral/vpn"].quality.delay == pytest.approx(0.3)

    def test_degradations_are_taken_back_in_any_order(self, network: Network) -> None:
        """Each restores only what it changed itself."""
        before = {name: shaper.quality for name, shaper in network.shapers.items()}
        network.degrade("f1", 0, delay=0.1, loss=0.5)
        network.degrade("f2", 0, delay=0.2)
        network.restore("f1")
        assert network.shapers["ral>cam/vpn"].quality == Quality(0.2, 0.0, 0.0, 100e6)
        network.restore("f2")
        assert {name: shaper.quality for name, shaper in network.shapers.items()} == before

    def test_setting_a_direction_outlasts_a_degradation(self, network: Network) -> None:
        """`set` holds for the direction named until it is called without values."""
        network.set("ral", "cam", "vpn", rate=1e6)
        network.degrade("f1", 0, delay=0.1)
        network.restore()
        assert network.shapers["ral>cam/vpn"].quality == Quality(0.005, 0.0, 0.0, 1e6)
        assert network.shapers["cam>ral/vpn"].quality.rate == 100e6
        network.set("ral", "cam", "vpn")
        assert network.shapers["ral>cam/vpn"].quality == Quality(0.005, 0.0, 0.0, 100e6)

    def test_values_that_links_do_not_have_are_refused(self, network: Network) -> None:
        """And leave everything as it was."""
        with pytest.raises(TypeError):
            network.degrade("f1", 0, colour=1.0)
        assert network.quality("ral>cam/vpn") == Quality(0.005, 0.0, 0.0, 100e6)


class TestLateness:
    """The relay's account of its own delay."""

    @given(st.lists(st.floats(0, 0.15), min_size=1, max_size=300), st.floats(0.01, 0.99))
    def test_quantiles_are_right_to_a_step(self, late: list[float], share: float) -> None:
        """Never below the true quantile, and less than one bucket above it."""
        counters = Counters()
        for value in late:
            counters.late[int(value / LATENESS_STEP)] += 1
        counters.late_max = max(late)
        need = share * len(late)
        true = next(v for n, v in enumerate(sorted(late), 1) if n >= need)
        assert true - 1e-12 <= counters.late_quantile(share) <= true + LATENESS_STEP + 1e-12

    def test_nothing_delivered_is_not_late(self) -> None:
        """No packets, no lateness."""
        assert Counters().late_quantile(0.99) == 0.0


def test_held_packets_leave_by_due_time_then_arrival() -> None:
    """The heap's entries order by due time; equal times keep their order and never compare packets."""
    from heapq import heappop, heappush

    drawn = random.Random(5)
    shaper = Shaper("a>b/vpn", Quality(), 1)
    entries = [(drawn.choice([0.1, 0.2]), n, shaper, 0, b"x") for n in range(50)]
    held: list[tuple[float, int, Shaper, int, bytes]] = []
    for entry in entries:
        heappush(held, entry)
    assert [heappop(held)[:2] for _ in range(50)] == sorted(entry[:2] for entry in entries)

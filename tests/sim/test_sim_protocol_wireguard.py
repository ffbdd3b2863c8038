"""WireGuard: packet size and handshakes (components.md 7.1)."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import wireguard as wg


class TestSize:
    """Bytes on the wire."""

    def test_a_kilobyte_packet_grows_by_sixty(self) -> None:
        """Measured: 1024 B inside, 1084 B outside."""
        assert wg.outer_size(1024) == 1084
        assert wg.outer_size(1024, ipv6=True) == 1104

    def test_a_full_packet_fits_the_ethernet_mtu(self) -> None:
        """MTU 1420: the padding does not exceed the MTU; measured largest ping payload 1392."""
        assert wg.outer_size(1420) == 1480
        assert wg.outer_size(1420, ipv6=True) == 1500

    @given(st.integers(1, 1420))
    def test_overhead_is_60_to_75_bytes(self, inner: int) -> None:
        """Padding is at most 15."""
        assert 60 <= wg.outer_size(inner) - inner <= 75

    def test_a_stream_pays_per_segment(self) -> None:
        """MSS 1380 inside the tunnel."""
        assert wg.stream_bytes(1380) == 1480
        assert wg.stream_bytes(1381) == 1581


class TestHandshake:
    """Timers."""

    def test_the_first_packet_waits_for_a_handshake(self) -> None:
        """Then data flows for 180 s."""
        tunnel = wg.Tunnel()
        assert wg.send(tunnel, 0.0, 0.1) == wg.Action(True, True, 5.1)
        wg.handshake_done(tunnel, 0.03, True)
        assert wg.send(tunnel, 100.0, 0.1).queued is False
        assert wg.has_keys(tunnel, 180.0)
        assert not wg.has_keys(tunnel, 180.1)

    def test_a_cut_shorter_than_the_keys_life_costs_nothing_after_it(self) -> None:
        """Packets go on under the current keys although a new handshake is being tried."""
        tunnel = wg.Tunnel()
        wg.handshake_done(tunnel, 0.0, True)
        assert wg.send(tunnel, 10.0, 0.0).retry_at == 25.0
        assert wg.timer(tunnel, 25.0, 0.2).initiate
        action = wg.send(tunnel, 29.0, 0.0)
        assert not action.queued

    def test_silence_after_sending_starts_a_handshake_at_fifteen_seconds(self) -> None:
        """KeepaliveTimeout + RekeyTimeout; an answer in time stops it."""
        tunnel = wg.Tunnel()
        wg.handshake_done(tunnel, 0.0, False)
        wg.send(tunnel, 1.0, 0.0)
        assert wg.next_timer(tunnel) == 16.0
        wg.received(tunnel, 2.0)
        assert wg.next_timer(tunnel) == inf

    def test_only_the_initiator_rekeys_by_age(self) -> None:
        """At 120 s, when it sends."""
        for initiator in (True, False):
            tunnel = wg.Tunnel()
            wg.handshake_done(tunnel, 0.0, initiator)
            assert wg.send(tunnel, 120.0, 0.0).initiate is initiator
            assert not wg.send(tunnel, 121.0, 0.0).initiate

    def test_tries_every_five_seconds_and_gives_up_after_ninety(self) -> None:
        """Eighteen tries and more; the next packet starts again."""
        tunnel = wg.Tunnel()
        action = wg.send(tunnel, 0.0, 0.0)
        tries = int(action.initiate)
        while action.retry_at < inf:
            action = wg.timer(tunnel, action.retry_at, 0.0)
            tries += int(action.initiate)
        assert tries == 18
        assert wg.send(tunnel, 200.0, 0.0).initiate

    def test_a_restarted_end_shakes_hands_when_it_sends(self) -> None:
        """It has no keys."""
        tunnel = wg.Tunnel()
        wg.handshake_done(tunnel, 0.0, True)
        wg.restart(tunnel)
        assert wg.send(tunnel, 10.0, 0.0) == wg.Action(True, True, 15.0)

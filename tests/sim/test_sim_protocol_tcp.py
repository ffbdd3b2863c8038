"""TCP: round trips, back-off after blackouts, loss (components.md 7.2)."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import tcp


class TestRoundTrips:
    """Connect and slow start."""

    def test_connecting_costs_one_rtt_and_tls_more(self) -> None:
        """TLS 1.2 adds two, TLS 1.3 one."""
        assert [tcp.connect_time(0.1, tls) for tls in (0, 1.2, 1.3)] == pytest.approx([0.1, 0.3, 0.2])

    @pytest.mark.parametrize(
        ("size", "expected"), [(1, 1), (14_600, 1), (14_601, 2), (50_000, 3), (1_000_000, 7)]
    )
    def test_slow_start_rounds(self, size: int, expected: int) -> None:
        """ceil(log2(S / 14600 + 1))."""
        assert tcp.rounds(size) == expected

    @pytest.mark.parametrize(("size", "measured"), [(14_000, 2), (60_000, 4), (100_000, 4), (1_000_000, 8)])
    def test_a_fresh_connection_takes_the_measured_number_of_rtts(self, size: int, measured: int) -> None:
        """Connect + request + reply, in RTTs, at RTT 200 ms: measured 2, 4, 4, 8."""
        rtt = 0.2
        total = tcp.connect_time(rtt) + rtt / 2 + tcp.transfer_time(size, rtt, bandwidth=10e9)
        assert total / rtt == pytest.approx(measured, abs=0.6)

    def test_bandwidth_takes_over_for_large_transfers(self) -> None:
        """100 MB at 100 Mbit/s takes about 8 s whatever the window's start."""
        assert tcp.transfer_time(1e8, 0.03, 1e8) == pytest.approx(8.0, rel=0.05)

    @given(st.floats(1, 1e7), st.floats(1e-4, 0.3), st.floats(1e6, 1e10))
    def test_transfer_time_is_at_least_propagation_and_serialisation(
        self, size: float, rtt: float, bandwidth: float
    ) -> None:
        """And at most those plus an RTT for each round."""
        least = rtt / 2 + size * 8 / bandwidth
        assert (
            least * (1 - 1e-9)
            <= tcp.transfer_time(size, rtt, bandwidth)
            <= least + tcp.rounds(size) * rtt + 1e-9
        )


class TestBlackout:
    """Retransmissions."""

    def test_syn_retries(self) -> None:
        """1, 3, 7, 15, 31, 63 s; since Linux 6.5 the first four come every second."""
        assert tcp.syn_retransmissions() == [1, 3, 7, 15, 31, 63]
        assert tcp.syn_retransmissions(4) == [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]

    def test_a_connect_into_a_cut_waits_for_the_next_syn(self) -> None:
        """Healed after 5 s: the SYN of second 7."""
        assert tcp.connected_after(10.0, 15.0, 0.1) == pytest.approx(17.1)
        assert tcp.connected_after(10.0, 15.0, 0.1, timeout=5.0) == inf
        assert tcp.connected_after(10.0, 9.0, 0.1) == pytest.approx(10.1)
        assert tcp.connected_after(0.0, 500.0, 0.1) == inf

    @given(st.floats(0.01, 300.0), st.floats(0.0, 0.4))
    def test_a_blackout_is_amplified_at_most_twofold(self, blackout: float, rtt: float) -> None:
        """The next retransmission comes at most one blackout (and one RTO) after the heal."""
        rto = tcp.rto(rtt)
        at = tcp.resumed_after(0.0, blackout, rto)
        assert blackout <= at <= min(2 * blackout + rto, blackout + tcp.MAX_RTO) + 1e-9

    def test_an_established_connection_gives_up_in_the_end(self) -> None:
        """tcp_retries2 = 15: about 15 minutes at the smallest RTO."""
        assert 13 * 60 < tcp.retransmissions(tcp.MIN_RTO, tcp.DATA_RETRIES)[-1] < 30 * 60
        assert tcp.resumed_after(0.0, 3600.0, tcp.MIN_RTO) == inf

    def test_rto_is_bounded(self) -> None:
        """RTT 100 ms loses at least 300 ms to one lost packet (components.md 1.11)."""
        assert tcp.rto(0.1) == pytest.approx(0.3)
        assert tcp.rto(0.1, 0.2) == pytest.approx(0.9)
        assert tcp.rto(1e6) == tcp.MAX_RTO


class TestLoss:
    """Random loss."""

    @pytest.mark.parametrize(("loss", "mbit"), [(1e-4, 14.2), (1e-3, 4.5), (1e-2, 1.4)])
    def test_mathis(self, loss: float, mbit: float) -> None:
        """RTT 100 ms, MSS 1460."""
        assert tcp.loss_limited_bandwidth(0.1, loss) / 1e6 == pytest.approx(mbit, rel=0.02)
        assert tcp.loss_limited_bandwidth(0.1, 0.0) == inf

    def test_lost_copies_cost_doubling_timeouts(self) -> None:
        """0.3, then 0.9, then 2.1 s at RTT 100 ms."""
        assert [tcp.loss_delay(0.1, n) for n in range(4)] == pytest.approx([0.0, 0.3, 0.9, 2.1])

    def test_a_probe_comes_before_the_first_timeout_of_several_segments(self) -> None:
        """Two round trips and 2 ms, then the whole timeout; on long ways the timeout is sooner."""
        found = [tcp.loss_delay(0.1, n, 2) for n in range(4)]
        assert found == pytest.approx([0.0, 0.202, 0.502, 1.102])
        assert tcp.loss_delay(0.3, 1, 5) == pytest.approx(0.5)

    def test_a_lost_syn_costs_a_second(self) -> None:
        """The round trip is not known yet: RFC 6298's initial timeout, which doubles."""
        assert [tcp.syn_loss_delay(n) for n in range(4)] == [0.0, 1.0, 3.0, 7.0]

    def test_the_mean_extra_delay_is_the_mean_over_the_number_of_losses(self) -> None:
        """Geometric number of lost copies."""
        loss, rtt = 0.2, 0.05
        mean = sum(loss**n * (1 - loss) * tcp.loss_delay(rtt, n) for n in range(15))
        mean += loss**15 * tcp.loss_delay(rtt, 15)
        assert tcp.expected_extra_delay(rtt, loss) == pytest.approx(mean)


class TestOrder:
    """Segments of one connection stay in order."""

    @given(
        now=st.floats(0, 1e5),
        due=st.floats(0, 1e3),
        before=st.floats(0, 1e3),
    )
    def test_nothing_overtakes(self, now: float, due: float, before: float) -> None:
        """An event loop's sum with it is at or after the segment before, and hardly after what is due."""
        last = now + before
        arrival = now + tcp.in_order(now, now + due, last)
        assert arrival >= last
        assert arrival == pytest.approx(max(now + due, last), rel=1e-15, abs=1e-12)

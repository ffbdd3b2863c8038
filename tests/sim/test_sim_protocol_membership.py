"""Membership: suspicion, agreement, quorum and re-merge by messages, driven by a small event loop."""

from __future__ import annotations

from functools import partial
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from membership_cluster import RESOLUTION, Cluster

from sim.protocols import evs
from sim.protocols import membership as gm
from sim.protocols.tables import members_of

MEASURED_VIEWS = (
    (6.360, 6.475, 5.939, 6.120, 6.487, 6.106, 6.091, 6.072),
    (6.461, 6.616, 6.061, 6.241, 6.124, 5.199, 6.212, 6.192),
)
"""Seconds from a cut of one of three sites to its member's `galera.non-primary` and to the majority's view.

Local lab, iris-3site-galera at RTT 30 ms, 6 users; what benchmarks/galera_views.py measures."""


class TestStall:
    """How long writes hang (components.md 1.11; the measured numbers are at RTT 100 ms)."""

    def test_a_crash_of_one_of_three_stalls_for_suspicion_retransmission_and_some_round_trips(self) -> None:
        """Measured 6.2 s: 5-5.5 s less the age of the last message, 1 s until the next JOINs, 5..7 RTT."""
        cluster = Cluster(3, 0.05)
        cluster.run(10.0)
        gm.crash(cluster.group, 2)
        stall = max(cluster.sendable(m, 10.0) for m in (0, 1)) - 10.0
        assert 5.0 - 0.8 + 1.0 + 0.5 <= stall <= 5.5 + 1.0 + 0.7
        view_at = min(at for at, _ in cluster.installed[0])
        rounds = (10.0 + stall - view_at) / 0.1
        assert 3.9 <= rounds <= 6.1

    def test_agreement_waits_for_the_retransmission_timer(self) -> None:
        """From the first suspicion to the view 1 s and 1.5 to 3.5 RTT; the rest is round trips."""
        for n, one_way in ((3, 0.05), (4, 0.05), (3, 0.015), (5, 0.1)):
            cluster = Cluster(n, one_way)
            cluster.run(10.0)
            gm.crash(cluster.group, n - 1)
            cluster.run(14.0)
            while all(state == gm.OPERATIONAL for state in cluster.group.evs[:-1]):
                cluster.run(cluster.now + RESOLUTION)
            suspected = cluster.now
            resumed = cluster.sendable(0, suspected)
            installed = cluster.installed[0][0][0]
            assert 1.0 + 1.5 * 2 * one_way <= installed - suspected <= 1.0 + 3.5 * 2 * one_way + 0.05
            assert 2 * 2 * one_way <= resumed - installed <= 6.5 * 2 * one_way

    def test_members_that_suspect_together_agree_at_once(self) -> None:
        """Idle, with timers in step: the JOINs cross and say the same, nobody waits for a retransmission."""
        cluster = Cluster(3, 0.05)
        for member in range(3):
            cluster.group.check_at[member] = 0.2
            cluster.group.retrans_at[member] = 0.4
        cluster.run(10.0)
        gm.crash(cluster.group, 2)
        assert max(cluster.sendable(m, 10.0) for m in (0, 1)) - 10.0 <= 5.0 + 0.5 + 0.8

    def test_messages_under_way_make_them_wait_again(self) -> None:
        """The same with commits that hang at both: flushed late, they are missing in the other's JOIN."""
        cluster = Cluster(3, 0.03)
        for member in range(3):
            cluster.group.check_at[member] = 0.2
            cluster.group.retrans_at[member] = 0.4
        cluster.run(10.0)
        gm.crash(cluster.group, 2)
        for number in range(8):
            for member in (0, 1):
                step = evs.submit(cluster.views[0], member, number, 500)
                cluster.evs_step(member, 0, step)
            cluster.run(cluster.now + 0.5)
        stall = max(cluster.sendable(m, 14.0) for m in (0, 1)) - 10.0
        assert 6.0 <= stall <= 5.5 + 1.0 + 0.5

    def test_cut_off_members_match_the_lab(self) -> None:
        """Measured on the local lab at RTT 30 ms (see MEASURED_VIEWS): same mean and same range."""
        isolated, majority = [], []
        for number in range(12):
            cluster = Cluster(3, 0.015, phase=0.04 * (number + 1))
            cluster.every(0.13, 0.3, partial(cluster.write, number % 2))
            cluster.run(10.0 + 0.037 * number)
            began = cluster.now
            cluster.isolate([2])
            cluster.run(began + 8.0)
            isolated.append(cluster.first("galera.non-primary", 2) - began)
            majority.append(cluster.first("galera.view", 0) - began)
        for modelled, measured in zip((isolated, majority), MEASURED_VIEWS, strict=True):
            assert min(modelled) >= 5.0
            assert max(modelled) <= 6.7
            assert median(modelled) == pytest.approx(median(measured), abs=0.25)

    def test_a_graceful_leave_takes_about_eight_round_trips(self) -> None:
        """Measured 0.8 s at RTT 100; nothing is under way."""
        cluster = Cluster(3, 0.05)
        cluster.run(10.45)
        cluster.act(2, gm.leave(cluster.group, 2, cluster.now))
        stall = max(cluster.sendable(m, 10.45) for m in (0, 1)) - 10.45
        assert 0.6 <= stall <= 0.9
        assert {e.member for _, e in cluster.events if e.kind == "galera.non-primary"} == {2}

    def test_tuned_timers_shorten_the_stall(self) -> None:
        """Measured 1.3 s with keepalive 0.3, check 0.1, suspect 1 s at RTT 100, where all suspected together.

        Where they do not, the retransmission of JOINs adds up to a second.
        """
        stalls = []
        for number in range(8):
            cluster = Cluster(3, 0.05, phase=0.012 * number)
            cluster.group.timers = gm.Timers(
                suspect_timeout=1.0, inactive_check_period=0.1, keepalive_period=0.3, install_timeout=1.5
            )
            cluster.run(10.0)
            gm.crash(cluster.group, 2)
            stalls.append(cluster.sendable(0, 10.0) - 10.0)
        assert min(stalls) <= 1.6
        assert min(stalls) >= 0.7
        assert max(stalls) <= 1.1 + 1.0 + 0.8


class TestPartition:
    """Who stays primary, and what happens after (components.md 1.11, table of measured cases)."""

    def test_one_of_three_cut_off_loses_primary_and_comes_back(self) -> None:
        """Isolated: non-primary at 6-6.5 s, reads served until then; the merge stalls all for 1-1.8 s."""
        cluster = Cluster(3, 0.05)
        cluster.run(10.0)
        cluster.isolate([2])
        cluster.run(14.0)
        assert gm.is_ready(cluster.group, 2)
        cluster.run(30.0)
        lost = cluster.first("galera.non-primary", 2) - 10.0
        assert 5.0 <= lost <= 6.5
        assert not gm.is_ready(cluster.group, 2)
        assert gm.can_send(cluster.group, 0)
        assert cluster.group.mask[0] == 0b011
        cluster.heal()
        assert not gm.can_send(cluster.group, 0)
        back = cluster.sendable(0, 30.0) - 30.0
        assert 1.0 <= back <= 1.8
        cluster.run(32.0)
        assert cluster.group.mask == [0b111] * 3
        assert gm.is_joining(cluster.group, 2)
        assert not gm.is_ready(cluster.group, 2)
        gm.joined(cluster.group, 2)
        assert gm.is_ready(cluster.group, 2)
        assert not gm.is_joining(cluster.group, 0)

    def test_two_and_two_lose_primary_everywhere_and_heal_by_themselves(self) -> None:
        """Measured: total outage from 6.3 s, back 2.2 s after the link without an operator."""
        cluster = Cluster(4, 0.05)
        cluster.run(10.0)
        cluster.isolate([2, 3])
        cluster.run(20.0)
        assert [gm.is_ready(cluster.group, m) for m in range(4)] == [False] * 4
        assert all(5.0 <= cluster.first("galera.non-primary", m) - 10.0 <= 6.8 for m in range(4))
        cluster.heal()
        assert max(cluster.sendable(m, 20.0) for m in range(4)) - 20.0 <= 2.2
        assert cluster.group.mask == [0b1111] * 4

    def test_a_half_of_a_split_group_does_not_reform_alone(self) -> None:
        """Only all members of the last primary view together re-form it."""
        cluster = Cluster(4, 0.01)
        cluster.run(10.0)
        cluster.isolate([3])
        cluster.isolate([2])
        cluster.cut |= {frozenset((0, 1))}
        cluster.run(25.0)
        assert cluster.group.prim == [0] * 4
        cluster.cut = {pair for pair in cluster.cut if 3 in pair}
        for a, b in ((0, 1), (0, 2), (1, 2)):
            cluster.act(a, gm.reconnected(cluster.group, a, b, cluster.now))
            cluster.act(b, gm.reconnected(cluster.group, b, a, cluster.now))
        cluster.run(30.0)
        assert cluster.group.mask[0] == 0b0111
        assert cluster.group.prim[:3] == [0, 0, 0]

    def test_two_members_lose_primary_when_one_crashes(self) -> None:
        """n=2, kill 1: the survivor has half, which is not a majority; measured at 6.2 s."""
        cluster = Cluster(2, 0.05)
        cluster.run(10.0)
        gm.crash(cluster.group, 1)
        cluster.run(20.0)
        assert 5.2 <= cluster.first("galera.non-primary", 0) - 10.0 <= 6.5
        assert not gm.is_ready(cluster.group, 0)

    def test_two_members_stay_primary_when_one_leaves_gracefully(self) -> None:
        """2*1 + 1 > 2."""
        cluster = Cluster(2, 0.05)
        cluster.run(10.0)
        cluster.act(1, gm.leave(cluster.group, 1, cluster.now))
        cluster.run(20.0)
        assert gm.can_send(cluster.group, 0)
        assert cluster.group.mask[0] == 0b01

    def test_a_restarted_member_joins_again(self) -> None:
        """Crash, exclusion, start, connection: in the view and waiting for its state transfer."""
        cluster = Cluster(3, 0.02)
        cluster.run(10.0)
        gm.crash(cluster.group, 1)
        cluster.run(20.0)
        cluster.act(1, gm.start(cluster.group, 1, cluster.now))
        for peer in (0, 2):
            cluster.act(1, gm.reconnected(cluster.group, 1, peer, cluster.now))
            cluster.act(peer, gm.reconnected(cluster.group, peer, 1, cluster.now))
        cluster.run(22.0)
        assert cluster.group.mask == [0b111] * 3
        assert [gm.is_joining(cluster.group, m) for m in range(3)] == [False, True, False]

    def test_a_short_cut_changes_nothing(self) -> None:
        """Silence below suspect_timeout is forgotten."""
        cluster = Cluster(3, 0.05)
        cluster.run(10.0)
        cluster.isolate([0])
        cluster.run(13.0)
        cluster.cut = set()
        for call in cluster.held:
            cluster.at(13.0, call)
        cluster.run(30.0)
        assert cluster.group.view == [0, 0, 0]


class TestQuorum:
    """2 W(present) + W(left) > W(previous)."""

    @given(n=st.integers(1, 7), mask=st.integers(0, 127))
    def test_two_components_are_never_both_primary(self, n: int, mask: int) -> None:
        """Any partition in two, equal weights: at most one side has quorum."""
        everyone = (1 << n) - 1
        side = mask & everyone
        other = everyone & ~side
        weights = [1] * n
        assert not (gm.has_quorum(side, 0, everyone, weights) and gm.has_quorum(other, 0, everyone, weights))

    @given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=7), mask=st.integers(0, 127))
    def test_weights_keep_it_so(self, weights: list[int], mask: int) -> None:
        """Also for any weights; with ignore_sb only an even split makes two."""
        everyone = (1 << len(weights)) - 1
        side = mask & everyone
        other = everyone & ~side
        both = [gm.has_quorum(s, 0, everyone, weights) for s in (side, other)]
        assert not all(both)
        brave = [gm.has_quorum(s, 0, everyone, weights, ignore_sb=True) for s in (side, other)]
        even = sum(weights[m] for m in members_of(side)) == sum(weights[m] for m in members_of(other))
        assert all(brave) == even

    def test_a_heavy_member_carries_its_side_through_an_even_cut(self) -> None:
        """2+2 with weights 2,1,1,1: the side with weight 3 of 5 survives (components.md 1.13)."""
        weights = [2, 1, 1, 1]
        assert gm.has_quorum(0b0011, 0, 0b1111, weights)
        assert not gm.has_quorum(0b1100, 0, 0b1111, weights)
        assert not gm.has_quorum(0b1110 & 0b1100, 0, 0b1111, weights)

    @given(
        n=st.integers(2, 5),
        isolated=st.sets(st.integers(0, 4), min_size=1, max_size=4),
        phase=st.floats(0.01, 0.49),
    )
    @settings(max_examples=15, deadline=None)
    def test_the_message_exchange_never_makes_two_primaries(
        self, n: int, isolated: set[int], phase: float
    ) -> None:
        """Whatever is cut: at most one component sends after it, and after the heal all are together."""
        isolated = {m for m in isolated if m < n}
        if not isolated or len(isolated) == n:
            return
        cluster = Cluster(n, 0.02, phase)
        cluster.run(5.0)
        cluster.isolate(sorted(isolated))
        for when in (8.0, 10.5, 11.0, 16.0):
            cluster.run(when)
            components = {cluster.group.mask[m] for m in range(n) if gm.can_send(cluster.group, m)}
            assert len(components) <= 1
        cluster.heal()
        cluster.run(20.0)
        assert cluster.group.mask == [(1 << n) - 1] * n
        assert all(gm.can_send(cluster.group, m) for m in range(n))


class TestChaos:
    """Cuts and heals at any moment, also in the middle of an agreement."""

    @given(
        n=st.integers(2, 5),
        plan=st.lists(
            st.tuples(st.floats(0.05, 7.0), st.sets(st.integers(0, 4), max_size=4), st.booleans()), max_size=8
        ),
        one_way=st.sampled_from([0.002, 0.03, 0.1]),
    )
    @settings(max_examples=60, deadline=None)
    def test_never_two_primaries_and_together_again_in_the_end(
        self, n: int, plan: list[tuple[float, set[int], bool]], one_way: float
    ) -> None:
        """Views that can send always intersect, so only the newest can order; in the end all are together.

        A member that has not noticed yet that it is cut off still has its old view, in which
        nothing becomes safe any more.
        """
        cluster = Cluster(n, one_way)
        cluster.run(5.0)
        when = 5.0
        for pause, side, heal in plan:
            when += pause
            cluster.run(when)
            masks = [cluster.group.mask[m] for m in range(n) if gm.can_send(cluster.group, m)]
            assert all(a & b for a in masks for b in masks)
            if heal:
                cluster.heal()
            else:
                cluster.isolate(sorted(m for m in side if m < n))
        cluster.heal()
        cluster.run(when + 60.0)
        assert cluster.group.mask == [(1 << n) - 1] * n
        assert all(gm.can_send(cluster.group, m) for m in range(n))

    def test_a_second_crash_during_the_agreement_is_survived(self) -> None:
        """Five members: another dies between JOIN and INSTALL; the other three go on."""
        for moment in (5.0, 5.1, 5.3, 5.6, 5.8):
            cluster = Cluster(5, 0.1)
            cluster.run(10.0)
            gm.crash(cluster.group, 4)
            cluster.run(10.0 + moment)
            gm.crash(cluster.group, 0)
            cluster.run(30.0)
            assert [cluster.group.mask[m] for m in (1, 2, 3)] == [0b01110] * 3
            assert all(gm.can_send(cluster.group, m) for m in (1, 2, 3))

    def test_a_member_that_was_stopped_looks_again_before_it_suspects(self) -> None:
        """After a pause of its own the first look is skipped."""
        group = gm.new_group(3)
        gm.check(group, 0, 0.5)
        assert not gm.check(group, 0, 9.0).sends
        assert gm.check(group, 0, 9.5).sends

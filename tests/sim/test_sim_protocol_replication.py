"""Asynchronous and semi-synchronous replication (components.md section 2)."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import replication as rp


class TestAsync:
    """Acknowledge first."""

    def test_commits_do_not_wait(self) -> None:
        """Measured 1.2 ms: no WAN in it."""
        source = rp.new_source(2)
        assert rp.write(source, 0.0) == rp.Commit(1, -inf)
        assert not rp.received(source, 0, 1)

    def test_promotion_loses_what_had_not_arrived(self) -> None:
        """RPO = committed at the primary, not received by the chosen replica."""
        source = rp.new_source(2)
        for _ in range(10):
            rp.write(source, 0.0)
        rp.received(source, 0, 6)
        rp.received(source, 1, 8)
        assert rp.best_replica(source, [True, True]) == 1
        assert rp.lost_on_promotion(source, 1) == [9, 10]
        assert rp.best_replica(source, [True, False]) == 0
        assert rp.best_replica(source, [False, False]) == -1

    def test_the_sql_thread_is_serial(self) -> None:
        """Lag grows when applying is slower than writing."""
        source = rp.new_source(1)
        done = [rp.apply(source, 0, p, 0.002, p * 0.001) for p in range(1, 101)]
        assert done[-1] == pytest.approx(0.001 + 100 * 0.002)
        assert all(b - a >= 0.002 - 1e-12 for a, b in pairwise(done))
        rp.visible(source, 0, 7)
        assert source.applied == [7]

    def test_a_replica_that_returns_gets_what_it_missed(self) -> None:
        """From its relay log's end."""
        source = rp.new_source(1)
        for _ in range(5):
            rp.write(source, 0.0)
        rp.received(source, 0, 2)
        rp.disconnected(source, 0)
        assert source.connected == [False]
        assert rp.reconnected(source, 0) == [3, 4, 5]

    def test_a_silent_link_is_noticed_after_a_minute_and_retried_every_minute(self) -> None:
        """slave_net_timeout 60 s (measured 61 s), Connect_Retry 60 s."""
        assert rp.reconnect_at(cut=100.0, healed=110.0, phase=10.0) == 150.0
        assert rp.reconnect_at(cut=100.0, healed=151.0, phase=10.0) == 210.0
        assert rp.reconnect_at(cut=100.0, healed=400.0, phase=0.0) == 400.0


class TestSemiSync:
    """Wait for one replica."""

    def test_the_first_acknowledgement_answers(self) -> None:
        """Measured 102 ms at RTT 100: the nearest replica's RTT."""
        source = rp.new_source(2, semi_sync=True)
        assert rp.write(source, 5.0) == rp.Commit(1, 15.0)
        rp.write(source, 5.0)
        assert rp.received(source, 1, 2)
        assert rp.acknowledged(source, 1, 2) == [1, 2]
        assert rp.acknowledged(source, 0, 2) == []

    def test_the_timeout_turns_it_off_until_a_replica_has_caught_up(self) -> None:
        """The next commit waits out 10 s and succeeds; then none waits; then all do again."""
        source = rp.new_source(1, semi_sync=True)
        rp.write(source, 0.0)
        rp.write(source, 4.0)
        assert rp.timed_out(source, 1) == [1, 2]
        assert rp.timed_out(source, 2) == []
        assert rp.write(source, 11.0).waits_until == -inf
        assert rp.acknowledged(source, 0, 2) == []
        assert not source.active
        rp.acknowledged(source, 0, 3)
        assert source.active
        assert rp.write(source, 20.0).waits_until == 30.0

    @given(st.lists(st.tuples(st.sampled_from(["write", "ack", "timeout"]), st.integers(1, 30)), max_size=60))
    def test_every_client_is_answered_exactly_once(self, plan: list[tuple[str, int]]) -> None:
        """By an acknowledgement, by the timeout, or at once."""
        source = rp.new_source(1, semi_sync=True)
        answered: list[int] = []
        for action, number in plan:
            if action == "write":
                commit = rp.write(source, 0.0)
                if commit.waits_until == -inf:
                    answered.append(commit.position)
            elif action == "ack":
                answered += rp.acknowledged(source, 0, min(number, source.position))
            else:
                answered += rp.timed_out(source, number)
        answered += rp.timed_out(source, source.waiting[0]) if source.waiting else []
        assert sorted(answered) == list(range(1, source.position + 1))

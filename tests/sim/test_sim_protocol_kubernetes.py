"""Kubernetes' own rules against their closed forms and against what was seen on kind clusters."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols.kubernetes_kubelet import (
    BackOff,
    ProbeSettings,
    container_ended,
    container_started,
    ending,
    is_due,
    longest_to_ill,
    new_prober,
    restart_at,
    result,
)
from sim.protocols.kubernetes_nodes import (
    NodeMonitor,
    evicted_at,
    evicts,
    look,
    not_ready_bounds,
    report_due,
    reported,
    zone_state,
)
from sim.protocols.kubernetes_services import (
    ReplyLimit,
    Runner,
    began,
    condition,
    replies,
    request,
    usable,
)
from sim.protocols.kubernetes_workloads import Node, may_evict, place, roll

# -- kubelet ---------------------------------------------------------------------------------


def test_backoff_series() -> None:
    """Restarts of a container that dies at once: immediate, then after 10, 20, 40, ... 300 s."""
    backoff, now, waits = BackOff(), 0.0, []
    for _ in range(9):
        at = restart_at(backoff, now, now)
        waits.append(at - now)
        now = at
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_backoff_is_forgotten_after_ten_minutes() -> None:
    """A container that ran for more than twice the longest back-off is restarted at once again."""
    backoff = BackOff()
    restart_at(backoff, 0.0, 0.0)
    assert restart_at(backoff, 5.0, 5.0) == 15.0
    assert restart_at(backoff, 15.0 + 599, 15.0 + 599) > 15 + 599  # ten minutes are not over
    last = backoff.updated_at
    assert restart_at(backoff, last + 601, last + 601) == last + 601


def test_backoff_counts_from_the_death() -> None:
    """Time that passed between the death and the kubelet's look at it is part of the wait."""
    backoff = BackOff()
    restart_at(backoff, 0.0, 0.7)
    assert restart_at(backoff, 30.0, 30.9) == 40.0


@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=30), st.floats(1.0, 600.0))
def test_backoff_never_exceeds_its_cap(runs: list[float], most: float) -> None:
    """Whatever the container does, it waits between nothing and the longest back-off."""
    backoff, now = BackOff(most), 0.0
    for run in runs:
        died = now + run
        now = restart_at(backoff, died, died)
        assert 0 <= now - died <= most + 1e-6


def test_hung_container_is_ill_after_21_to_31_seconds() -> None:
    """With the default probe a container that stops answering is noticed as components.md 6.1 says."""
    settings = ProbeSettings()
    for phase in (0.001, 2.5, 7.0, 9.999):  # until the next tick
        prober = new_prober(settings)
        container_started(prober, -100.0)
        assert result(prober, True) == "healthy"
        tick, ill = phase, None
        while ill is None:
            if result(prober, False) == "ill":
                ill = tick + settings.timeout
            tick += settings.period
        assert 21 <= ill <= longest_to_ill(settings)
    assert longest_to_ill(settings) == 31


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_probe_value_changes_only_after_a_run(success: int, failure: int, answers: list[bool]) -> None:
    """A readiness probe's value is that of the last run of answers that was long enough."""
    prober = new_prober(ProbeSettings(success_threshold=success, failure_threshold=failure))
    container_started(prober, 0.0)
    value, last, run = False, None, 0
    for ok in answers:
        run = run + 1 if ok == last else 1
        last = ok
        before = value
        if run >= (success if ok else failure):
            value = ok
        changed = result(prober, ok)
        assert prober.healthy == value
        assert bool(changed) == (value != before)


def test_container_that_ended_is_not_ready_at_once() -> None:
    """Thresholds do not delay what the kubelet knows: without a container nothing is ready."""
    prober = new_prober(ProbeSettings(initial_delay=5.0))
    container_started(prober, 10.0)
    assert not is_due(prober, 14.9)
    assert is_due(prober, 15.0)
    result(prober, True)
    container_ended(prober)
    assert not prober.healthy
    assert not is_due(prober, 1e6)


def test_liveness_probe_holds_until_the_next_container() -> None:
    """A container that failed its liveness probe is not probed again before it was replaced."""
    prober = new_prober(ProbeSettings(failure_threshold=2), liveness=True)
    container_started(prober, 0.0)
    assert prober.healthy
    assert [result(prober, False), result(prober, False)] == ["", "ill"]
    assert not is_due(prober, 100.0)
    container_started(prober, 200.0)
    assert prober.healthy
    assert is_due(prober, 200.0)


@pytest.mark.parametrize(
    ("grace", "pre_stop", "term", "kill"),
    [(30, 0, 0, 30), (30, 5, 5, 30), (30, 30, 30, 32), (30, 60, 30, 32), (0, 0, 0, 2), (1, 0, 0, 2)],
)
def test_signals_of_an_end(grace: float, pre_stop: float, term: float, kill: float) -> None:
    """SIGTERM waits for the pre-stop hook, and SIGKILL leaves the process two seconds at least."""
    assert ending(grace, pre_stop) == (term, kill)


# -- nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace", "renewal", "period", "seen"),
    [(50.0, 10.0, 5.0, (50.2, 51.8)), (12.0, 3.0, 2.0, (10.9, 13.8))],
)
def test_lost_nodes_seen_on_kind(
    grace: float, renewal: float, period: float, seen: tuple[float, ...]
) -> None:
    """Nodes that were paused or cut off on kind 0.30 counted as lost within the monitor's bounds."""
    least, most = not_ready_bounds(grace, renewal, period)
    assert all(least <= value <= most for value in seen)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(2, 30), st.integers(1, 5))
def test_monitor_keeps_its_bounds(a: float, b: float, c: float, rounds: int, period: int) -> None:
    """Run tick by tick, a node that dies at any moment is declared lost within the closed form's bounds."""
    renewal = period * (0.5 + a)
    grace = rounds * period + 2 * renewal
    monitor = NodeMonitor.of(1, grace)
    death = 100.0 + 10 * c
    phase = period * b
    last = renewal * int(death / renewal)
    tick, lost = phase, None
    while lost is None:
        seen = renewal * int(tick / renewal) if tick < death else last
        if look(monitor, tick, [seen]):
            lost = tick
        tick += period
    least, most = not_ready_bounds(grace, renewal, period)
    assert least - 1e-6 <= lost - death <= most + period * (ceil(grace / period) == grace / period) + 1e-6


def test_eviction_waits_for_the_toleration() -> None:
    """Evicted 20 s after the taint, as seen on kind (50.2 -> 70.1 s and 51.8 -> 71.9 s)."""
    for lost, gone in ((50.2, 70.1), (51.8, 71.9)):
        assert evicted_at(lost, 20.0) == pytest.approx(gone, abs=0.3)


def test_whole_zones_are_left_alone() -> None:
    """Nobody is evicted where every node is lost, or more than half of at least three."""
    assert [zone_state(3, 1), zone_state(2, 3), zone_state(0, 1)] == ["normal", "partial", "full"]
    assert evicts(1, 1)
    assert evicts(1, 2)
    assert not evicts(0, 1)


def test_node_that_reports_again_is_ready() -> None:
    """A kubelet's own report makes the node ready, and is news only once."""
    monitor = NodeMonitor.of(1, 10.0)
    assert look(monitor, 11.0, [0.0]) == [(0, False)]
    assert look(monitor, 12.0, [0.0]) == []
    assert reported(monitor, 0, 20.0)
    assert not reported(monitor, 0, 21.0)
    assert look(monitor, 29.0, [0.0]) == []


def test_a_posted_status_gives_a_lost_node_one_more_round() -> None:
    """The controller forgets the lease with the old status, and takes it for a new one a round later.

    As on kind: lease renewed 1.7 s before the node lost its power, grace period 12 s, rounds of 2 s;
    it counted as lost after 14.5 s, where lease and grace period alone give 12.5 s at most.
    """
    lost = {}
    for status in (False, True):
        monitor = NodeMonitor.of(1, 12.0)
        for now in (33.5 + 2.01 * n for n in range(12)):
            if status and now > 34.9 and not monitor.posted[0]:
                reported(monitor, 0, 34.9)
            if look(monitor, now, [33.4]):
                lost[status] = now - 35.0
    assert lost == {False: pytest.approx(10.56), True: pytest.approx(14.58)}


def test_an_unchanged_status_is_posted_now_and_then() -> None:
    """At once when the API has it that the node is lost, else after the report frequency."""
    monitor = NodeMonitor.of(1, 12.0)
    assert not report_due(monitor, 0, 9.0, 10.0)
    assert report_due(monitor, 0, 10.0, 10.0)
    monitor.ready[0] = False
    assert report_due(monitor, 0, 1.0, 10.0)


# -- Services --------------------------------------------------------------------------------


def test_terminating_endpoints_serve_only_when_nothing_else_does() -> None:
    """Ready ones first; a terminating one that still serves is better than a rejection."""
    ready, leaving = condition(True, True, False), condition(True, True, True)
    ill = condition(True, False, False)
    assert usable([leaving, ready, ill]) == [1]
    assert usable([leaving, ill]) == [0]
    assert usable([ill]) == []
    assert usable([condition(True, False, True)]) == []


def test_addresses_published_before_they_are_ready() -> None:
    """Peers find each other through Services that publish what is not ready, also while it goes away."""
    assert usable([condition(True, False, False, publish_not_ready=True)]) == [0]
    assert usable([condition(True, False, True, publish_not_ready=True)]) == [0]
    assert usable([condition(False, False, False, publish_not_ready=True)]) == []


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60), st.floats(0.1, 2.0))
def test_rules_are_written_no_more_often_than_allowed(gaps: list[float], interval: float) -> None:
    """In any stretch of time kube-proxy runs at most twice more than minSyncPeriod allows."""
    runner, now, runs = Runner(interval), 0.0, []
    for gap in gaps:
        now += gap
        while runner.due <= now:
            runs.append(runner.due)
            began(runner, runner.due)
        due = request(runner, now)
        assert now <= due <= now + interval + 1e-9
    for first in range(len(runs)):
        for last in range(first, len(runs)):
            assert last - first + 1 <= (runs[last] - runs[first]) / interval + 2 + 1e-6


def test_rejections_are_told_six_times_and_then_once_a_second() -> None:
    """As seen on kind 0.30 after a pod's deletion: refusals at 39.48 ... 39.83, 40.48 and 41.46 s."""
    limit = ReplyLimit()
    told = [at / 40 for at in range(120) if replies(limit, 39.48 + at / 40)]
    assert told[:6] == [at / 40 for at in range(6)]
    assert len(told) == 6 + 2
    assert told[7] - told[6] == pytest.approx(1.0)


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=100))
def test_replies_keep_their_rate(gaps: list[float]) -> None:
    """Never more than six and one a second, and never silent to a host that asks once in a while."""
    limit, now, sent = ReplyLimit(), 0.0, 0
    for gap in gaps:
        now += gap
        sent += replies(limit, now)
        assert sent <= 6 + now + 1e-9
    assert replies(limit, now + 6.0)


# -- workloads -------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 3))
def test_a_rolling_update_keeps_its_limits(replicas: int, surge: int, unavailable: int) -> None:
    """At every step there are enough ready pods and not too many pods, and it comes to an end."""
    unavailable = min(replicas, unavailable if surge or unavailable else 1)
    old, new = replicas, 0
    for _ in range(4 * replicas):
        step = roll(replicas, surge, unavailable, old, new, old + new)
        old, new = old - step.delete, new + step.create
        assert old + new <= replicas + surge
        assert old + new - step.create >= replicas - unavailable
        if not old and new == replicas:
            break
    assert (old, new) == (0, replicas)


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_budget_lets_only_so_many_go(total: int, budget: int) -> None:
    """Evicting while it is allowed leaves total less budget pods, or none."""
    ready = total
    while ready and may_evict(ready, total, budget):
        ready -= 1
    assert ready == max(0, total - budget)


def test_pods_of_a_service_keep_apart() -> None:
    """Another replica's node is avoided before a busy one; cordoned nodes and foreign volumes never fit."""
    assert place([Node(0.1, same=1), Node(3.0)], 0.2) == 1
    assert place([Node(0.1), Node(3.0)], 0.2) == 0
    assert place([Node(0.1, open=False)], 0.2) is None
    assert place([Node(0.1), Node(3.0)], 0.2, only=1) == 1
    assert place([Node(0.1), Node(3.0, open=False)], 0.2, only=1) is None

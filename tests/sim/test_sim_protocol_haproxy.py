"""HAProxy: checks, choice of server, retries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import haproxy as hp


def up(proxy: hp.Proxy) -> None:
    """Two good checks of every server: fully healthy."""
    for server in range(len(proxy.health)):
        hp.check_result(proxy, server, True)


def time_down(proxy: hp.Proxy, phase: float, duration: float) -> float:
    """Seconds from a failure until the server is DOWN; ``duration`` of a failing check."""
    at = phase
    while True:
        at += duration
        if hp.check_result(proxy, 0, False) == "down":
            return at
        at += hp.next_check(proxy, 0)


class TestChecks:
    """Health counter and detection times (components.md 4.1)."""

    @pytest.mark.parametrize("phase", [0.0, 0.7, 1.99])
    def test_refused_checks_take_the_server_down_after_four_to_six_seconds(self, phase: float) -> None:
        """U(0, inter) + (fall - 1) * inter; measured 4.8-5.9 s with the defaults."""
        proxy = hp.new_proxy(2)
        up(proxy)
        assert time_down(proxy, phase, 0.0) == pytest.approx(phase + 4.0)

    @pytest.mark.parametrize("phase", [0.0, 1.99])
    def test_hung_checks_take_it_down_after_ten_to_twelve_seconds(self, phase: float) -> None:
        """U(0, inter) + fall * timeout + (fall - 1) * inter, the timeout being inter."""
        proxy = hp.new_proxy(2)
        up(proxy)
        assert time_down(proxy, phase, hp.check_timeout(proxy)) == pytest.approx(phase + 10.0)

    def test_the_first_failed_check_after_the_start_is_enough(self) -> None:
        """Servers start UP but one check away from DOWN."""
        assert hp.check_result(hp.new_proxy(1), 0, False) == "down"

    def test_rise_checks_bring_it_back(self) -> None:
        """(rise - 1) further checks after the first good one."""
        proxy = hp.new_proxy(1)
        hp.check_result(proxy, 0, False)
        assert [hp.check_result(proxy, 0, True) for _ in range(3)] == ["", "up", ""]

    def test_one_good_check_forgives_earlier_failures(self) -> None:
        """Fall counts failures in a row."""
        proxy = hp.new_proxy(1)
        up(proxy)
        results = [hp.check_result(proxy, 0, ok) for ok in (False, False, True, False, False, False)]
        assert results == ["", "", "", "", "", "down"]

    def test_fastinter_and_downinter(self) -> None:
        """Between up and down, and when down."""
        proxy = hp.new_proxy(1, check=hp.Check(2.0, 3, 2, fastinter=0.5, downinter=7.0))
        up(proxy)
        assert hp.next_check(proxy, 0) == 2.0
        hp.check_result(proxy, 0, False)
        assert hp.next_check(proxy, 0) == 0.5
        hp.check_result(proxy, 0, False)
        hp.check_result(proxy, 0, False)
        assert hp.next_check(proxy, 0) == 7.0

    @given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
    def test_state_is_what_the_last_checks_say(self, results: list[bool], fall: int, rise: int) -> None:
        """DOWN after fall failures in a row, UP after rise successes in a row, else unchanged."""
        proxy = hp.new_proxy(1, check=hp.Check(2.0, fall, rise))
        hp.check_result(proxy, 0, True)
        state, bad, good = True, 0, 0
        for ok in results:
            bad, good = (0, good + 1) if ok else (bad + 1, 0)
            change = hp.check_result(proxy, 0, ok)
            expected = False if state and bad >= fall else True if not state and good >= rise else state
            assert change == ("" if expected == state else "up" if expected else "down")
            state = expected
            assert hp.is_up(proxy, 0) == state


class TestChoice:
    """Balancing."""

    @given(st.integers(1, 6), st.integers(1, 200))
    def test_roundrobin_is_fair(self, servers: int, requests: int) -> None:
        """No two servers differ by more than one request."""
        proxy = hp.new_proxy(servers)
        picks = [hp.choose(proxy) for _ in range(requests)]
        counts = [picks.count(server) for server in range(servers)]
        assert max(counts) - min(counts) <= 1

    def test_weights_share_proportionally(self) -> None:
        """3:1."""
        proxy = hp.new_proxy(2, weights=[3, 1])
        picks = [hp.choose(proxy) for _ in range(400)]
        assert abs(picks.count(0) - 300) <= 1

    def test_a_returning_server_gets_its_share_not_the_backlog(self) -> None:
        """After a long absence requests still alternate."""
        proxy = hp.new_proxy(2)
        hp.check_result(proxy, 0, False)
        for _ in range(1000):
            assert hp.choose(proxy) == 1
        hp.check_result(proxy, 0, True)
        hp.check_result(proxy, 0, True)
        picks = [hp.choose(proxy) for _ in range(10)]
        assert abs(picks.count(0) - picks.count(1)) <= 1

    def test_leastconn_prefers_the_idle_server(self) -> None:
        """Fewest sessions first, equal ones in turn."""
        proxy = hp.new_proxy(3, balance="leastconn")
        hp.opened(proxy, 0)
        hp.opened(proxy, 2)
        hp.opened(proxy, 2)
        assert hp.choose(proxy) == 1
        hp.opened(proxy, 1)
        picks = [hp.choose(proxy)]
        hp.opened(proxy, picks[0])
        picks.append(hp.choose(proxy))
        assert sorted(picks) == [0, 1]
        hp.opened(proxy, picks[1])
        hp.closed(proxy, 2)
        hp.closed(proxy, 2)
        assert hp.choose(proxy) == 2

    def test_backups_serve_only_when_no_other_is_up(self) -> None:
        """And only the first of them, unless allbackups."""
        for allbackups, expected in ((False, {1}), (True, {1, 2})):
            proxy = hp.new_proxy(3, backup=[False, True, True], allbackups=allbackups)
            assert {hp.choose(proxy) for _ in range(4)} == {0}
            hp.check_result(proxy, 0, False)
            assert {hp.choose(proxy) for _ in range(4)} == expected

    def test_no_server_up_means_none(self) -> None:
        """503 at once."""
        proxy = hp.new_proxy(1)
        hp.check_result(proxy, 0, False)
        assert hp.choose(proxy) == -1

    def test_avoiding_a_failed_server_falls_back_to_it_when_alone(self) -> None:
        """Redispatch with a single server."""
        assert hp.choose(hp.new_proxy(2), avoid=0) == 1
        assert hp.choose(hp.new_proxy(1), avoid=0) == 0


def outcome(settings: hp.Retries, refused: bool, others: int) -> tuple[float, int]:
    """Play failed attempts on one server: (seconds until the end, 503 or 200 from another server)."""
    at, attempt = 0.0, 0
    while True:
        at += 0.0 if refused else settings.connect
        decision = hp.retry(settings, attempt, refused, others + 1)
        if decision.status:
            return at, decision.status
        at += decision.delay
        if decision.redispatch and others:
            return at, 200
        attempt += 1


class TestRetries:
    """A failing server that is still UP (components.md 4.2)."""

    def test_refused_without_redispatch_is_503_after_three_seconds(self) -> None:
        """Measured 3.01 s."""
        assert outcome(hp.Retries(), True, 2) == (3.0, 503)

    def test_refused_with_redispatch_is_served_elsewhere_at_once(self) -> None:
        """Measured 200 after 0.00 s with roundrobin."""
        assert outcome(hp.Retries(redispatch=True), True, 2) == (0.0, 200)

    def test_black_hole_without_redispatch_takes_four_connect_timeouts(self) -> None:
        """20 s with Debian's connect timeout of 5 s, no pause in between."""
        assert outcome(hp.Retries(), False, 2) == (20.0, 503)

    def test_backups_are_no_reason_to_redispatch(self) -> None:
        """Only active servers count: with none up, the last retry alone asks another backup."""
        proxy = hp.new_proxy(3, backup=[False, True, True], allbackups=True)
        assert hp.count_active(proxy) == 1
        hp.check_result(proxy, 0, False)
        assert hp.count_active(proxy) == 0
        assert hp.retry(hp.Retries(redispatch=True), 0, True, 0) == (0, 1.0, False)
        assert hp.retry(hp.Retries(redispatch=True), 2, True, 0) == (0, 1.0, True)

    def test_a_server_gone_down_leaves_a_pause_before_the_only_other_one(self) -> None:
        """One active server is left: it is asked, but only after the second that spares a server alone."""
        settings = hp.Retries(redispatch=True)
        assert hp.retry(settings, 0, True, 1, still_up=False) == (0, 1.0, True)
        assert hp.retry(settings, 0, True, 2, still_up=False) == (0, 0.0, True)
        assert hp.retry(settings, 0, False, 1, still_up=False) == (0, 0.0, True)

    def test_a_short_connect_timeout_shortens_the_pause(self) -> None:
        """min(timeout connect, 1 s)."""
        seconds, status = outcome(hp.Retries(connect=0.2), True, 0)
        assert seconds == pytest.approx(0.6)
        assert status == 503

    def test_failures_after_the_connection_have_their_own_status(self) -> None:
        """504, 502, 503."""
        assert [hp.status_of(f) for f in ("timeout", "closed", "queue")] == [504, 502, 503]
        with pytest.raises(KeyError):
            hp.status_of("bored")

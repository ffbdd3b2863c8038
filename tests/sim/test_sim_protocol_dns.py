"""gdnsd monitors, multifo answers, clients' caches (components.md 5.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import dns


def monitor(first: bool, **thresholds: float) -> dns.Monitor:
    """A monitor in a stable state."""
    fresh = dns.Monitor(dns.Thresholds(**thresholds))  # type: ignore[arg-type]
    dns.check_result(fresh, first)
    return fresh


class TestMonitor:
    """up_thresh 20, ok_thresh 10, down_thresh 10, interval 10 s."""

    @pytest.mark.parametrize("phase", [0.0, 9.9])
    @pytest.mark.parametrize("cost", [0.0, 5.0])
    def test_down_after_ninety_to_hundred_and_five_seconds(self, phase: float, cost: float) -> None:
        """U(0, 10) + 9 * 10 + (0 refused | 5 hung)."""
        watched = monitor(True)
        checks = next(i for i in range(1, 99) if dns.check_result(watched, False) == "down")
        assert dns.timeout_of(watched.thresholds) == 5.0
        assert 90.0 <= phase + (checks - 1) * watched.thresholds.interval + cost <= 105.0

    def test_up_after_twenty_good_checks_in_a_row(self) -> None:
        """A failure in between starts the count again."""
        watched = monitor(False)
        assert [dns.check_result(watched, True) for _ in range(19)] == [""] * 19
        assert dns.check_result(watched, False) == ""
        assert [dns.check_result(watched, True) for _ in range(20)][-1] == "up"

    def test_failures_need_not_be_consecutive(self) -> None:
        """Nine good checks do not clear the record, ten do."""
        watched = monitor(True, down=2)
        dns.check_result(watched, False)
        for _ in range(9):
            dns.check_result(watched, True)
        assert dns.check_result(watched, False) == "down"
        watched = monitor(True, down=2)
        dns.check_result(watched, False)
        for _ in range(10):
            dns.check_result(watched, True)
        assert dns.check_result(watched, False) == ""

    def test_the_first_result_is_taken_as_it_is(self) -> None:
        """Right after the start."""
        assert monitor(False).up is False
        assert monitor(True).up is True

    @given(st.lists(st.booleans(), max_size=100))
    def test_changes_alternate_and_match_the_state(self, results: list[bool]) -> None:
        """Every reported change flips the state; without one it stays."""
        watched = monitor(True, up=3, ok=2, down=2)
        for ok in results:
            before = watched.up
            change = dns.check_result(watched, ok)
            assert change == ("" if watched.up == before else "up" if watched.up else "down")
            assert watched.failures < 2
            assert watched.successes < 3


class TestAnswer:
    """multifo and the dynamic TTL."""

    def test_all_are_returned_below_the_threshold(self) -> None:
        """Half must be up (default 0.5, rounded up)."""
        assert dns.answer([True, False, False]) == [0, 1, 2]
        assert dns.answer([True, True, False]) == [0, 1]
        assert dns.answer([True, False]) == [0]
        assert dns.answer([False, False]) == [0, 1]

    @given(st.lists(st.booleans(), min_size=1, max_size=9), st.floats(0.01, 1.0))
    def test_the_answer_is_never_empty(self, up: list[bool], fraction: float) -> None:
        """Either the live ones, or everybody."""
        answer = dns.answer(up, fraction)
        alive = [i for i, ok in enumerate(up) if ok]
        assert answer in (alive, list(range(len(up))))
        assert answer

    def test_the_ttl_shrinks_while_failures_build_up(self) -> None:
        """(down_thresh - failures) * interval, within [MAX/2, MAX]."""
        watched = monitor(True)
        assert dns.time_to_live([watched], 60.0) == 60.0
        for _ in range(6):
            dns.check_result(watched, False)
        assert dns.time_to_live([watched], 60.0) == 40.0
        assert dns.time_to_live([watched], 60.0, minimum=5.0) == 40.0
        for _ in range(3):
            dns.check_result(watched, False)
        assert dns.time_to_live([watched], 60.0) == 30.0
        assert dns.time_to_live([watched], 60.0, minimum=5.0) == 10.0


class TestCache:
    """A client's resolver."""

    def test_the_ttl_is_obeyed_unless_the_client_knows_better(self) -> None:
        """JVMs keep an answer 30 s whatever the TTL."""
        obedient, stubborn = dns.Cache(), dns.Cache(fixed=30.0)
        for cache in (obedient, stubborn):
            assert dns.cached(cache, 0.0) == ()
            dns.store(cache, [1, 2], 5.0, 10.0)
        assert dns.cached(obedient, 14.9) == (1, 2)
        assert dns.cached(obedient, 15.0) == ()
        assert dns.cached(stubborn, 39.9) == (1, 2)
        assert dns.cached(stubborn, 40.0) == ()

"""nginx: weighted round robin and passive health (components.md 4.3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import nginx


class TestBalancing:
    """Smooth weighted round robin."""

    @given(st.integers(1, 6), st.integers(1, 100))
    def test_equal_peers_get_equal_shares(self, peers: int, requests: int) -> None:
        """Counts differ by one at most."""
        group = nginx.new_group(peers)
        picks = [nginx.choose(group, 0.0) for _ in range(requests)]
        counts = [picks.count(peer) for peer in range(peers)]
        assert max(counts) - min(counts) <= 1

    def test_weights_are_interleaved(self) -> None:
        """5:1:1 gives a a b a c a a, the example of nginx's own commit message."""
        group = nginx.new_group(3, weights=[5, 1, 1])
        assert [nginx.choose(group, 0.0) for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]


class TestPassiveHealth:
    """max_fails and fail_timeout."""

    def test_a_failed_peer_is_benched_for_fail_timeout_then_tried_by_one_request(self) -> None:
        """10 s after the failure one live request probes it; meanwhile others still avoid it."""
        group = nginx.new_group(2)
        nginx.failed(group, 0, 5.0)
        assert all(nginx.choose(group, float(t)) == 1 for t in range(5, 16))
        picks = [nginx.choose(group, 16.0) for _ in range(6)]
        assert picks.count(0) == 1

    def test_success_on_trial_clears_the_record(self) -> None:
        """Then it takes its share again."""
        group = nginx.new_group(2)
        nginx.failed(group, 0, 5.0)
        while nginx.choose(group, 16.0) != 0:
            pass
        nginx.succeeded(group, 0)
        picks = [nginx.choose(group, 17.0) for _ in range(20)]
        assert 9 <= picks.count(0) <= 11

    def test_success_of_a_request_sent_before_the_failure_does_not_clear_it(self) -> None:
        """Only a request of the trial counts."""
        group = nginx.new_group(2)
        nginx.failed(group, 0, 5.0)
        nginx.succeeded(group, 0)
        assert nginx.is_benched(group, 0, 6.0)

    def test_a_single_peer_is_never_benched(self) -> None:
        """max_fails has no effect."""
        group = nginx.new_group(1)
        for t in range(5):
            nginx.failed(group, 0, float(t))
        assert nginx.choose(group, 5.0) == 0
        assert nginx.choose(group, 5.0, tried=1) == -1

    def test_all_benched_means_no_live_upstreams(self) -> None:
        """502."""
        group = nginx.new_group(2)
        nginx.failed(group, 0, 1.0)
        nginx.failed(group, 1, 1.0)
        assert nginx.choose(group, 2.0) == -1
        assert nginx.status_of(False) == 502
        assert nginx.status_of(True) == 504

    def test_a_request_does_not_try_a_peer_twice(self) -> None:
        """Each try excludes the peers before it."""
        group = nginx.new_group(3)
        first = nginx.choose(group, 0.0)
        second = nginx.choose(group, 0.0, tried=1 << first)
        assert second not in (first, -1)
        third = nginx.choose(group, 0.0, tried=1 << first | 1 << second)
        assert sorted([first, second, third]) == [0, 1, 2]

    def test_a_post_that_was_sent_is_not_retried(self) -> None:
        """No non_idempotent."""
        assert not nginx.may_retry(sent=True, idempotent=False)
        assert nginx.may_retry(sent=False, idempotent=False)
        assert nginx.may_retry(sent=True, idempotent=True)

    def test_more_fails_allowed_by_max_fails(self) -> None:
        """Three strikes."""
        group = nginx.new_group(2, max_fails=3)
        for _ in range(2):
            nginx.failed(group, 0, 1.0)
        assert not nginx.is_benched(group, 0, 2.0)
        nginx.failed(group, 0, 1.0)
        assert nginx.is_benched(group, 0, 2.0)

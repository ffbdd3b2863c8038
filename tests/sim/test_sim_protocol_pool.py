"""FIFO pools of threads and connections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import pool as pools


class TestPool:
    """First come, first served."""

    def test_waiting_tickets_are_served_in_order(self) -> None:
        """And nobody passes them when one comes free."""
        pool = pools.new_pool(1)
        assert pools.acquire(pool, 1, 0.0)
        assert not pools.acquire(pool, 2, 1.0)
        assert not pools.acquire(pool, 3, 2.0)
        assert [pools.release(pool, 3.0) for _ in range(3)] == [2, 3, -1]
        assert pool.busy == 0

    def test_a_ticket_that_gave_up_is_skipped(self) -> None:
        """Expire says whether it was still waiting."""
        pool = pools.new_pool(1, timeout=30.0)
        pools.acquire(pool, 1, 0.0)
        pools.acquire(pool, 2, 0.0)
        pools.acquire(pool, 3, 0.0)
        assert pools.expire(pool, 2)
        assert not pools.expire(pool, 2)
        assert pools.release(pool, 30.0) == 3
        assert not pools.expire(pool, 3)

    def test_the_backlog_is_limited(self) -> None:
        """Beyond it nothing waits."""
        pool = pools.new_pool(1, backlog=1)
        pools.acquire(pool, 1, 0.0)
        pools.acquire(pool, 2, 0.0)
        assert pools.is_full(pool)
        assert not pools.acquire(pool, 3, 0.0)
        assert pools.release(pool, 1.0) == 2
        assert pools.release(pool, 2.0) == -1

    def test_releasing_an_idle_pool_is_an_error(self) -> None:
        """A programming mistake must not pass."""
        with pytest.raises(ValueError, match="nothing in use"):
            pools.release(pools.new_pool(1), 0.0)

    def test_clear_names_who_was_waiting(self) -> None:
        """The process died: all of them have to be told."""
        pool = pools.new_pool(1)
        for ticket in range(4):
            pools.acquire(pool, ticket, 0.0)
        pools.expire(pool, 2)
        assert pools.clear(pool) == [1, 3]
        assert pools.acquire(pool, 9, 0.0)

    @given(st.integers(1, 4), st.lists(st.sampled_from(["acquire", "release", "expire"]), max_size=100))
    def test_never_more_in_use_than_there_are_and_none_idle_while_one_waits(
        self, capacity: int, actions: list[str]
    ) -> None:
        """Conservation, for any schedule; served in order of arrival."""
        pool = pools.new_pool(capacity)
        served: list[int] = []
        waiting: list[int] = []
        in_use = 0
        for ticket, action in enumerate(actions):
            if action == "acquire":
                if pools.acquire(pool, ticket, float(ticket)):
                    in_use += 1
                else:
                    waiting.append(ticket)
            elif action == "release" and in_use:
                following = pools.release(pool, float(ticket))
                if following < 0:
                    in_use -= 1
                else:
                    assert following == waiting.pop(0)
                    served.append(following)
            elif action == "expire" and waiting:
                assert pools.expire(pool, waiting.pop())
            assert pool.busy == in_use <= capacity
            assert not (waiting and in_use < capacity)
        assert served == sorted(served)

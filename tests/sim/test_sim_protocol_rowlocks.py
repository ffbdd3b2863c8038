"""InnoDB row locks around token_scope (facts/iam.md 2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import rowlocks as rl
from sim.protocols.rowlocks import INSERT, RANGE, RECORD

TOKEN_SCOPE = 0


class TestTokenScope:
    """T1, T1', T9."""

    def test_issuances_do_not_hinder_each_other(self) -> None:
        """Insert intentions are compatible."""
        locks = rl.new_locks()
        assert all(rl.acquire(locks, tx, TOKEN_SCOPE, INSERT).granted for tx in range(10))

    def test_a_refresh_blocks_all_issuances_until_it_commits(self) -> None:
        """T1' on one member: the range lock of the clear-access-tokens DELETE keeps inserts out."""
        locks = rl.new_locks()
        assert rl.acquire(locks, 1, TOKEN_SCOPE, RANGE).granted
        assert [rl.acquire(locks, tx, TOKEN_SCOPE, INSERT).granted for tx in (2, 3)] == [False, False]
        assert rl.release(locks, 1) == [(2, TOKEN_SCOPE), (3, TOKEN_SCOPE)]

    def test_a_refresh_waits_until_no_insert_is_open_and_later_inserts_pass_it(self) -> None:
        """The DELETE waits for a row, not at the end of the index, where inserts go.

        Tried on MariaDB 10.11.19: inserts took a millisecond meanwhile, and the DELETE waited for them too.
        """
        locks = rl.new_locks()
        rl.acquire(locks, 1, TOKEN_SCOPE, INSERT)
        assert not rl.acquire(locks, 2, TOKEN_SCOPE, RANGE).granted
        assert rl.acquire(locks, 3, TOKEN_SCOPE, INSERT).granted
        assert rl.release(locks, 1) == []
        assert rl.release(locks, 3) == [(2, TOKEN_SCOPE)]
        assert not rl.acquire(locks, 4, TOKEN_SCOPE, INSERT).granted

    def test_two_refreshes_run_one_after_the_other(self) -> None:
        """Both scan the same rows."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, TOKEN_SCOPE, RANGE)
        assert not rl.acquire(locks, 2, TOKEN_SCOPE, RANGE).granted
        assert rl.release(locks, 1) == [(2, TOKEN_SCOPE)]

    def test_a_refresh_may_insert_into_what_it_has_locked(self) -> None:
        """Its own new token comes after its own DELETE."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, TOKEN_SCOPE, RANGE)
        assert rl.acquire(locks, 1, TOKEN_SCOPE, INSERT).granted

    def test_an_applier_aborts_the_refresh_and_passes_all_waiters(self) -> None:
        """T1 on two members: an issuance committed elsewhere kills the open refresh."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, TOKEN_SCOPE, RANGE)
        rl.acquire(locks, 2, TOKEN_SCOPE, RANGE)
        assert rl.brute_force(locks, 99, TOKEN_SCOPE, INSERT) == [1]
        assert not rl.acquire_first(locks, 99, TOKEN_SCOPE, INSERT).granted
        assert rl.release(locks, 1) == [(99, TOKEN_SCOPE)]
        assert rl.brute_force(locks, 99, TOKEN_SCOPE, INSERT) == []

    def test_appliers_do_not_abort_each_other_or_compatible_holders(self) -> None:
        """Write sets that may be applied together share; inserts of clients stay."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, TOKEN_SCOPE, INSERT)
        rl.acquire(locks, 50, 7, RECORD)
        assert rl.brute_force(locks, 99, TOKEN_SCOPE, INSERT) == []
        assert rl.brute_force(locks, 99, 7, RECORD, frozenset({50})) == []
        assert rl.brute_force(locks, 99, 7, RECORD) == [50]


class TestDeadlock:
    """Wait-for cycles."""

    def test_the_requester_is_the_victim_of_a_tie(self) -> None:
        """Two rows in opposite order."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, 10, RECORD)
        rl.acquire(locks, 2, 20, RECORD)
        assert rl.acquire(locks, 1, 20, RECORD) == rl.Acquired(False, -1)
        assert rl.acquire(locks, 2, 10, RECORD) == rl.Acquired(False, 2)
        assert rl.release(locks, 2) == [(1, 20)]

    def test_the_lightest_is_the_victim(self) -> None:
        """It has changed the fewest rows."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, 10, RECORD)
        rl.acquire(locks, 2, 20, RECORD)
        rl.acquire(locks, 1, 20, RECORD)
        assert rl.acquire(locks, 2, 10, RECORD, {1: 3, 2: 50}).victim == 1
        assert rl.release(locks, 1) == [(2, 10)]

    def test_two_inserts_that_both_want_the_range_are_a_deadlock(self) -> None:
        """Upgrading a shared position is the classic case."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, 0, INSERT)
        rl.acquire(locks, 2, 0, INSERT)
        assert rl.acquire(locks, 1, 0, RANGE).victim == -1
        assert rl.acquire(locks, 2, 0, RANGE).victim == 2

    def test_giving_up_keeps_what_is_held(self) -> None:
        """Error 1205 rolls back the statement, not the transaction."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, 10, RECORD)
        rl.acquire(locks, 2, 20, RECORD)
        rl.acquire(locks, 2, 10, RECORD)
        rl.acquire(locks, 3, 10, RECORD)
        assert rl.give_up(locks, 2) == []
        assert rl.release(locks, 1) == [(3, 10)]
        assert not rl.acquire(locks, 4, 20, RECORD).granted

    def test_a_waiting_transaction_cannot_ask_for_more(self) -> None:
        """It is suspended in its statement."""
        locks = rl.new_locks()
        rl.acquire(locks, 1, 10, RECORD)
        rl.acquire(locks, 2, 10, RECORD)
        with pytest.raises(ValueError, match="already waits"):
            rl.acquire(locks, 2, 11, RECORD)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7), st.integers(0, 2), st.sampled_from([INSERT, RANGE, RECORD]), st.booleans()
        ),
        max_size=80,
    )
)
def test_no_incompatible_holders_and_nobody_is_forgotten(plan: list[tuple[int, int, int, bool]]) -> None:
    """For any schedule: holders are compatible; with victims rolled back, everybody is served in the end."""
    locks = rl.new_locks()
    for tx, resource, mode, end in plan:
        if end:
            rl.release(locks, tx)
        elif tx not in locks.blocked:
            answer = rl.acquire(locks, tx, resource, mode)
            while answer.victim >= 0:
                victim = answer.victim
                rl.release(locks, victim)
                if victim == tx:
                    break
                answer = rl.Acquired(tx not in locks.blocked, -1)
        for holders in locks.holders.values():
            for index, (one, held) in enumerate(holders):
                for other, wanted in holders[index + 1 :]:
                    assert one == other or rl.compatible(held, wanted)
    for _ in range(len(plan) + 1):
        for tx in range(8):
            if tx not in locks.blocked:
                rl.release(locks, tx)
    assert locks.blocked == {}
    assert all(not queue for queue in locks.waiting.values())

"""Rows that expire: who sees them, who may delete them, what is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import certification, expiry
from sim.protocols.expiry import HOLDERS, NO_TOKEN, NOTHING, TOKEN, TOKEN_OF_REFRESH_TOKEN, TOKENS


def issued(count: int, lifetime: float = 10.0) -> tuple[expiry.Rows, expiry.Rows]:
    """Tables after ``count`` client tokens, one per second, by the transactions 1, 2, ..."""
    tokens, holders = expiry.new_rows(8), expiry.new_rows(8)
    for seqno in range(1, count + 1):
        expiry.ordered(tokens, holders, seqno, float(seqno), 0, NOTHING, 0, TOKEN, 2, lifetime)
    return tokens, holders


def page(rows: expiry.Rows, now: float, visible: int, limit: int = 100) -> list[int]:
    """Numbers on a page."""
    found = [0] * limit
    return found[: expiry.page(rows, now, visible, limit, found)]


class TestPages:
    """What a cleaner reads."""

    def test_the_oldest_that_are_due_and_visible(self) -> None:
        """Expired by now, inserted as far as the member has got, as many as the page holds."""
        tokens, _ = issued(6)
        assert page(tokens, now=10.9, visible=6) == []
        assert page(tokens, now=13.0, visible=6) == [1, 2, 3]
        assert page(tokens, now=13.0, visible=2) == [1, 2]
        assert page(tokens, now=16.0, visible=6, limit=4) == [1, 2, 3, 4]

    def test_a_member_that_is_behind_still_sees_what_is_gone_elsewhere(self) -> None:
        """The delete counts where it is visible."""
        tokens, holders = issued(3)
        expiry.ordered(tokens, holders, 7, 20.0, 1, TOKENS, 2, NO_TOKEN, -2, 10.0)
        assert page(tokens, now=20.0, visible=6) == [1, 2, 3]
        assert page(tokens, now=20.0, visible=7) == [1, 3]


class TestHolders:
    """The holder of a token that is gone."""

    def test_of_a_client_token_is_an_orphan(self) -> None:
        """It may be deleted at once, where the token's delete is visible."""
        tokens, holders = issued(1)
        expiry.ordered(tokens, holders, 2, 20.0, 1, TOKENS, 1, NO_TOKEN, -2, 10.0)
        assert page(holders, now=20.0, visible=1) == []
        assert page(holders, now=20.0, visible=2) == [1]
        expiry.ordered(tokens, holders, 3, 21.0, 1, HOLDERS, 1, NO_TOKEN, 0, 10.0)
        assert page(holders, now=21.0, visible=3) == []

    def test_that_a_refresh_token_refers_to_is_none(self) -> None:
        """It lives as long as the refresh token."""
        tokens, holders = expiry.new_rows(8), expiry.new_rows(8)
        expiry.ordered(tokens, holders, 1, 1.0, 0, NOTHING, 0, TOKEN_OF_REFRESH_TOKEN, 4, 10.0)
        expiry.ordered(tokens, holders, 2, 20.0, 1, TOKENS, 1, NO_TOKEN, -4, 10.0)
        assert page(holders, now=99.0, visible=2) == []

    def test_a_clearing_refresh_hands_its_scopes_on(self) -> None:
        """The table of scopes stays as long as it was; cleaning the new token takes them all."""
        tokens, holders = expiry.new_rows(8), expiry.new_rows(8)
        first = expiry.ordered(tokens, holders, 1, 1.0, 0, NOTHING, 0, TOKEN_OF_REFRESH_TOKEN, 4, 10.0)
        second = expiry.ordered(tokens, holders, 2, 2.0, 0, NOTHING, first, TOKEN_OF_REFRESH_TOKEN, 0, 10.0)
        assert not expiry.exists(tokens, first, 2)
        assert expiry.scopes_of(tokens, second) == 4


class TestRaces:
    """Two deletes of one row."""

    @given(
        seen=st.integers(1, 9),
        first=st.integers(2, 9),
        members=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    )
    def test_end_as_certification_says(self, seen: int, first: int, members: tuple[int, int]) -> None:
        """The rule is that of two exclusive keys in Galera's index."""
        tokens, holders = issued(1)
        winner, loser = members
        expiry.ordered(tokens, holders, first, 20.0, winner, TOKENS, 1, NO_TOKEN, -2, 10.0)
        index = certification.new_index()
        keys = (certification.key(1, certification.EXCLUSIVE),)
        certification.certify(index, certification.WriteSet(winner, 0, keys), first)
        verdict = certification.certify(index, certification.WriteSet(loser, seen, keys), 10)
        assert expiry.loses(tokens, 1, seen, loser) == (not verdict.ok)

    def test_a_row_that_everybody_has_seen_go_cannot_be_deleted_again(self) -> None:
        """Its entry is no longer there; a delete that was under way fails all the same."""
        tokens, holders = issued(2)
        expiry.ordered(tokens, holders, 3, 20.0, 0, TOKENS, 1, NO_TOKEN, -2, 10.0)
        expiry.forget(tokens, 3)
        assert expiry.loses(tokens, 1, last_seen=2, member=1)
        assert not expiry.exists(tokens, 1, visible=3)


@given(st.lists(st.sampled_from(["issue", "clean", "forget", "grow"]), max_size=60))
def test_a_ring_holds_what_a_plain_list_would(steps: list[str]) -> None:
    """Whatever is inserted, deleted, forgotten, and however often the ring is made longer."""
    tokens, holders = expiry.new_rows(2), expiry.new_rows(64)
    alive: list[int] = []
    seqno = 0
    for step in steps:
        if step == "issue":
            if expiry.is_full(tokens):
                tokens = expiry.longer(tokens)
            seqno += 1
            alive.append(expiry.ordered(tokens, holders, seqno, float(seqno), 0, NOTHING, 0, TOKEN, 2, 0.0))
        elif step == "clean" and alive:
            seqno += 1
            gone = alive.pop(len(alive) // 2)
            expiry.ordered(tokens, holders, seqno, float(seqno), 0, TOKENS, gone, NO_TOKEN, -2, 0.0)
        elif step == "forget":
            expiry.forget(tokens, seqno)
        elif step == "grow":
            tokens = expiry.longer(tokens)
        assert page(tokens, now=1e9, visible=seqno) == alive
    expiry.forget(tokens, seqno)
    assert tokens.ends[0] == (alive[0] if alive else tokens.ends[1])

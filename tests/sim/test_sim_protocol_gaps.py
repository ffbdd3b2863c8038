"""Where tokens go in InnoDB's indexes, and which gaps are locked there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import gaps


def ascending(rows: int, count: int, step: int = 1) -> tuple[gaps.Edge, list[int]]:
    """A table after ``count`` ascending inserts, and what each of them locked."""
    edge = gaps.new_edge(rows)
    return edge, [gaps.insert(edge, key) for key in range(1, count * step + 1, step)]


class TestKeys:
    """Auto-increment keys of a cluster."""

    @given(top=st.integers(0, 10**9), members=st.integers(1, 7), data=st.data())
    def test_are_interleaved(self, top: int, members: int, data: st.DataObject) -> None:
        """The next key of a member is its own in the rotation, and the first one above all it has seen."""
        member = data.draw(st.integers(0, members - 1))
        key = gaps.next_key(top, member, members)
        assert top < key <= top + members
        assert key % members == member % members


class TestPages:
    """Leaf pages of the clustered index."""

    def test_every_sixteenth_token_begins_a_page(self) -> None:
        """Seen on MariaDB 10.11.19 with tokens of 800 characters: one lock in 16 inserts."""
        _, locked = ascending(gaps.page_rows(920), 161)
        assert [place for place, below in enumerate(locked) if below] == list(range(16, 161, 16))
        assert locked[16] == 16

    def test_an_insert_in_the_middle_splits_in_halves(self) -> None:
        """No new row is the first of its page then; the half that stays has room again."""
        edge, _ = ascending(4, 4, step=10)  # 1, 11, 21, 31
        assert gaps.insert(edge, 15) == 0
        assert list(edge.keys[: edge.numbers[gaps.ROWS]]) == [21, 31]
        assert edge.numbers[gaps.BEFORE] == 15

    def test_a_late_lower_key_finds_the_page_before_full(self) -> None:
        """It becomes the first of the last page: the gap below it is locked like any other."""
        edge, locked = ascending(4, 5, step=10)
        assert locked[-1] == 31
        assert gaps.insert(edge, 35) == 31
        assert gaps.insert(edge, 33) == 31

    @given(
        rows=st.integers(2, 9),
        keys=st.lists(st.integers(1, 400), min_size=1, max_size=120, unique=True),
    )
    def test_the_page_stays_sorted_and_the_gap_lies_below_the_key(self, rows: int, keys: list[int]) -> None:
        """Whatever order keys come in."""
        edge = gaps.new_edge(rows)
        for count, key in enumerate(keys, 1):
            below = gaps.insert(edge, key)
            page = list(edge.keys[: edge.numbers[gaps.ROWS]])
            assert page == sorted(page)
            assert len(page) <= rows
            assert set(page) <= set(keys[:count])
            assert edge.numbers[gaps.TOP] == max(keys[:count])
            assert edge.numbers[gaps.BEFORE] < page[0]
            assert below == 0 or below < key
            assert 0 <= edge.numbers[gaps.ROOM] <= rows


class TestFamilies:
    """The gaps on both sides of a refresh token's access tokens."""

    def test_a_new_refresh_token_meets_the_scan_for_the_youngest(self) -> None:
        """Its access token goes behind all others, where only the scan for the last one has locked."""
        families = gaps.new_families()
        for token in (3, 6, 9):
            gaps.remember(families, token)
        assert gaps.is_beside(families, 12, True, 9)
        assert not gaps.is_beside(families, 12, True, 6)

    def test_a_refreshed_token_goes_behind_its_old_one(self) -> None:
        """That is below the next refresh token's: only a scan for the next one is met."""
        families = gaps.new_families()
        for token in (3, 6, 9):
            gaps.remember(families, token)
        assert gaps.is_beside(families, 6, False, 9)
        assert not gaps.is_beside(families, 3, False, 9)
        assert not gaps.is_beside(families, 9, False, 6)

    def test_the_oldest_are_forgotten(self) -> None:
        """As many as there are places are known."""
        families = gaps.new_families()
        for token in range(1, gaps.COUNT + 3):
            gaps.remember(families, token)
            gaps.remember(families, token)
        assert set(families.keys) == set(range(3, gaps.COUNT + 3))

"""Galera certification: table, window, source rule, brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import certification as cert
from sim.protocols.certification import EXCLUSIVE, REFERENCE, SHARED, UPDATE, WriteSet, key

KINDS = [EXCLUSIVE, UPDATE, REFERENCE, SHARED]

CONFLICTS = {
    (EXCLUSIVE, EXCLUSIVE), (EXCLUSIVE, UPDATE), (EXCLUSIVE, REFERENCE), (EXCLUSIVE, SHARED),
    (UPDATE, EXCLUSIVE), (UPDATE, UPDATE), (REFERENCE, EXCLUSIVE),
}  # fmt: skip
"""(found, new) pairs marked C in components.md 1.4."""

DEPENDENCIES = {
    (UPDATE, REFERENCE), (UPDATE, SHARED), (REFERENCE, UPDATE), (SHARED, EXCLUSIVE), (SHARED, UPDATE),
}  # fmt: skip
"""Pairs marked D."""


def pair(found: int, new: int, source: int = 1, last_seen: int = 0) -> cert.Verdict:
    """Verdict on a second write set on the same row after one of member 0 was ordered as 1."""
    index = cert.new_index()
    assert cert.certify(index, WriteSet(0, 0, (key(9, found),)), 1).ok
    return cert.certify(index, WriteSet(source, last_seen, (key(9, new),)), 2)


class TestTable:
    """The conflict table of galera/src/certification.cpp, as components.md 1.4 gives it."""

    @pytest.mark.parametrize("found", KINDS)
    @pytest.mark.parametrize("new", KINDS)
    def test_every_pair_of_key_types(self, found: int, new: int) -> None:
        """C: the later one of two members loses; D: it only has to be applied after; blank: nothing."""
        verdict = pair(found, new)
        assert verdict.ok == ((found, new) not in CONFLICTS)
        expected = 1 if (found, new) in CONFLICTS | DEPENDENCIES else -1
        assert verdict.depends == expected

    def test_a_child_insert_and_a_parent_update_do_not_conflict(self) -> None:
        """Measured 5/5: FK child insert (RE on the parent) against a non-key update of the parent (UP)."""
        assert pair(UPDATE, REFERENCE).ok
        assert pair(REFERENCE, UPDATE).ok

    def test_two_token_issuances_for_one_client_do_not_conflict(self) -> None:
        """T2 of facts/iam.md 2.1: shared FK key on client_details, fresh primary keys."""
        index = cert.new_index()
        one = WriteSet(0, 5, (key(1, REFERENCE), key(100, EXCLUSIVE)))
        two = WriteSet(1, 5, (key(1, REFERENCE), key(101, EXCLUSIVE)))
        assert cert.certify(index, one, 6).ok
        assert cert.certify(index, two, 7).ok

    def test_deleting_the_parent_beats_a_later_child_insert(self) -> None:
        """The child's insert gets 1213 (measured)."""
        assert not pair(EXCLUSIVE, REFERENCE).ok


class TestWindow:
    """What `last_seen` does."""

    def test_a_write_set_that_was_seen_is_no_conflict(self) -> None:
        """global_seqno must be greater than last_seen."""
        assert not pair(EXCLUSIVE, EXCLUSIVE, last_seen=0).ok
        assert pair(EXCLUSIVE, EXCLUSIVE, last_seen=1).ok

    def test_the_same_member_never_conflicts_with_itself(self) -> None:
        """Row locks have put its transactions in order already."""
        assert pair(EXCLUSIVE, EXCLUSIVE, source=0).ok

    def test_a_schema_change_conflicts_whatever_the_source(self) -> None:
        """TOI statements are not excused by the source rule."""
        index = cert.new_index()
        assert cert.certify(index, WriteSet(0, 0, (key(9, EXCLUSIVE),), toi=True), 1).ok
        assert not cert.certify(index, WriteSet(0, 0, (key(9, UPDATE),)), 2).ok

    def test_too_long_an_interval_fails(self) -> None:
        """cert.max_length 16384."""
        index = cert.new_index()
        assert cert.certify(index, WriteSet(0, 0, ()), cert.MAX_LENGTH).ok
        assert not cert.certify(index, WriteSet(0, 0, ()), cert.MAX_LENGTH + 1).ok

    def test_a_loser_leaves_no_trace(self) -> None:
        """A write set that failed is not in the index."""
        index = cert.new_index()
        cert.certify(index, WriteSet(0, 0, (key(1, EXCLUSIVE),)), 1)
        assert not cert.certify(index, WriteSet(1, 0, (key(1, EXCLUSIVE), key(2, EXCLUSIVE))), 2).ok
        assert cert.certify(index, WriteSet(2, 0, (key(2, EXCLUSIVE),)), 3).ok


write_sets = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 8),
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(KINDS)), max_size=4),
    ),
    max_size=40,
)


def run(history: list[tuple[int, int, list[tuple[int, int]]]], purge_at: int = 0) -> list[cert.Verdict]:
    """Certify a history in order; ``last_seen`` is so many behind."""
    index = cert.new_index()
    verdicts = []
    for seqno, (source, behind, rows) in enumerate(history, start=1):
        write_set = WriteSet(source, max(0, seqno - 1 - behind), tuple(key(r, k) for r, k in rows))
        verdicts.append(cert.certify(index, write_set, seqno))
        if purge_at and seqno % purge_at == 0:
            cert.purge(index, seqno - 10)
    return verdicts


class TestProperties:
    """For any history."""

    @given(write_sets)
    def test_certification_is_deterministic(
        self, history: list[tuple[int, int, list[tuple[int, int]]]]
    ) -> None:
        """All members come to the same verdicts."""
        assert run(history) == run(history)

    @given(write_sets)
    def test_one_writer_never_conflicts(self, history: list[tuple[int, int, list[tuple[int, int]]]]) -> None:
        """Same-source pairs pass whatever they touch."""
        assert all(v.ok for v in run([(0, behind, rows) for _, behind, rows in history]))

    @given(write_sets)
    def test_seeing_everything_means_passing(
        self, history: list[tuple[int, int, list[tuple[int, int]]]]
    ) -> None:
        """Nothing conflicts when last_seen is the write set just before."""
        assert all(v.ok for v in run([(source, 0, rows) for source, _, rows in history]))

    @given(write_sets, st.integers(1, 5))
    def test_purging_what_all_have_committed_changes_no_verdict(
        self, history: list[tuple[int, int, list[tuple[int, int]]]], every: int
    ) -> None:
        """Entries at or below every later last_seen cannot conflict."""
        plain, purged = run(history), run(history, every)
        assert [v.ok for v in plain] == [v.ok for v in purged]
        assert [v.against for v in plain] == [v.against for v in purged]


class TestBruteForce:
    """What an applier does to a local transaction in its way (components.md 1.5)."""

    def test_a_transaction_that_is_not_ordered_yet_is_rolled_back(self) -> None:
        """Executing or waiting for its place in the order: 1213."""
        assert cert.brute_force(cert.EXECUTING, -1, 10) == cert.ROLLBACK
        assert cert.brute_force(cert.REPLICATING, -1, 10) == cert.ROLLBACK
        assert cert.DEADLOCK.code == 1213

    def test_one_ordered_later_is_replayed_and_one_ordered_before_is_left_alone(self) -> None:
        """MUST_REPLAY, or the applier waits for its commit."""
        assert cert.brute_force(cert.ORDERED, 11, 10) == cert.REPLAY
        assert cert.brute_force(cert.ORDERED, 9, 10) == cert.KEEP

    def test_only_single_statements_are_retried(self) -> None:
        """wsrep_retry_autocommit counts down."""
        assert cert.after_conflict(True, 1) == cert.RETRY
        assert cert.after_conflict(True, 0) == cert.ROLLBACK
        assert cert.after_conflict(False, 5) == cert.ROLLBACK

    def test_only_interrupted_commits_and_lost_servers_leave_doubt(self) -> None:
        """components.md 1.6."""
        assert cert.COMMIT_INTERRUPTED.in_doubt
        assert cert.SERVER_LOST.in_doubt
        assert not (cert.DEADLOCK.in_doubt or cert.NOT_READY.in_doubt or cert.CANNOT_CONNECT.in_doubt)
        assert (cert.COMMIT_INTERRUPTED.code, cert.NOT_READY.code) == (1180, 1047)

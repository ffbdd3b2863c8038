"""Gap locks of a database member, which the inserts of other members meet: `sim.protocols.gaps`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sim.protocols import gaps

if TYPE_CHECKING:
    from sim.engine.database import Transaction


class Gaps:
    """Where tokens stand in the indexes of one member, and who has locked gaps there.

    Args:
        rows: access tokens in a leaf page.
        index: of the member.
        members: of the cluster; their auto-increment keys are interleaved.
    """

    def __init__(self, rows: int, index: int = 0, members: int = 1) -> None:
        self._index, self._members = index, members
        self._edge = gaps.new_edge(rows)
        self._families = gaps.new_families()
        self._top = 0  # highest refresh token
        self._below = 0  # transactions that have locked a gap below their token
        self._scanner: Transaction | None = None
        self._scanning = 0
        self._waits = False

    # -- local transactions --------------------------------------------------------------------

    def insert(self, transaction: Transaction, family: int, fresh: bool) -> None:
        """``transaction`` inserts its access token, of the refresh token ``family`` or of a fresh one."""
        transaction.token = gaps.next_key(self._edge.numbers[gaps.TOP], self._index, self._members)
        transaction.below = gaps.insert(self._edge, transaction.token)
        if transaction.below:
            self._below += 1
        if fresh:
            family = self._top = gaps.next_key(self._top, self._index, self._members)
        transaction.family, transaction.fresh = family, fresh
        if family:
            gaps.remember(self._families, family)

    def scan(self, transaction: Transaction, family: int) -> None:
        """The clear-access-tokens delete of ``transaction`` reads its first row; others wait for that one."""
        transaction.clears = True
        self._scanner, self._scanning, self._waits = transaction, family, False

    def wait(self) -> None:
        """It has read all rows but those of open transactions."""
        self._waits = True

    def passed(self) -> None:
        """It has all of `token_scope`: whatever is applied meets that lock."""
        self._scanner = None

    def end(self, transaction: Transaction) -> None:
        """The transaction lets go of its locks."""
        if transaction.below:
            transaction.below = 0
            self._below -= 1
        if self._scanner is transaction:
            self._scanner = None

    def forget(self) -> None:
        """The process died: what was locked is free."""
        self._below = 0
        self._scanner = None

    # -- write sets of other members -----------------------------------------------------------

    def met(self, applied: Transaction, local: Iterable[Transaction]) -> list[Transaction]:
        """Transactions among ``local`` whose locks are in the way of a write set."""
        found: list[Transaction] = []
        scanner = self._scanner
        if scanner is not None and (
            # The rows it deletes are young: a scan that waits near the end has passed them.
            (self._waits and (applied.clears or applied.rows < 0))
            or (
                applied.family != 0
                and gaps.is_beside(self._families, applied.family, applied.fresh, self._scanning)
            )
        ):
            found.append(scanner)
        if self._below:
            found += [one for one in local if one.below and one.below < applied.token < one.token]
        return found

    def arrive(self, applied: Transaction) -> None:
        """A write set's tokens are in the indexes."""
        if applied.token:
            gaps.insert(self._edge, applied.token)
        if applied.family:
            self._top = max(self._top, applied.family)
            gaps.remember(self._families, applied.family)

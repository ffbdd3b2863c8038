"""Rows that expire and are deleted by somebody else than their owner: who sees which, and who loses.

A table keeps one entry per row, in the order in which the rows were inserted by the total order: when it
was inserted and deleted (seqnos) and when it is due. A row exists at a member that has made its insert
visible and its delete not yet. Entries go once every member has seen the delete, so a table holds what is
alive, whatever was issued before: a ring, not a history. Counts per time bucket would be smaller still, but
could not say that two cleaners delete the *same* row, which is what costs the loser its work.
Source: facts/iam.md 2.1 (T5), 2.3; certification of two deletes of a row: `sim.protocols.certification`
(EXCLUSIVE against EXCLUSIVE).

Example:
    >>> rows = new_rows()
    >>> insert(rows, seqno=7, due=3600.0, scopes=2, kept=0)
    1
    >>> found = [0] * 100
    >>> page(rows, now=3000.0, visible=7, limit=100, found=found)
    0
    >>> page(rows, now=3600.0, visible=7, limit=100, found=found), found[0]
    (1, 1)
    >>> page(rows, now=3600.0, visible=6, limit=100, found=found)      # a member that is behind
    0
    >>> delete(rows, 1, seqno=9, member=0)
    >>> exists(rows, 1, visible=8), exists(rows, 1, visible=9)
    (True, False)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sim.protocols.tables import Floats, Ints

NOTHING, TOKENS, HOLDERS = 0, 1, 2
"""What a transaction cleans up: nothing, an access token, the holder of one that is gone."""

NO_TOKEN, TOKEN_OF_REFRESH_TOKEN, TOKEN = 0, 1, 2
"""What a transaction issues: no access token, one whose holder a refresh token refers to as well, one
whose holder is an orphan once the token is gone."""

CAPACITY = 1024
"""Entries of a fresh table; a power of two."""


class Rows(NamedTuple):
    """A table, as a ring of entries: that of row n stands at n modulo the length of the columns.

    Attributes:
        ends: number of the oldest row that is kept, number of the next row to come.
        inserted: seqno of the insert.
        deleted: seqno of the delete that won, 0 until there is one.
        deleter: member that it came from.
        scopes: rows of token_scope that go with it.
        kept: 1 if a refresh token goes on referring to the holder.
        due: when it may be deleted, seconds; never before an older row.
    """

    ends: Ints
    inserted: Ints
    deleted: Ints
    deleter: Ints
    scopes: Ints
    kept: Ints
    due: Floats


def new_rows(capacity: int = CAPACITY) -> Rows:
    """An empty table; ``capacity`` is a power of two."""
    inserted, deleted, deleter, scopes, kept = ([0] * capacity for _ in range(5))
    return Rows([1, 1], inserted, deleted, deleter, scopes, kept, [0.0] * capacity)


def is_full(rows: Rows) -> bool:
    """Whether a longer table is needed before the next insert."""
    return rows.ends[1] - rows.ends[0] >= len(rows.inserted)


def longer(rows: Rows) -> Rows:
    """The same entries in a table twice as long."""
    old, fresh = len(rows.inserted), new_rows(2 * len(rows.inserted))
    fresh.ends[:] = rows.ends
    columns: list[tuple[list[Any], list[Any]]] = list(zip(rows[1:], fresh[1:], strict=True))
    for number in range(rows.ends[0], rows.ends[1]):
        for column, copy in columns:
            copy[number % (2 * old)] = column[number % old]
    return fresh


def insert(rows: Rows, seqno: int, due: float, scopes: int, kept: int) -> int:
    """A row is inserted by the transaction with ``seqno``: its number. The table must not be full."""
    number = rows.ends[1]
    rows.ends[1] = number + 1
    place = number & (len(rows.inserted) - 1)
    rows.inserted[place] = seqno
    rows.deleted[place] = 0
    rows.deleter[place] = 0
    rows.scopes[place] = scopes
    rows.kept[place] = kept
    rows.due[place] = due
    return number


def key(which: int, number: int) -> int:
    """A row of either table, in one number that is not 0."""
    return 2 * number + which - 1


def exists(rows: Rows, number: int, visible: int) -> bool:
    """Whether a member that has made everything up to ``visible`` visible finds the row."""
    if number < rows.ends[0]:
        return False
    place = number & (len(rows.inserted) - 1)
    gone = rows.deleted[place]
    return rows.inserted[place] <= visible and (gone == 0 or gone > visible)


def page(rows: Rows, now: float, visible: int, limit: int, found: Ints) -> int:
    """Write the oldest rows that are due at a member, at most ``limit``, to ``found``: how many."""
    mask = len(rows.inserted) - 1
    count = 0
    for number in range(rows.ends[0], rows.ends[1]):
        place = number & mask
        if count == limit or rows.due[place] > now:
            break
        gone = rows.deleted[place]
        if rows.inserted[place] <= visible and (gone == 0 or gone > visible):
            found[count] = number
            count += 1
    return count


def loses(rows: Rows, number: int, last_seen: int, member: int) -> bool:
    """Whether certification fails a delete of the row: another member's was ordered after ``last_seen``."""
    if number < rows.ends[0]:
        return True
    place = number & (len(rows.inserted) - 1)
    return rows.deleted[place] > last_seen and rows.deleter[place] != member


def is_live(rows: Rows, number: int) -> bool:
    """Whether nobody's delete of the row has been ordered yet."""
    return number >= rows.ends[0] and rows.deleted[number & (len(rows.inserted) - 1)] == 0


def scopes_of(rows: Rows, number: int) -> int:
    """Rows of token_scope that go with a row that is kept."""
    return rows.scopes[number & (len(rows.inserted) - 1)]


def delete(rows: Rows, number: int, seqno: int, member: int) -> None:
    """The row is deleted by the transaction with ``seqno``, which passed certification."""
    if number >= rows.ends[0]:
        place = number & (len(rows.inserted) - 1)
        rows.deleted[place] = seqno
        rows.deleter[place] = member


def forget(rows: Rows, everywhere: int) -> None:
    """Drop the oldest entries as far as every member, up to ``everywhere``, has seen their deletes."""
    mask = len(rows.inserted) - 1
    first = rows.ends[0]
    while first < rows.ends[1] and 0 < rows.deleted[first & mask] <= everywhere:
        first += 1
    rows.ends[0] = first


def ordered(
    tokens: Rows,
    holders: Rows,
    seqno: int,
    now: float,
    member: int,
    cleans: int,
    deletes: int,
    issues: int,
    added: int,
    lifetime: float,
) -> int:
    """A transaction has got its place in the total order and will be committed everywhere.

    Args:
        tokens: access tokens.
        holders: holders that no token refers to; neither table may be full.
        seqno: its place.
        now: seconds.
        member: where it comes from.
        cleans: NOTHING, TOKENS or HOLDERS.
        deletes: the row that it deletes, 0 for none: a holder if that is what it cleans, else a token.
        issues: NO_TOKEN, TOKEN_OF_REFRESH_TOKEN or TOKEN.
        added: rows of token_scope that it adds, those it deletes taken off.
        lifetime: of an access token, seconds.

    Returns:
        The number of the access token that it issues, 0 without one.
    """
    scopes = max(0, added)
    if cleans == HOLDERS:
        delete(holders, deletes, seqno, member)
    elif deletes:
        if is_live(tokens, deletes):
            place = deletes & (len(tokens.inserted) - 1)
            scopes = max(0, added + tokens.scopes[place])
            if tokens.kept[place] == 0:
                insert(holders, seqno, now, 0, 0)
        delete(tokens, deletes, seqno, member)
    if issues == NO_TOKEN:
        return 0
    return insert(tokens, seqno, now + lifetime, scopes, 1 if issues == TOKEN_OF_REFRESH_TOKEN else 0)

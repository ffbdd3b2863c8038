"""Where new tokens go in InnoDB's indexes, and the gaps that are locked there.

Two gaps decide whether the inserts of another member meet a local transaction:

* Below the first row of a leaf page. The foreign key of `token_scope` is checked by a search for the
  access token's key that starts in the page before when that key is the first of its page; passing that
  page's end locks it, and with it the gap below the token (shared, until the transaction ends).
  Auto-increment keys of members are interleaved, so that lower keys of other members still arrive.
* Around a refresh token. The clear-access-tokens delete looks up the access tokens of its refresh token for
  every row of `token_scope`, and locks the gaps on both sides of them in the index on `refresh_token_id`
  (shared next-key locks) from its first row on.

Source: MariaDB 10.11 storage/innobase: row0ins.cc `row_ins_check_foreign_constraint` (a supremum passed on
the way is locked), btr0cur.cc (PAGE_CUR_GE descends left of an equal node pointer), btr0btr.cc
`btr_page_get_split_rec_to_right`, `btr_insert_into_right_sibling`, `btr_page_split_and_insert`; seen in
`SHOW ENGINE INNODB STATUS` (one transaction of 16, each the first of a page) and in the lab's
`wsrep_log_conflicts` (docs/service-profiles.md).

Example:
    >>> edge = new_edge(2)
    >>> [insert(edge, row) for row in (1, 2, 4)]    # 4 begins a page: the gap above 2 is locked
    [0, 0, 2]
    >>> families = new_families()
    >>> for token in (10, 11, 13): remember(families, token)
    >>> is_beside(families, 14, True, 13), is_beside(families, 14, True, 11)
    (True, False)
"""

from __future__ import annotations

from typing import NamedTuple

from sim.protocols.tables import Ints

PAGE = 16_252
"""Bytes for rows in a leaf page of 16 KiB."""

RESERVE = 1_024
"""Kept free by ascending inserts (`dict_index_get_space_reserve`: a sixteenth of the page)."""

ROWS, BEFORE, ROOM, LAST, TOP = range(5)
"""Of an `Edge`: rows in the page; last key of the page before and rows that it has room for; the key inserted
last; the highest key seen."""

COUNT = 256
"""Refresh tokens remembered: those whose access tokens are the youngest in the index."""


class Edge(NamedTuple):
    """The last leaf page of a clustered index at one member.

    Attributes:
        numbers: see `ROWS` and what follows it.
        keys: of the page's rows, ascending; as many places as the page has.
    """

    numbers: Ints
    keys: Ints


class Families(NamedTuple):
    """Refresh tokens with access tokens in the index on `refresh_token_id` of one member.

    Attributes:
        next: place to be written next.
        keys: of the tokens, in the order in which they came.
    """

    next: Ints
    keys: Ints


def page_rows(row: int) -> int:
    """Rows of ``row`` bytes in a leaf page that was filled in ascending order.

    Example:
        >>> page_rows(920)
        16
    """
    return max(2, (PAGE - RESERVE) // row)


def new_edge(rows: int) -> Edge:
    """An empty table with ``rows`` rows to a page."""
    return Edge([0] * 5, [0] * rows)


def new_families() -> Families:
    """No tokens yet."""
    return Families([0], [0] * COUNT)


def next_key(top: int, member: int, members: int) -> int:
    """The auto-increment key after ``top``: ``auto_increment_increment`` is the number of members.

    Example:
        >>> [next_key(10, member, 3) for member in range(3)]
        [12, 13, 11]
    """
    return top + 1 + (member - top - 1) % members


def insert(edge: Edge, key: int) -> int:
    """Insert a row: where the locked gap below it begins if it is the first of its page, else 0."""
    numbers, keys = edge.numbers, edge.keys
    rows, before = numbers[ROWS], numbers[BEFORE]
    numbers[TOP] = max(numbers[TOP], key)
    if key <= before:
        return 0  # far from the edge
    place = rows
    while place > 0 and keys[place - 1] > key:
        place -= 1
    if place == 0 and before > 0 and numbers[ROOM] > 0:
        numbers[BEFORE] = key  # at the end of the page before
        numbers[ROOM] -= 1
        return 0
    if rows < len(keys):
        return _put(edge, place, key)
    if place == 0:
        numbers[BEFORE] = key  # both pages are full: one of its own between them
        numbers[ROOM] = len(keys) - 1
        return before
    ascending = numbers[LAST] == keys[place - 1]
    if ascending and place >= rows - 1:
        return _begin_page(edge, place, key)
    _split(edge, place + 1 if ascending else rows // 2)
    if key < keys[0]:
        numbers[BEFORE] = max(key, numbers[BEFORE])
        numbers[ROOM] -= 1
        numbers[LAST] = 0
        return 0
    place = numbers[ROWS]
    while keys[place - 1] > key:
        place -= 1
    return _put(edge, place, key)


def _put(edge: Edge, place: int, key: int) -> int:
    """Insert a row where there is room."""
    numbers, keys = edge.numbers, edge.keys
    for row in range(numbers[ROWS], place, -1):
        keys[row] = keys[row - 1]
    keys[place] = key
    numbers[ROWS] += 1
    numbers[LAST] = key
    return numbers[BEFORE] if place == 0 else 0


def _begin_page(edge: Edge, place: int, key: int) -> int:
    """Ascending inserts: the new row begins a page; at most one row goes along."""
    numbers, keys = edge.numbers, edge.keys
    before, rows = keys[place - 1], numbers[ROWS]
    numbers[ROWS] = 1
    if place < rows:
        keys[1] = keys[place]
        numbers[ROWS] = 2
    keys[0] = key
    numbers[BEFORE] = before
    numbers[ROOM] = len(keys) - place
    numbers[LAST] = key
    return before


def _split(edge: Edge, at: int) -> None:
    """Rows from place ``at`` on move to a new page."""
    numbers, keys = edge.numbers, edge.keys
    numbers[BEFORE] = keys[at - 1]
    numbers[ROOM] = len(keys) - at
    rows = numbers[ROWS] - at
    for row in range(rows):
        keys[row] = keys[row + at]
    numbers[ROWS] = rows


def remember(families: Families, token: int) -> None:
    """An access token of the refresh token ``token`` is in the index."""
    keys = families.keys
    for known in keys:
        if known == token:
            return
    place = families.next[0]
    keys[place] = token
    families.next[0] = (place + 1) % len(keys)


def is_beside(families: Families, token: int, fresh: bool, scanning: int) -> bool:
    """Whether an access token of ``token`` goes into a gap that the delete for ``scanning`` has locked.

    The new row stands behind those of the same refresh token, before the next one's: below ``scanning`` when
    that is the next, and above it only when the refresh token is ``fresh`` and has none yet.
    """
    if token > scanning and not fresh:
        return False
    low, high = min(token, scanning), max(token, scanning)
    between = 0
    for known in families.keys:
        between += low < known < high
    return between == 0

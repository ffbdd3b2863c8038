"""What there is to clean up in a database: `sim.engine.cleanup` over `sim.protocols.expiry`, compiled."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine.compiled import layout as w
from sim.engine.compiled.events import allocate
from sim.engine.compiled.jit import Floats, Ints, inlined, kernel, twins
from sim.protocols import expiry
from sim.protocols.expiry import Rows

_made = twins(
    expiry,
    ("exists", "page", "loses", "is_live", "scopes_of", "delete", "insert", "forget", "key", "ordered"),
)
row_exists = _made["exists"]
row_page = _made["page"]
row_loses = _made["loses"]
row_scopes = _made["scopes_of"]
row_forget = _made["forget"]
rows_ordered = _made["ordered"]
key = _made["key"]

_TOKENS = expiry.TOKENS
COLUMNS = 6
"""Columns of a table, each as long as the table."""


@inlined
def rows_of(i64: Any, f64: Any, table: int) -> Rows:
    """A table of rows that expire."""
    length = i64[table + w.F_CAP]
    at = i64[table + w.F_COLUMNS]
    return Rows(
        i64[table + w.F_FIRST : table + w.F_FIRST + 2],
        i64[at : at + length],
        i64[at + length : at + 2 * length],
        i64[at + 2 * length : at + 3 * length],
        i64[at + 3 * length : at + 4 * length],
        i64[at + 4 * length : at + 5 * length],
        f64[at + 5 * length : at + 6 * length],
    )


@kernel
def table_of(i64: Ints, f64: Floats, db: int, which: int) -> int:
    """The table of access tokens, or of holders without one."""
    return i64[db + (w.E_TOKENS if which == _TOKENS else w.E_HOLDERS)]


@kernel
def make_longer(i64: Ints, f64: Floats, table: int) -> None:
    """Give a full table twice the length."""
    length, old = i64[table + w.F_CAP], i64[table + w.F_COLUMNS]
    if i64[table + w.F_NEXT] - i64[table + w.F_FIRST] < length:
        return
    new = allocate(i64, f64, 2 * length * COLUMNS)
    for number in range(i64[table + w.F_FIRST], i64[table + w.F_NEXT]):
        for column in range(COLUMNS):
            there = new + 2 * length * column + (number & (2 * length - 1))
            i64[there] = i64[old + length * column + (number & (length - 1))]
    i64[table + w.F_CAP] = 2 * length
    i64[table + w.F_COLUMNS] = new
    i64[w.ROOM] = max(i64[w.ROOM], 8 * length * COLUMNS)  # both may grow again, in one event


@kernel
def find_page(i64: Ints, f64: Floats, member: int, which: int, limit: int, found: int) -> int:
    """Write the oldest rows that are due, as ``member`` sees them, to ``found``: how many."""
    db = i64[member + w.B_DATABASE]
    everywhere = i64[member + w.B_VISIBLE]
    for index in range(i64[db + w.E_COUNT]):
        everywhere = min(everywhere, i64[i64[i64[db + w.E_MEMBERS] + index] + w.B_VISIBLE])
    table = table_of(i64, f64, db, which)
    row_forget(rows_of(i64, f64, table), everywhere)
    return row_page(
        rows_of(i64, f64, table), f64[w.NOW], i64[member + w.B_VISIBLE], limit, i64[found : found + limit]
    )


@kernel
def exists(i64: Ints, f64: Floats, member: int, which: int, number: int) -> bool:
    """Whether the row is still there, as ``member`` sees it."""
    table = table_of(i64, f64, i64[member + w.B_DATABASE], which)
    return row_exists(rows_of(i64, f64, table), number, i64[member + w.B_VISIBLE])


@kernel
def commits(i64: Ints, f64: Floats, call: int, tx: int) -> bool:
    """A transaction says what it inserts and deletes before it commits; False: nothing to write."""
    member = i64[tx + w.T_MEMBER]
    tokens = i64[i64[member + w.B_DATABASE] + w.E_TOKENS]
    if not tokens:
        return True
    cleans = i64[tx + w.T_CLEANS]
    if cleans:
        number = i64[tx + w.T_DELETES]
        if not exists(i64, f64, member, cleans, number):
            return False
        if cleans == _TOKENS:
            i64[tx + w.T_ROWS] = -row_scopes(rows_of(i64, f64, tokens), number)
        return True
    issues = i64[w.ISSUES] + 2 * i64[call + w.C_KIND]
    i64[tx + w.T_ISSUES] = i64[issues]
    presented = i64[call + w.C_ACCESS]
    if presented and i64[issues + 1]:
        number = i64[presented + w.T_ISSUED]
        if number and exists(i64, f64, member, _TOKENS, number):
            i64[tx + w.T_DELETES] = number
    return True


@kernel
def loses(i64: Ints, f64: Floats, db: int, tx: int) -> bool:
    """Whether another member's delete of the same row was ordered since the transaction looked."""
    number = i64[tx + w.T_DELETES]
    if not number:
        return False
    cleans = i64[tx + w.T_CLEANS]
    table = table_of(i64, f64, db, cleans if cleans else _TOKENS)
    index = i64[i64[tx + w.T_MEMBER] + w.B_INDEX]
    return row_loses(rows_of(i64, f64, table), number, i64[tx + w.T_LAST_SEEN], index)


@kernel
def ordered(i64: Ints, f64: Floats, db: int, tx: int) -> None:
    """A transaction has its place in the order and will be committed everywhere."""
    tokens, holders = i64[db + w.E_TOKENS], i64[db + w.E_HOLDERS]
    make_longer(i64, f64, tokens)
    make_longer(i64, f64, holders)
    i64[tx + w.T_ISSUED] = rows_ordered(
        rows_of(i64, f64, tokens),
        rows_of(i64, f64, holders),
        i64[tx + w.T_SEQNO],
        f64[w.NOW],
        i64[i64[tx + w.T_MEMBER] + w.B_INDEX],
        i64[tx + w.T_CLEANS],
        i64[tx + w.T_DELETES],
        i64[tx + w.T_ISSUES],
        i64[tx + w.T_ROWS],
        f64[w.LIFETIME],
    )

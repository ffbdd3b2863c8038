"""Gap locks of a database member: `sim.engine.gaps`."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine.compiled import layout as w
from sim.engine.compiled.jit import Floats, Ints, inlined, kernel, twins
from sim.protocols import gaps
from sim.protocols.gaps import Edge, Families

_made = twins(gaps, ("_put", "_begin_page", "_split", "insert", "next_key", "remember", "is_beside"))
insert = _made["insert"]
next_key = _made["next_key"]
remember = _made["remember"]
is_beside = _made["is_beside"]

_NUMBERS, _TOP, _COUNT = gaps.TOP + 1, gaps.TOP, gaps.COUNT


@inlined
def edge_of(i64: Any, f64: Any, member: int) -> Edge:
    """The last page of the member's access tokens."""
    start = i64[member + w.B_EDGE]
    first = start + _NUMBERS
    return Edge(i64[start:first], i64[first : first + i64[member + w.B_PAGE_ROWS]])


@inlined
def families_of(i64: Any, f64: Any, member: int) -> Families:
    """The member's refresh tokens."""
    start = i64[member + w.B_FAMILIES]
    return Families(i64[start : start + 1], i64[start + 1 : start + 1 + _COUNT])


@kernel
def family_of(i64: Ints, f64: Floats, call: int) -> int:
    """Key of the refresh token that the request has with it, 0 for none."""
    held = i64[call + w.C_REFRESH]
    return i64[held + w.T_FAMILY] if held else 0


@kernel
def insert_token(i64: Ints, f64: Floats, tx: int, family: int, fresh: bool) -> None:
    """A transaction inserts its access token, of the refresh token ``family`` or of a fresh one."""
    member = i64[tx + w.T_MEMBER]
    index, members = i64[member + w.B_INDEX], i64[i64[member + w.B_DATABASE] + w.E_COUNT]
    if not i64[i64[member + w.B_DATABASE] + w.E_GALERA]:
        index, members = 0, 1
    i64[tx + w.T_TOKEN] = next_key(i64[i64[member + w.B_EDGE] + _TOP], index, members)
    i64[tx + w.T_BELOW] = insert(edge_of(i64, f64, member), i64[tx + w.T_TOKEN])
    if i64[tx + w.T_BELOW]:
        i64[member + w.B_BELOW] += 1
    if fresh:
        family = next_key(i64[member + w.B_TOP_FAMILY], index, members)
        i64[member + w.B_TOP_FAMILY] = family
    i64[tx + w.T_FAMILY] = family
    i64[tx + w.T_FRESH] = 1 if fresh else 0
    if family:
        remember(families_of(i64, f64, member), family)


@kernel
def begin_scan(i64: Ints, f64: Floats, tx: int, family: int) -> None:
    """The clear-access-tokens delete reads its first row."""
    member = i64[tx + w.T_MEMBER]
    i64[tx + w.T_CLEARS] = 1
    i64[member + w.B_SCANNER] = tx
    i64[member + w.B_SCANNING] = family
    i64[member + w.B_WAITS] = 0


@kernel
def is_scanner_met(i64: Ints, f64: Floats, member: int, tx: int) -> bool:
    """Whether a scan under way at the member is in the way of a write set."""
    if not i64[member + w.B_SCANNER]:
        return False
    if i64[member + w.B_WAITS] and (i64[tx + w.T_CLEARS] or i64[tx + w.T_ROWS] < 0):
        return True
    family = i64[tx + w.T_FAMILY]
    if not family:
        return False
    return is_beside(
        families_of(i64, f64, member), family, i64[tx + w.T_FRESH] != 0, i64[member + w.B_SCANNING]
    )


@kernel
def arrive(i64: Ints, f64: Floats, member: int, tx: int) -> None:
    """A write set's tokens are in the indexes."""
    if i64[tx + w.T_TOKEN]:
        insert(edge_of(i64, f64, member), i64[tx + w.T_TOKEN])
    family = i64[tx + w.T_FAMILY]
    if family:
        i64[member + w.B_TOP_FAMILY] = max(i64[member + w.B_TOP_FAMILY], family)
        remember(families_of(i64, f64, member), family)

"""Galera's primary component: quorum when a view changes, then the state exchange in total order.

Four rounds of totally ordered messages in the new view: PC state of each member, PC install of the lowest,
group state UUID of the lowest, group state of each. Used through :mod:`sim.protocols.membership`.
Source: gcomm/src/pc_proto.cpp (have_quorum, is_prim, handle_state, handle_install), gcs/src/gcs_core.cpp
(core_handle_uuid_msg, core_handle_state_msg), components.md 1.11.
"""

from __future__ import annotations

from sim.protocols.membership_state import (
    CLOSED,
    EXCHANGING,
    GROUP_STATE,
    GROUP_UUID,
    LEAVING,
    NON_PRIMARY,
    PC_INSTALL,
    PC_STATE,
    PRIMARY,
    Event,
    Group,
    Step,
)
from sim.protocols.tables import Ints, members_of


def deliver(group: Group, member: int, payload: int, now: float) -> Step:
    """A control payload (negative) was delivered in total order; those of older views are ignored."""
    step = nothing()
    view, kind, sender = unpack(group, payload)
    if view != group.view[member] or group.evs[member] in (CLOSED, LEAVING):
        return step
    mask, lowest = group.mask[member], representative(group.mask[member])
    if kind == PC_STATE:
        group.states[member] |= 1 << sender
        if group.states[member] == mask:
            if not becomes_primary(group, mask):
                if group.pc[member] != NON_PRIMARY:
                    lose_primary(group, member, step)
            elif member == lowest:
                step.submits.append(pack(group, member, PC_INSTALL))
    elif kind == PC_INSTALL:
        group.pc[member] = EXCHANGING
        group.prim[member] = 1
        group.last_prim[member] = view
        group.last_prim_mask[member] = mask
        step.events.append(Event(member, "galera.view", mask))
        if member == lowest:
            step.submits.append(pack(group, member, GROUP_UUID))
    elif kind == GROUP_UUID:
        step.submits.append(pack(group, member, GROUP_STATE))
    else:
        group.group_states[member] |= 1 << sender
        if group.group_states[member] == mask:
            group.pc[member] = PRIMARY
            if not group.came_prim[member]:
                step.events.append(Event(member, "galera.primary", mask))
    return step


def has_quorum(present: int, left: int, previous: int, weights: Ints, *, ignore_sb: bool = False) -> bool:
    """Whether the ``present`` members of the ``previous`` primary view stay primary (masks of members).

    ``2 W(present) + W(left gracefully) > W(previous)``; equality is a split brain, accepted only with
    `pc.ignore_sb`. Source: pc_proto.cpp have_quorum.
    """
    twice = 2 * weight_of(present & previous, weights) + weight_of(left & previous & ~present, weights)
    whole = weight_of(previous, weights)
    return twice > whole or (ignore_sb and twice == whole)


def nothing() -> Step:
    """A step without consequences yet."""
    return Step([], [], [], [], [])


def lose_primary(group: Group, member: int, step: Step) -> None:
    """The member turns non-primary."""
    group.pc[member] = NON_PRIMARY
    group.prim[member] = 0
    group.synced[member] = 0
    step.events.append(Event(member, "galera.non-primary", group.mask[member]))


def becomes_primary(group: Group, mask: int) -> bool:
    """PC state exchange: some come from a primary component, or all of the last one are back (is_prim)."""
    members = members_of(mask)
    if any(group.came_prim[member] for member in members):
        return True
    newest = max(group.last_prim[member] for member in members)
    if newest < 0:
        return False
    last = 0
    for member in members:
        if group.last_prim[member] == newest:
            last |= group.last_prim_mask[member]
    return last & ~mask == 0


def pack(group: Group, member: int, kind: int) -> int:
    """A control payload of the member's view: a negative number."""
    return -1 - ((group.view[member] * 4 + kind) * group.n + member)


def unpack(group: Group, payload: int) -> tuple[int, int, int]:
    """View, kind and sender of a control payload."""
    rest, sender = divmod(-1 - payload, group.n)
    return rest // 4, rest % 4, sender


def representative(mask: int) -> int:
    """The lowest member of a mask."""
    return (mask & -mask).bit_length() - 1


def weight_of(mask: int, weights: Ints) -> int:
    """Sum of the weights of the members in a mask."""
    return sum(weights[member] for member in members_of(mask))

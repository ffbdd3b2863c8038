"""What Galera members know of one another; the rules are in :mod:`sim.protocols.membership`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sim.protocols.tables import Floats, Ints

OPERATIONAL, GATHER, INSTALL, CLOSED = 0, 1, 2, 3
"""EVS states of a member."""

PRIMARY, EXCHANGING, NON_PRIMARY = 0, 1, 2
"""Primary-component states of a member."""

JOIN, INSTALL_VIEW, COMMIT_GAP, INSTALLED_GAP, LEAVE = 0, 1, 2, 3, 4
"""Control messages."""

PC_STATE, PC_INSTALL, GROUP_UUID, GROUP_STATE = 0, 1, 2, 3
"""Control payloads, sent in total order."""

CONTROL_BYTES = 400
"""Size in bytes of a control message (order of magnitude: a list of a few members)."""


class Timers(NamedTuple):
    """Periods in seconds, with the provider's defaults (components.md 1.9)."""

    suspect_timeout: float = 5.0
    inactive_timeout: float = 15.0
    inactive_check_period: float = 0.5
    keepalive_period: float = 1.0
    join_retrans_period: float = 1.0
    install_timeout: float = 7.5
    peer_timeout: float = 3.0
    time_wait: float = 5.0
    reconnect_period: float = 1.0


DEFAULT_TIMERS = Timers()


class Message(NamedTuple):
    """A control message, broadcast to the members in the mask ``targets``.

    Attributes:
        kind: JOIN, INSTALL_VIEW, COMMIT_GAP, INSTALLED_GAP or LEAVE.
        sender: member.
        targets: mask of members it goes to.
        view: id of the sender's view (JOIN, LEAVE) or of the view to install.
        operational: mask of the proposed view.
        suspected: mask of the members the sender suspects.
        settled: JOIN: 1 when the sender has everything the proposed members had sent.
    """

    kind: int
    sender: int
    targets: int
    view: int
    operational: int
    suspected: int
    settled: int


class Event(NamedTuple):
    """Something to log: an event kind of `experiments.observation`; ``view`` is a mask of members."""

    member: int
    kind: str
    view: int


class Step(NamedTuple):
    """What a call makes happen at its member.

    Attributes:
        sends: control messages to broadcast.
        submits: control payloads (negative) to submit in the member's EVS view, the new one if installed.
        events: what to log.
        installed: (view id, mask) of EVS views installed now, at most one.
        gathering: id of the view in which the member just stopped sending: flush its EVS queue there first.
    """

    sends: list[Message]
    submits: Ints
    events: list[Event]
    installed: list[tuple[int, int]]
    gathering: Ints


@dataclass
class Group:
    """State of all members; lists are indexed by member, pairs by ``member * n + peer``; masks are bit sets.

    Attributes:
        n: how many members there are.
        timers: see :class:`Timers`.
        weights: `pc.weight` of each.
        ignore_sb: `pc.ignore_sb`.
        evs: EVS state.
        pc: primary-component state.
        view: id of the EVS view.
        mask: members of the EVS view.
        prim: 1 if the member comes from a primary component.
        synced: 1 if it has the data (no state transfer is due).
        last_prim: id of its last primary view.
        last_prim_mask: members of that.
        left: members of the view that left gracefully.
        operational: proposed members while in GATHER.
        suspected: suspected peers.
        settled: 1 once the settled JOIN was sent.
        sent_join: mask that the last JOIN proposed, -1 for none.
        gather_since: when GATHER was entered.
        install_id: id of the view being installed, -1 for none.
        install_mask: its members.
        committed: members whose COMMIT gap was seen.
        installed: members whose INSTALLED gap was seen.
        gap_id: by pair, view id of the last COMMIT gap; ``installed_id`` the same for INSTALLED gaps.
        installed_id: see ``gap_id``.
        heard: by pair, when the last useful message came.
        join_mask: by pair, mask of the peer's last JOIN, -1 for none.
        join_suspected: by pair, suspects in it.
        join_settled: by pair, whether it was settled.
        join_view: by pair, sender's view id in it.
        states: PC state messages delivered in this view.
        group_states: group state messages delivered in this view.
        came_prim: 1 if the member was primary when it entered this view.
        last_check: when the member last looked for inactive peers.
    """

    n: int
    timers: Timers
    weights: Ints
    ignore_sb: bool
    evs: Ints
    pc: Ints
    view: Ints
    mask: Ints
    prim: Ints
    synced: Ints
    last_prim: Ints
    last_prim_mask: Ints
    left: Ints
    operational: Ints
    suspected: Ints
    settled: Ints
    sent_join: Ints
    gather_since: Floats
    install_id: Ints
    install_mask: Ints
    committed: Ints
    installed: Ints
    gap_id: Ints
    installed_id: Ints
    heard: Floats
    join_mask: Ints
    join_suspected: Ints
    join_settled: Ints
    join_view: Ints
    states: Ints
    group_states: Ints
    came_prim: Ints
    last_check: Floats


def new_group(
    n: int,
    *,
    weights: list[int] | None = None,
    timers: Timers = DEFAULT_TIMERS,
    ignore_sb: bool = False,
    now: float = 0.0,
) -> Group:
    """A healthy primary component of all ``n`` members, in view 0."""
    everyone = (1 << n) - 1
    return Group(
        n=n,
        timers=timers,
        weights=list(weights) if weights is not None else [1] * n,
        ignore_sb=ignore_sb,
        evs=[OPERATIONAL] * n,
        pc=[PRIMARY] * n,
        view=[0] * n,
        mask=[everyone] * n,
        prim=[1] * n,
        synced=[1] * n,
        last_prim=[0] * n,
        last_prim_mask=[everyone] * n,
        left=[0] * n,
        operational=[everyone] * n,
        suspected=[0] * n,
        settled=[0] * n,
        sent_join=[-1] * n,
        gather_since=[now] * n,
        install_id=[-1] * n,
        install_mask=[0] * n,
        committed=[0] * n,
        installed=[0] * n,
        gap_id=[-1] * (n * n),
        installed_id=[-1] * (n * n),
        heard=[now] * (n * n),
        join_mask=[-1] * (n * n),
        join_suspected=[0] * (n * n),
        join_settled=[0] * (n * n),
        join_view=[-1] * (n * n),
        states=[0] * n,
        group_states=[0] * n,
        came_prim=[1] * n,
        last_check=[now] * n,
    )

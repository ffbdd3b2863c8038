"""What Galera members know of one another; the rules are in :mod:`sim.protocols.membership`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from sim.protocols import evs
from sim.protocols.tables import Floats, Ints

OPERATIONAL, GATHER, INSTALL, CLOSED, LEAVING = 0, 1, 2, 3, 4
"""EVS states of a member."""

PRIMARY, EXCHANGING, NON_PRIMARY = 0, 1, 2
"""Primary-component states of a member."""

JOIN, INSTALL_VIEW, COMMIT_GAP, INSTALLED_GAP, LEAVE, REQUEST, RECOVERY = 0, 1, 2, 3, 4, 5, 6
"""Control messages; the last two ask for slots of an excluded member and send them."""

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
    max_install_timeouts: int = 3
    peer_timeout: float = 3.0
    time_wait: float = 5.0
    reconnect_period: float = 1.0


DEFAULT_TIMERS = Timers()


class Seen(NamedTuple):
    """What the sender of a JOIN knows of one member (evs_message2.hpp MessageNode).

    Attributes:
        operational: it proposes the member for the next view.
        suspected: it has not heard it for `evs.suspect_timeout`.
        leave_seq: last slot of a member that left gracefully, else -1.
        view: id of the member's view, -1 if unknown.
        safe: the member's last known ARU.
        reach: last slot of the member that the sender holds.
    """

    operational: bool
    suspected: bool
    leave_seq: int
    view: int
    safe: int
    reach: int


Nodes = tuple[Seen | None, ...]
"""By member; None for one that the sender does not know."""


class Join(NamedTuple):
    """The proposal of a member that is in view ``view``."""

    view: int
    nodes: Nodes


class Message(NamedTuple):
    """A control message, broadcast to the members in the mask ``targets`` and whoever else is connected.

    Attributes:
        kind: JOIN, INSTALL_VIEW, COMMIT_GAP, INSTALLED_GAP, LEAVE, REQUEST or RECOVERY.
        sender: member.
        targets: mask of members it goes to.
        view: id of the sender's view or, of INSTALL_VIEW and the gaps, of the view to install.
        nodes: what the sender knows of every member (empty in gaps).
    """

    kind: int
    sender: int
    targets: int
    view: int
    nodes: Nodes = ()


class Event(NamedTuple):
    """Something to log: an event kind of `experiments.observation`; ``view`` is a mask of members."""

    member: int
    kind: str
    view: int


class Step(NamedTuple):
    """What a call makes happen at its member.

    Attributes:
        order: steps of the total order (:mod:`sim.protocols.evs`) in the member's present view; they come
            first.
        sends: control messages to broadcast.
        submits: control payloads (negative) to submit in the member's EVS view, the new one if installed.
        events: what to log.
        installed: (view id, mask) of EVS views installed now, at most one.
    """

    order: list[evs.Step]
    sends: list[Message]
    submits: Ints
    events: list[Event]
    installed: list[tuple[int, int]]


@dataclass
class Group:
    """State of all members; lists are indexed by member, pairs by ``member * n + peer``; masks are bit sets.

    Attributes:
        n: how many members there are.
        timers: see :class:`Timers`.
        weights: `pc.weight` of each.
        ignore_sb: `pc.ignore_sb`.
        order: the total order of the member's view; None until the caller has set that of a new view.
        evs: EVS state.
        pc: primary-component state.
        view: id of the EVS view.
        mask: members of the EVS view.
        prim: 1 if the member comes from a primary component.
        synced: 1 if it has the data (no state transfer is due).
        last_prim: id of its last primary view.
        last_prim_mask: members of that.
        left: members that left gracefully.
        leave_seq: by pair, last slot of a member that left.
        known: members it has heard of since it entered the view, itself included.
        operational: known members that it proposes for the next view.
        suspected: suspected peers.
        joins: by pair, last JOIN of a peer; its own at ``member * n + member``.
        joined_at: when it last sent a JOIN.
        newest: highest view id it has made.
        attempts: views it has proposed in this GATHER.
        install_id: id of the view being installed, -1 for none.
        install_from: who proposed that.
        install_join: what it proposed.
        committed: members whose COMMIT gap was seen.
        installed: members whose INSTALLED gap was seen.
        install_timeouts: how often the install timer expired in this GATHER.
        isolated_until: it ignores everybody until then (after `evs.max_install_timeouts`).
        previous: ids of views that are over.
        gathered: ids of views seen in JOINs of this GATHER.
        heard: by pair, when the last useful message came.
        entered: when the member entered its view.
        born: when its process was started.
        states: PC state messages delivered in this view.
        group_states: group state messages delivered in this view.
        came_prim: 1 if the member was primary when it entered this view.
        last_check: when the member last looked for inactive peers.
        check_at: when the inactivity timer expires.
        retrans_at: when the retransmission timer expires: keepalives in OPERATIONAL, JOINs and gaps else.
        install_at: when the install timer expires.
    """

    n: int
    timers: Timers
    weights: Ints
    ignore_sb: bool
    order: list[evs.EvsState | None]
    evs: Ints
    pc: Ints
    view: Ints
    mask: Ints
    prim: Ints
    synced: Ints
    last_prim: Ints
    last_prim_mask: Ints
    left: Ints
    leave_seq: Ints
    known: Ints
    operational: Ints
    suspected: Ints
    joins: list[Join | None]
    joined_at: Floats
    newest: Ints
    attempts: Ints
    install_id: Ints
    install_from: Ints
    install_join: list[Join | None]
    committed: Ints
    installed: Ints
    install_timeouts: Ints
    isolated_until: Floats
    previous: list[set[int]]
    gathered: list[set[int]]
    heard: Floats
    entered: Floats
    born: Floats
    states: Ints
    group_states: Ints
    came_prim: Ints
    last_check: Floats
    check_at: Floats
    retrans_at: Floats
    install_at: Floats


def new_group(
    n: int,
    *,
    weights: list[int] | None = None,
    timers: Timers = DEFAULT_TIMERS,
    ignore_sb: bool = False,
    now: float = 0.0,
) -> Group:
    """A healthy primary component of all ``n`` members, in view 0; all their timers start at ``now``."""
    everyone = (1 << n) - 1
    return Group(
        n=n,
        timers=timers,
        weights=list(weights) if weights is not None else [1] * n,
        ignore_sb=ignore_sb,
        order=[None] * n,
        evs=[OPERATIONAL] * n,
        pc=[PRIMARY] * n,
        view=[0] * n,
        mask=[everyone] * n,
        prim=[1] * n,
        synced=[1] * n,
        last_prim=[0] * n,
        last_prim_mask=[everyone] * n,
        left=[0] * n,
        leave_seq=[-1] * (n * n),
        known=[everyone] * n,
        operational=[everyone] * n,
        suspected=[0] * n,
        joins=[None] * (n * n),
        joined_at=[-1e18] * n,
        newest=[0] * n,
        attempts=[0] * n,
        install_id=[-1] * n,
        install_from=[-1] * n,
        install_join=[None] * n,
        committed=[0] * n,
        installed=[0] * n,
        install_timeouts=[0] * n,
        isolated_until=[-1e18] * n,
        previous=[set() for _ in range(n)],
        gathered=[set() for _ in range(n)],
        heard=[now] * (n * n),
        entered=[now] * n,
        born=[-1e18] * n,
        states=[0] * n,
        group_states=[0] * n,
        came_prim=[1] * n,
        last_check=[now] * n,
        check_at=[now + timers.inactive_check_period] * n,
        retrans_at=[now + timers.keepalive_period] * n,
        install_at=[inf] * n,
    )

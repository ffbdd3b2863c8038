"""Galera membership: who is in the view, whether it is primary, and how long agreeing takes.

Driven message by message, so that stalls follow from timers and link delays:

1. *Suspicion*. The engine reports every message with :func:`heard`, and calls :func:`check` for each
   member every `evs.inactive_check_period`. A peer silent for more than `evs.suspect_timeout`
   is suspected: the member enters GATHER and broadcasts a JOIN.
2. *EVS agreement*. JOINs until all in the proposed view agree, INSTALL from the lowest member, one COMMIT
   gap and one INSTALLED gap from each: 4 or 5 one-way delays. The new EVS view is then installed (``Step.installed``).
3. *Primary component and group state*. Four totally ordered messages in the new view: PC state of each member,
   PC install of the lowest, group state UUID of the lowest, group state of each: 4 times
   1.0-1.5 RTT. Together 6..9 RTT, the "5..10, use 7" of components.md 1.11.

Sending is refused (a commit hangs) unless :func:`can_send`. A member whose view has no quorum turns
non-primary at PC state exchange. Sources: gcomm evs_proto.cpp (check_inactive, check_suspects,
handle_join/install/gap, shift_to), pc_proto.cpp (have_quorum, is_prim), components.md 1.11-1.12.

Engine loop, for every member i:
    every check period:      step = check(group, i, now)
    every join_retrans 1 s:  step = retransmit(group, i, now)     # only acts in GATHER/INSTALL
    control message:         step = receive(group, i, message, now)
    EVS message of the same view: heard(group, i, sender, now); evs.receive(view[i], ...)
    EVS delivery with payload < 0: step = deliver(group, i, payload, now)
    for each step: broadcast step.sends to members of message.targets with link delays;
        step.installed: evs.transitional(old view), new evs view; then evs.submit(new, i, p, CONTROL_BYTES) for p in step.submits
        step.events: galera.view / galera.primary / galera.non-primary
    link of i and j back up: at reconnect_at(...) both ends call reconnected(group, i, j, now)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

OPERATIONAL, GATHER, INSTALL, CLOSED = 0, 1, 2, 3
"""EVS states of a member."""

PRIMARY, EXCHANGING, NON_PRIMARY = 0, 1, 2
"""Primary-component states of a member."""

JOIN, INSTALL_VIEW, COMMIT_GAP, INSTALL_GAP, LEAVE = 0, 1, 2, 3, 4
"""Control messages."""

CONTROL_BYTES = 400
"""Size in bytes of a control message (order of magnitude: a node list of a few members)."""


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


class Message(NamedTuple):
    """A control message, broadcast to the members in the mask ``targets``."""

    kind: int
    sender: int
    targets: int
    view: int
    operational: int
    suspected: int
    left: int


class Event(NamedTuple):
    """Something to log: kind is an Observation event kind, ``view`` the mask of members."""

    member: int
    kind: str
    view: int


class Step(NamedTuple):
    """What a call makes happen at its member.

    Attributes:
        sends: control messages to broadcast.
        installed: the EVS view just installed: (view id, mask of members), or None.
        submits: control payloads (negative ints) to submit in the member's EVS view.
        events: what to log.
    """

    sends: list[Message]
    installed: tuple[int, int] | None
    submits: list[int]
    events: list[Event]


@dataclass
class Group:
    """State of all members (fields are lists indexed by member; masks are bit sets of members)."""

    n: int
    timers: Timers
    weights: list[int]
    evs: list[int] = field(default_factory=list)
    pc: list[int] = field(default_factory=list)


def new_group(
    n: int, *, weights: list[int] | None = None, timers: Timers = Timers(), ignore_sb: bool = False
) -> Group:
    """A healthy primary component of all ``n`` members."""
    raise NotImplementedError


def can_send(group: Group, member: int) -> bool:
    """Whether a commit at ``member`` may be replicated now (else it hangs, or fails if non-primary)."""
    raise NotImplementedError


def is_ready(group: Group, member: int) -> bool:
    """Whether statements are served: False means error 1047 (non-primary or still joining)."""
    raise NotImplementedError


def heard(group: Group, member: int, peer: int, now: float) -> None:
    """``member`` got a useful message from ``peer``."""
    raise NotImplementedError


def check(group: Group, member: int, now: float) -> Step:
    """The inactivity check of ``member`` (every `evs.inactive_check_period`)."""
    raise NotImplementedError


def retransmit(group: Group, member: int, now: float) -> Step:
    """The join retransmission timer of ``member`` (every `evs.join_retrans_period`)."""
    raise NotImplementedError


def receive(group: Group, member: int, message: Message, now: float) -> Step:
    """``member`` gets a control message."""
    raise NotImplementedError


def deliver(group: Group, member: int, payload: int, now: float) -> Step:
    """A control payload (negative) was delivered in total order at ``member``."""
    raise NotImplementedError


def leave(group: Group, member: int, now: float) -> Step:
    """``member`` is shut down gracefully (SIGTERM)."""
    raise NotImplementedError


def crash(group: Group, member: int) -> None:
    """``member`` dies; nobody is told."""
    raise NotImplementedError


def start(group: Group, member: int, now: float) -> None:
    """A dead member's process runs again, alone and without a view; then call :func:`reconnected`."""
    raise NotImplementedError


def reconnected(group: Group, member: int, peer: int, now: float) -> Step:
    """The connection between ``member`` and ``peer`` works again (or for the first time)."""
    raise NotImplementedError


def reconnect_at(
    healed: float, excluded_at: float, draw: float, *, left: bool = False, timers: Timers = Timers()
) -> float:
    """When two members that lost each other connect again, in seconds.

    Args:
        healed: when packets pass again.
        excluded_at: when the later of the two dropped the other from its view.
        draw: uniform in [0, 1): phase of the reconnect timer.
        left: the peer had left gracefully (ban of time_wait instead of time_wait / 2).
    """
    raise NotImplementedError


def has_quorum(
    present: int, left: int, previous: int, weights: list[int], *, ignore_sb: bool = False
) -> bool:
    """Whether ``present`` members stay primary: ``2 W(present) + W(left) > W(previous)``, masks of members."""
    raise NotImplementedError


def relayed(delay: list[list[float]], cut: list[list[bool]]) -> list[list[float]]:
    """One-way delays when a pair that cannot talk goes through the best common peer (inf if none).

    gmcast relays between peers that lost their direct connection; the switch takes about `gmcast.peer_timeout`.
    """
    raise NotImplementedError


class Rejoin(NamedTuple):
    """How a member gets the data it missed."""

    kind: str
    seconds: float
    donor_blocked: bool


def state_transfer(
    missing_bytes: float,
    gcache_bytes: float,
    data_bytes: float,
    bandwidth: float,
    rtt: float,
    *,
    position_known: bool,
    fixed: float = 0.0,
    method: str = "rsync",
) -> Rejoin:
    """IST when the position is known and the donor's cache still holds what is missing, else SST."""
    raise NotImplementedError

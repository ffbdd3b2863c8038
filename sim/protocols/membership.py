"""Galera membership: who is in the view, whether it is primary, and how long agreeing takes.

Driven message by message, so that a stall follows from timers and link delays:

1. *Suspicion*. A peer that sent nothing useful for more than `evs.suspect_timeout` is suspected at the next
   look (every `evs.inactive_check_period`); the member enters GATHER and broadcasts a JOIN. A suspect
   is dropped at once by who suspects it itself, or when a majority of the view suspects it.
2. *Gathering* (:mod:`sim.protocols.joining`): usually until the retransmission timer, 1 s, and 1 RTT.
3. *Installing* (:mod:`sim.protocols.installing`), 1.5-2.5 RTT: INSTALL from the lowest member, a COMMIT gap
   and an INSTALLED gap from each. Then the view is installed (``Step.installed``).
4. *Primary component and group state*: four totally ordered rounds in the new view (PC state of each member,
   PC install of the lowest, group state UUID of the lowest, group state of each), 1-1.5 RTT each.

Commits hang unless :func:`can_send`; a member whose view has no quorum turns non-primary when the view is
installed. Timers: :mod:`sim.protocols.membership_timers`.
Sources: gcomm evs_proto.cpp (handle_msg, handle_user, handle_leave), components.md 1.11, 1.12.

Engine loop, for every member i:
    at next_timer(group, i):      step = timers(group, i, now)
    control message arrives:      step = receive(group, i, message, now)
    EVS message of i's view:      step = ordered(group, i, message, now)
    EVS message of a newer view:  step = ahead(group, i, sender, view, now), and again once i is in that view
    any message of a connected peer that i does not know:      step = reconnected(group, i, sender, now)
    payload < 0 is delivered:     step = deliver(group, i, payload, now)
    for each step: carry out step.order in i's view; broadcast step.sends with the links' delays;
        if step.installed: evs.transitional(old view, survivors) and a new EVS view for the mask, which
        becomes group.order[i]; evs.submit(view, i, payload, CONTROL_BYTES) for step.submits; log step.events
    cut of i and j: hold their messages as TCP does; they arrive after the heal if the view still stands
    cut of i and j healed: connected from reconnect_at(...) on; when one connection joins two components,
        their other pairs follow (gmcast topology messages)

Example:
    >>> group = new_group(3, now=10.0)
    >>> group.heard[0 * 3 + 1] = 15.0
    >>> group.last_check[0] = 14.7
    >>> step = check(group, 0, 15.2)
    >>> [node.operational for node in step.sends[0].nodes]          # member 2 is out
    [True, True, False]
"""

from __future__ import annotations

from math import inf

from sim.protocols import evs
from sim.protocols.gmcast import GMCAST_CHECK_PERIOD, Rejoin, reconnect_at, relayed, state_transfer
from sim.protocols.installing import (
    close,
    foreign,
    handle_gap,
    handle_install,
    handle_join,
    handle_leave,
    install_view,
    listens,
    propose_if,
    say_goodbye,
    while_leaving,
)
from sim.protocols.joining import (
    agreed,
    answer_request,
    gathered_all,
    recover,
    send_join,
)
from sim.protocols.membership_state import (
    CLOSED,
    COMMIT_GAP,
    CONTROL_BYTES,
    DEFAULT_TIMERS,
    EXCHANGING,
    GATHER,
    GROUP_STATE,
    GROUP_UUID,
    INSTALL,
    INSTALL_VIEW,
    INSTALLED_GAP,
    JOIN,
    LEAVE,
    LEAVING,
    NON_PRIMARY,
    OPERATIONAL,
    PC_INSTALL,
    PC_STATE,
    PRIMARY,
    RECOVERY,
    REQUEST,
    Event,
    Group,
    Join,
    Message,
    Seen,
    Step,
    Timers,
    new_group,
)
from sim.protocols.membership_timers import check, next_timer, retransmit, timers
from sim.protocols.primary_component import deliver, has_quorum, nothing

__all__ = [
    "CLOSED",
    "COMMIT_GAP",
    "CONTROL_BYTES",
    "DEFAULT_TIMERS",
    "EXCHANGING",
    "GATHER",
    "GMCAST_CHECK_PERIOD",
    "GROUP_STATE",
    "GROUP_UUID",
    "INSTALL",
    "INSTALLED_GAP",
    "INSTALL_VIEW",
    "JOIN",
    "LEAVE",
    "LEAVING",
    "NON_PRIMARY",
    "OPERATIONAL",
    "PC_INSTALL",
    "PC_STATE",
    "PRIMARY",
    "RECOVERY",
    "REQUEST",
    "Event",
    "Group",
    "Join",
    "Message",
    "Rejoin",
    "Seen",
    "Step",
    "Timers",
    "ahead",
    "can_send",
    "check",
    "crash",
    "deliver",
    "has_quorum",
    "heard",
    "is_joining",
    "is_ready",
    "joined",
    "leave",
    "new_group",
    "next_timer",
    "ordered",
    "receive",
    "reconnect_at",
    "reconnected",
    "relayed",
    "retransmit",
    "start",
    "state_transfer",
    "timers",
]


def can_send(group: Group, member: int) -> bool:
    """Whether a commit at ``member`` may be replicated now (else it hangs, or fails: :func:`is_ready`)."""
    return group.evs[member] == OPERATIONAL and group.pc[member] == PRIMARY


def is_ready(group: Group, member: int) -> bool:
    """Whether statements are served: False means error 1047 (non-primary or joining), or that it is dead."""
    return group.prim[member] == 1 and group.synced[member] == 1


def is_joining(group: Group, member: int) -> bool:
    """Whether ``member`` is in the primary component and waits for its state transfer.

    Call :func:`joined` after it; at once if nothing is missing, as for all members of a re-formed component.
    """
    return can_send(group, member) and not group.synced[member]


def joined(group: Group, member: int) -> None:
    """The state transfer of ``member`` is complete."""
    group.synced[member] = 1


def heard(group: Group, member: int, peer: int, now: float) -> None:
    """``member`` got a useful message (new slots or a higher ARU) from ``peer``."""
    group.heard[member * group.n + peer] = now


def receive(group: Group, member: int, message: Message, now: float) -> Step:
    """``member`` gets a control message."""
    step = nothing()
    sender = message.sender
    if not listens(group, member, sender, now):
        return step
    if group.evs[member] == LEAVING:
        while_leaving(group, member, message, now, step)
        return step
    if not group.known[member] >> sender & 1:
        foreign(group, member, message, now, step)
        return step
    known_operational = group.operational[member] >> sender & 1
    if not known_operational and not group.left[member] >> sender & 1:
        return step  # dropped before: it is heard again in the next view
    if message.kind == JOIN:
        handle_join(group, member, sender, Join(message.view, message.nodes), now, step)
    elif message.kind == LEAVE:
        handle_leave(group, member, message, now, step)
    elif message.kind == INSTALL_VIEW:
        handle_install(group, member, message, now, step)
    elif message.kind == REQUEST:
        answer_request(group, member, message, step)
    elif message.kind == RECOVERY:
        recover(group, member, message)
    else:
        handle_gap(group, member, message, now, step)
    return step


def ordered(group: Group, member: int, message: evs.Message, now: float) -> Step:
    """A message of the total order of the member's own view arrives."""
    step = nothing()
    sender, order = message.sender, group.order[member]
    if order is None or not listens(group, member, sender, now):
        return step
    if not group.operational[member] >> sender & 1 and not group.left[member] >> sender & 1:
        return step
    heard(group, member, sender, now)
    if group.evs[member] == LEAVING:
        step.order.append(evs.receive(order, member, message, leaving=True))
        return step
    before, known = evs.aru(order, member), order.known_aru[member * group.n + sender]
    step.order.append(evs.receive(order, member, message))
    # What was still under way when GATHER began has arrived: say so. (As in the source, what was known of the
    # sender is compared with what is known of all.)
    if (
        group.evs[member] == GATHER
        and group.install_id[member] < 0
        and (
            known != evs.safe(order, member) or (message.kind != evs.GAP and before != evs.aru(order, member))
        )
        and gathered_all(group, member)
        and not agreed(group, member)
    ):
        propose_if(group, member, send_join(group, member, now, step, handle=True), now, step)
    return step


def ahead(group: Group, member: int, sender: int, view: int, now: float) -> Step:
    """A message of the view being installed arrives: its sender has installed it, so all have committed."""
    step = nothing()
    if (
        group.evs[member] in (GATHER, INSTALL)
        and group.install_id[member] == view
        and group.operational[member] >> sender & 1
        and not group.installed[member] >> sender & 1
    ):
        install_view(group, member, now, step)
    return step


def leave(group: Group, member: int, now: float) -> Step:
    """``member`` is shut down gracefully (SIGTERM): nobody need suspect it, and quorum counts it as left.

    It goes on answering the others (LEAVING) until they propose a view without it (CLOSED).
    """
    step = nothing()
    order = group.order[member]
    if order is not None and group.evs[member] == OPERATIONAL:
        step.order.append(evs.flush(order, member))
    say_goodbye(group, member, step)
    crash(group, member)
    if group.mask[member] == 1 << member:
        close(group, member, step)
    else:
        group.evs[member] = LEAVING
        group.check_at[member] = now + group.timers.inactive_check_period
        group.retrans_at[member] = now + group.timers.keepalive_period
        group.install_at[member] = inf
    return step


def crash(group: Group, member: int) -> None:
    """``member`` dies; nobody is told (a TCP reset is not used as a sign)."""
    group.evs[member] = CLOSED
    group.pc[member] = NON_PRIMARY
    group.prim[member] = 0
    group.synced[member] = 0


def start(group: Group, member: int, now: float, *, recovered: bool = True) -> Step:
    """A dead member's process runs again, alone in a view; :func:`reconnected` says that a peer was met.

    Args:
        group: the state.
        member: which.
        now: seconds.
        recovered: whether it still knows its last primary view (`gvwstate.dat`: yes after a crash, no after
            a graceful stop), which counts when a primary component re-forms.
    """
    n, alone = group.n, 1 << member
    group.previous[member].add(group.view[member])
    group.evs[member] = OPERATIONAL
    group.newest[member] = (max(group.view[member], group.newest[member]) // n + 1) * n + member
    group.view[member] = group.newest[member]
    group.mask[member] = group.operational[member] = group.known[member] = alone
    group.suspected[member] = group.left[member] = 0
    group.order[member] = None
    group.install_id[member] = group.install_from[member] = -1
    group.install_join[member] = None
    group.attempts[member] = group.install_timeouts[member] = 0
    group.isolated_until[member] = -inf
    if not recovered:
        group.last_prim[member] = -1
        group.last_prim_mask[member] = 0
    for peer in range(n):
        group.heard[member * n + peer] = now
        group.joins[member * n + peer] = None
    group.states[member] = group.group_states[member] = 0
    group.came_prim[member] = 0
    group.last_check[member] = group.born[member] = group.entered[member] = now
    group.check_at[member] = now + group.timers.inactive_check_period
    group.retrans_at[member] = now + group.timers.keepalive_period
    group.install_at[member] = inf
    step = nothing()
    step.installed.append((group.view[member], group.mask[member]))
    return step


def reconnected(group: Group, member: int, peer: int, now: float) -> Step:
    """``member`` gets a message of a connected ``peer`` that it does not know: it is asked to join."""
    step = nothing()
    if group.evs[member] == LEAVING:
        return step
    if listens(group, member, peer, now) and not group.known[member] >> peer & 1:
        foreign(group, member, peer, now, step)
    return step

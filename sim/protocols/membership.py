"""Galera membership: who is in the view, whether it is primary, and how long agreeing takes.

Driven message by message, so that a stall follows from timers and link delays:

1. *Suspicion*. A peer that sent nothing useful for more than `evs.suspect_timeout` is suspected at the next
   look (every `evs.inactive_check_period`); the member enters GATHER and broadcasts a JOIN. A suspect
   is dropped at once by who suspects it itself, or when a majority of the view suspects it.
2. *EVS agreement*: 5 one-way delays. JOINs until all proposed members propose the same view; a second,
   settled JOIN once the messages under way have arrived (message recovery); INSTALL from the lowest
   member; a COMMIT gap and an INSTALLED gap from each. Then the view is installed (``Step.installed``).
3. *Primary component and group state*: four totally ordered rounds in the new view (PC state of each member,
   PC install of the lowest, group state UUID of the lowest, group state of each), 1-1.5 RTT each.

Together 6.5-8.5 RTT: the "5..10, use 7" of components.md 1.11. Commits hang unless :func:`can_send`; a member
whose view has no quorum turns non-primary when the view is installed.
Sources: gcomm evs_proto.cpp (check_inactive, check_suspects, handle_join, handle_install, handle_gap,
shift_to), pc_proto.cpp (have_quorum, is_prim), gcs_core.cpp (state exchange), gmcast.cpp;
components.md 1.11, 1.12.

Engine loop, for every member i:
    every inactive_check_period:  step = check(group, i, now)
    every join_retrans_period:    step = retransmit(group, i, now)     (acts in GATHER and INSTALL only)
    control message arrives:      step = receive(group, i, message, now)
    EVS message arrives:          heard(group, i, sender, now), then evs.receive if it is of i's view
    payload < 0 is delivered:     step = deliver(group, i, payload, now)
    for each step: broadcast step.sends to members_of(message.targets) with the links' delays;
        first, for view in step.gathering: evs.flush(view, i), whose messages go out too;
        if step.installed: evs.transitional(old view, survivors) and a new EVS view for the mask;
        evs.submit(view, i, payload, CONTROL_BYTES) for step.submits; log step.events
    cut of i and j: hold their EVS messages as TCP does; they arrive after the heal if the view still stands
    cut of i and j healed: at reconnect_at(...) both call reconnected(group, i, j, now); when one connection
        joins two components, their other pairs follow within 0.1 s and an RTT (gmcast topology messages)

Example:
    >>> group = new_group(3, now=10.0)
    >>> heard(group, 0, 1, 15.0)
    >>> group.last_check[0] = 14.7
    >>> check(group, 0, 15.2).sends[0].operational          # member 2 is out: {0, 1}
    3
"""

from __future__ import annotations

from sim.protocols.gmcast import GMCAST_CHECK_PERIOD, Rejoin, reconnect_at, relayed, state_transfer
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
    NON_PRIMARY,
    OPERATIONAL,
    PC_INSTALL,
    PC_STATE,
    PRIMARY,
    Event,
    Group,
    Message,
    Step,
    Timers,
    new_group,
)
from sim.protocols.primary_component import deliver, has_quorum, lose_primary, nothing, pack, representative
from sim.protocols.tables import members_of

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
    "NON_PRIMARY",
    "OPERATIONAL",
    "PC_INSTALL",
    "PC_STATE",
    "PRIMARY",
    "Event",
    "Group",
    "Message",
    "Rejoin",
    "Step",
    "Timers",
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
    "receive",
    "reconnect_at",
    "reconnected",
    "relayed",
    "retransmit",
    "start",
    "state_transfer",
]


def can_send(group: Group, member: int) -> bool:
    """Whether a commit at ``member`` may be replicated now (else it hangs, or fails: :func:`is_ready`)."""
    return group.evs[member] == OPERATIONAL and group.pc[member] == PRIMARY


def is_ready(group: Group, member: int) -> bool:
    """Whether statements are served: False means error 1047 (non-primary or joining), or that it is dead."""
    return group.evs[member] != CLOSED and group.prim[member] == 1 and group.synced[member] == 1


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


def check(group: Group, member: int, now: float) -> Step:
    """The inactivity check of ``member`` (every `evs.inactive_check_period`).

    A member that was itself stopped for three periods skips one look: it first hears what has come in.
    """
    step = nothing()
    n, timers = group.n, group.timers
    late = now - group.last_check[member] > 3 * timers.inactive_check_period
    group.last_check[member] = now
    if group.evs[member] == CLOSED or late:
        return step
    peers = group.operational[member] & ~(1 << member)
    for peer in members_of(peers):
        silence = now - group.heard[member * n + peer]
        if silence > timers.suspect_timeout:
            group.suspected[member] |= 1 << peer
            # Nobody that still sends JOINs is dropped on suspicion alone.
            if group.join_mask[member * n + peer] < 0 or silence > timers.inactive_timeout:
                group.operational[member] &= ~(1 << peer)
        else:
            group.suspected[member] &= ~(1 << peer)
    if n > 2 and peers and peers & ~group.suspected[member] == 0:
        group.operational[member] = 1 << member
    if group.evs[member] == OPERATIONAL and group.suspected[member]:
        _gather(group, member, now, step)
    if group.evs[member] in (GATHER, INSTALL):
        if now - group.gather_since[member] > timers.install_timeout:
            _start_over(group, member, now, step)
        _propose(group, member, step)
        _agree(group, member, now, step)
    return step


def retransmit(group: Group, member: int, now: float) -> Step:
    """The join retransmission timer of ``member`` (every `evs.join_retrans_period`)."""
    step = nothing()
    state = group.evs[member]
    if state == GATHER and group.install_id[member] < 0:
        step.sends.append(_join(group, member))
    elif state in (GATHER, INSTALL):
        step.sends.append(_gap(group, member, COMMIT_GAP))
        if state == INSTALL:
            step.sends.append(_gap(group, member, INSTALLED_GAP))
        elif representative(group.install_mask[member]) == member:
            step.sends.append(_gap(group, member, INSTALL_VIEW))
    return step


def receive(group: Group, member: int, message: Message, now: float) -> Step:
    """``member`` gets a control message."""
    step = nothing()
    if group.evs[member] == CLOSED:
        return step
    heard(group, member, message.sender, now)
    if message.kind == JOIN:
        _on_join(group, member, message, now, step)
    elif message.kind == LEAVE:
        _on_leave(group, member, message, now, step)
    elif message.kind == INSTALL_VIEW:
        if (
            group.evs[member] == GATHER
            and group.install_id[member] < 0
            and message.operational == group.operational[member]
        ):
            _accept(group, member, message.view, message.operational, step)
    else:
        table = group.gap_id if message.kind == COMMIT_GAP else group.installed_id
        pair = member * group.n + message.sender
        table[pair] = max(table[pair], message.view)
    _advance(group, member, now, step)
    return step


def leave(group: Group, member: int) -> Step:
    """``member`` is shut down gracefully (SIGTERM): nobody need suspect it, and quorum counts it as left."""
    step = nothing()
    others = group.mask[member] & ~(1 << member)
    step.sends.append(Message(LEAVE, member, others, group.view[member], 0, 0, 0))
    crash(group, member)
    return step


def crash(group: Group, member: int) -> None:
    """``member`` dies; nobody is told (a TCP reset is not used as a sign)."""
    group.evs[member] = CLOSED
    group.pc[member] = NON_PRIMARY
    group.prim[member] = 0
    group.synced[member] = 0


def start(group: Group, member: int, now: float, *, recovered: bool = True) -> Step:
    """A dead member's process runs again, alone in a view; then call :func:`reconnected` with its peers.

    Args:
        group: the state.
        member: which.
        now: seconds.
        recovered: whether it still knows its last primary view (`gvwstate.dat`: yes after a crash, no after
            a graceful stop), which counts when a primary component re-forms.
    """
    n = group.n
    group.evs[member] = OPERATIONAL
    group.view[member] = _next_view(group, member)
    group.mask[member] = group.operational[member] = 1 << member
    group.suspected[member] = group.left[member] = 0
    group.sent_join[member] = group.install_id[member] = -1
    if not recovered:
        group.last_prim[member] = -1
        group.last_prim_mask[member] = 0
    for peer in range(n):
        group.heard[member * n + peer] = now
        _forget_joins(group, member, peer)
    group.states[member] = group.group_states[member] = 0
    group.came_prim[member] = 0
    group.last_check[member] = now
    step = nothing()
    step.installed.append((group.view[member], group.mask[member]))
    return step


def reconnected(group: Group, member: int, peer: int, now: float) -> Step:
    """The connection between ``member`` and ``peer`` works: a peer outside the view is asked to join."""
    step = nothing()
    heard(group, member, peer, now)
    if group.evs[member] == CLOSED or group.operational[member] >> peer & 1:
        return step
    if group.evs[member] == OPERATIONAL:
        _gather(group, member, now, step)
    group.suspected[member] &= ~(1 << peer)
    group.left[member] &= ~(1 << peer)
    group.operational[member] |= 1 << peer
    _forget_joins(group, member, peer)
    _propose(group, member, step)
    return step


def _gather(group: Group, member: int, now: float, step: Step) -> None:
    """Stop sending and begin to look for a new view."""
    group.evs[member] = GATHER
    group.gather_since[member] = now
    group.settled[member] = 0
    group.sent_join[member] = -1
    group.install_id[member] = -1
    if (group.view[member], group.mask[member]) not in step.installed:
        step.gathering.append(group.view[member])


def _join(group: Group, member: int) -> Message:
    targets = (group.operational[member] | group.mask[member]) & ~(1 << member)
    return Message(
        JOIN,
        member,
        targets,
        group.view[member],
        group.operational[member],
        group.suspected[member],
        group.settled[member],
    )


def _gap(group: Group, member: int, kind: int) -> Message:
    mask = group.install_mask[member]
    return Message(kind, member, mask & ~(1 << member), group.install_id[member], mask, 0, 0)


def _propose(group: Group, member: int, step: Step) -> None:
    """Broadcast a JOIN if this member's proposal changed, and give up a view that was being installed."""
    if group.operational[member] == group.sent_join[member]:
        return
    group.evs[member] = GATHER
    group.install_id[member] = -1
    group.settled[member] = 0
    group.sent_join[member] = group.operational[member]
    step.sends.append(_join(group, member))


def _on_join(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    sender, n = message.sender, group.n
    pair = member * n + sender
    same_view = bool(group.mask[member] >> sender & 1)
    if same_view and message.view < group.view[member]:
        return  # from before the present view
    if message.view < group.join_view[pair]:
        return
    if message.view == group.install_id[member] and group.install_mask[member] >> sender & 1:
        if group.evs[member] != INSTALL:
            return  # ahead of the others' gaps; it will be sent again
        # The sender has installed the view, so all have: follow it before answering.
        _install(group, member, now, step)
        same_view = True
    group.join_mask[pair] = message.operational
    group.join_suspected[pair] = message.suspected
    group.join_settled[pair] = message.settled
    group.join_view[pair] = message.view
    if group.evs[member] == OPERATIONAL:
        _gather(group, member, now, step)
    if not same_view:
        group.operational[member] |= 1 << sender
    _check_suspects(group, member, message)
    if group.install_id[member] >= 0 and message.operational != group.install_mask[member]:
        # Somebody changed its mind: the view under way will not be installed.
        group.evs[member] = GATHER
        group.install_id[member] = -1
        group.settled[member] = 0
        step.sends.append(_join(group, member))
    _propose(group, member, step)


def _check_suspects(group: Group, member: int, message: Message) -> None:
    """Drop who is suspected by a majority of the view, or suspected here and dropped by the sender."""
    n, view = group.n, group.mask[member]
    for suspect in members_of(message.suspected & group.operational[member] & ~(1 << member)):
        count = group.suspected[member] >> suspect & 1
        for voter in members_of(view & ~(1 << member) & ~(1 << suspect)):
            if group.join_mask[member * n + voter] >= 0:
                count += group.join_suspected[member * n + voter] >> suspect & 1
        if count > len(members_of(view)) // 2:
            group.operational[member] &= ~(1 << suspect)
    group.operational[member] &= ~(group.suspected[member] & ~message.operational) | 1 << member


def _on_leave(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    if message.view != group.view[member]:
        return
    if group.evs[member] == OPERATIONAL:
        _gather(group, member, now, step)
    group.left[member] |= 1 << message.sender
    group.operational[member] &= ~(1 << message.sender)
    _propose(group, member, step)


def _start_over(group: Group, member: int, now: float, step: Step) -> None:
    """The install timer expired: drop who proposes something else, and tell whom this one suspects."""
    for peer in members_of(group.operational[member] & ~(1 << member)):
        if group.join_mask[member * group.n + peer] != group.operational[member]:
            group.operational[member] &= ~(1 << peer)
    group.evs[member] = GATHER
    group.gather_since[member] = now
    group.install_id[member] = -1
    group.settled[member] = 0
    group.sent_join[member] = group.operational[member]
    step.sends.append(_join(group, member))


def _agree(group: Group, member: int, now: float, step: Step) -> None:
    """While in GATHER: settle, and as the lowest member send the INSTALL, once all propose the same."""
    n, mine = group.n, group.operational[member]
    if group.evs[member] != GATHER or group.install_id[member] >= 0:
        return
    others = members_of(mine & ~(1 << member))
    if any(group.join_mask[member * n + peer] != mine for peer in others):
        return
    if not group.settled[member]:
        group.settled[member] = 1
        if others:
            step.sends.append(_join(group, member))
    if representative(mine) != member or any(not group.join_settled[member * n + peer] for peer in others):
        return
    _accept(group, member, _next_view(group, member), mine, step, install=True)
    _advance(group, member, now, step)


def _accept(group: Group, member: int, view: int, mask: int, step: Step, *, install: bool = False) -> None:
    """Take part in installing ``view``: send the COMMIT gap."""
    group.install_id[member] = view
    group.install_mask[member] = mask
    if mask == 1 << member:
        return
    if install:
        step.sends.append(_gap(group, member, INSTALL_VIEW))
    step.sends.append(_gap(group, member, COMMIT_GAP))


def _advance(group: Group, member: int, now: float, step: Step) -> None:
    """GATHER to INSTALL when all have committed to the view, to OPERATIONAL when all have installed it."""
    _agree(group, member, now, step)
    view, mask = group.install_id[member], group.install_mask[member]
    if view < 0:
        return
    others = members_of(mask & ~(1 << member))
    row = member * group.n
    if group.evs[member] == GATHER and all(group.gap_id[row + peer] == view for peer in others):
        group.evs[member] = INSTALL
        if others:
            step.sends.append(_gap(group, member, INSTALLED_GAP))
    if group.evs[member] == INSTALL and all(group.installed_id[row + peer] == view for peer in others):
        _install(group, member, now, step)


def _install(group: Group, member: int, now: float, step: Step) -> None:
    """The view is agreed: quorum is judged, then the members exchange their states in total order."""
    n = group.n
    group.view[member] = group.install_id[member]
    group.mask[member] = group.operational[member] = group.install_mask[member]
    group.install_id[member] = group.sent_join[member] = -1
    group.suspected[member] = 0
    group.evs[member] = OPERATIONAL
    group.states[member] = group.group_states[member] = 0
    for peer in range(n):
        _forget_joins(group, member, peer)
        group.heard[member * n + peer] = now
    step.installed.append((group.view[member], group.mask[member]))

    keeps = group.prim[member] and has_quorum(
        group.mask[member],
        group.left[member],
        group.last_prim_mask[member],
        group.weights,
        ignore_sb=group.ignore_sb,
    )
    group.left[member] = 0
    if group.prim[member] and not keeps:
        lose_primary(group, member, step)
    elif keeps:
        group.pc[member] = EXCHANGING
    group.came_prim[member] = group.prim[member]
    step.submits.append(pack(group, member, PC_STATE))


def _forget_joins(group: Group, member: int, peer: int) -> None:
    group.join_mask[member * group.n + peer] = -1
    group.join_suspected[member * group.n + peer] = 0
    group.join_settled[member * group.n + peer] = 0
    group.join_view[member * group.n + peer] = -1


def _next_view(group: Group, member: int) -> int:
    """An id above all ids this member knows, and unlike any another member can choose."""
    newest = group.view[member]
    for peer in range(group.n):
        newest = max(newest, group.join_view[member * group.n + peer])
    return (newest // group.n + 1) * group.n + member

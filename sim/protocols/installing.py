"""Galera's INSTALL phase: the lowest member proposes the view all agree on, all commit to it, all install it.

Used through :mod:`sim.protocols.membership`.
Source: gcomm/src/evs_proto.cpp (send_install, handle_install, handle_gap, handle_user_from_different_view,
handle_foreign, handle_leave, shift_to).
"""

from __future__ import annotations

from math import inf

from sim.protocols.joining import (
    consistent,
    create_join,
    gather,
    known_nodes,
    learn,
    meet,
    on_join,
    send_join,
)
from sim.protocols.membership_state import (
    CLOSED,
    COMMIT_GAP,
    EXCHANGING,
    GATHER,
    INSTALL,
    INSTALL_VIEW,
    INSTALLED_GAP,
    JOIN,
    LEAVE,
    OPERATIONAL,
    PC_STATE,
    Event,
    Group,
    Join,
    Message,
    Nodes,
    Step,
)
from sim.protocols.primary_component import has_quorum, lose_primary, pack
from sim.protocols.tables import mask_of, members_of


def listens(group: Group, member: int, sender: int, now: float) -> bool:
    """Whether ``member`` takes messages of ``sender`` at all."""
    if group.evs[member] == CLOSED or now < group.isolated_until[member]:
        return False
    # A process started again is a new member: it cannot be met before its former self is out.
    return not (group.mask[member] >> sender & 1 and group.born[sender] > group.entered[member])


def foreign(group: Group, member: int, message: Message | int, now: float, step: Step) -> None:
    """A message of a member it does not know: it is asked to join (handle_foreign).

    Args:
        group: the state.
        member: who gets it.
        message: a control message, or the sender of any other one.
        now: seconds.
        step: what comes of it.
    """
    control = message if isinstance(message, Message) else None
    sender = control.sender if control is not None else message
    assert isinstance(sender, int)
    if group.install_id[member] >= 0:
        return
    if control is not None and (control.kind == LEAVE or control.view in group.previous[member]):
        return
    meet(group, member, sender, now)
    gather(group, member, now, step, send=False)
    group.install_at[member] = now + group.timers.install_timeout
    if control is not None and control.kind == JOIN:
        group.joins[member * group.n + sender] = Join(control.view, control.nodes)
    propose_if(group, member, send_join(group, member, now, step, handle=True), now, step)


def handle_join(group: Group, member: int, sender: int, proposal: Join, now: float, step: Step) -> None:
    """A JOIN of a known member, whatever state this one is in."""
    if _is_over(group, member, sender, proposal.view):
        return
    install = group.install_join[member]
    if install is not None:
        if group.install_from[member] == sender:
            if proposal.view == group.install_id[member]:
                if group.evs[member] != INSTALL:
                    return  # ahead of the others' gaps; it will be sent again
                # The representative has installed the view, so all have: follow it before answering.
                install_view(group, member, now, step)
            gather(group, member, now, step, send=False)
        elif consistent(group, member, install):
            return
        else:
            gather(group, member, now, step, send=False)
    elif group.evs[member] != GATHER:
        gather(group, member, now, step, send=False)
    propose_if(group, member, on_join(group, member, sender, proposal, now, step), now, step)


def handle_leave(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    """A member says goodbye."""
    sender, own, pair = message.sender, message.nodes[message.sender], member * group.n + message.sender
    group.operational[member] &= ~(1 << sender)
    order = group.order[member]
    if message.view != group.view[member] or own is None or order is None:
        return
    group.left[member] |= 1 << sender
    group.leave_seq[pair] = own.reach
    group.joins[pair] = None
    news = own.safe > order.known_aru[pair]
    order.known_aru[pair] = max(order.known_aru[pair], own.safe)
    if group.evs[member] == OPERATIONAL:
        gather(group, member, now, step, send=True)
    elif news and group.evs[member] == GATHER and group.install_id[member] < 0:
        propose_if(group, member, send_join(group, member, now, step, handle=True), now, step)


def say_goodbye(group: Group, member: int, step: Step) -> None:
    """Send a LEAVE (send_leave)."""
    others = group.mask[member] & ~(1 << member)
    step.sends.append(Message(LEAVE, member, others, group.view[member], known_nodes(group, member)))


def while_leaving(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    """A leaver helps the others to agree on what it sent, and ends when a view without it is proposed."""
    mine = message.nodes[member] if message.nodes else None
    if message.kind == JOIN and message.view == group.view[member]:
        group.heard[member * group.n + message.sender] = now
        if learn(group, member, message.sender, message.nodes, step):
            say_goodbye(group, member, step)
    elif message.kind == INSTALL_VIEW and mine is not None and (not mine.operational or mine.leave_seq >= 0):
        close(group, member, step)


def close(group: Group, member: int, step: Step) -> None:
    """The leaver is out of the group."""
    group.evs[member] = CLOSED
    step.events.append(Event(member, "galera.non-primary", 1 << member))


def propose_if(group: Group, member: int, wanted: bool, now: float, step: Step) -> None:
    """As the representative of an agreed view, send the INSTALL (send_install)."""
    if not wanted:
        return
    group.attempts[member] += 1
    newest = group.view[member]
    for peer in members_of(group.operational[member]):
        proposal = group.joins[member * group.n + peer]
        newest = max(newest, proposal.view if proposal is not None else -1)
    view = max(
        (newest // group.n + group.attempts[member]) * group.n + member, group.newest[member] + group.n
    )
    group.newest[member] = view
    message = install_message(group, member, view, known_nodes(group, member))
    step.sends.append(message)
    handle_install(group, member, message, now, step)


def install_message(group: Group, member: int, view: int, nodes: Nodes) -> Message:
    """An INSTALL of ``view``, for all the member knows."""
    return Message(INSTALL_VIEW, member, group.known[member] & ~(1 << member), view, nodes)


def handle_install(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    """A view is proposed to ``member``: if it agrees, it commits to it."""
    sender, nodes = message.sender, message.nodes
    source = nodes[sender]
    if source is None or group.evs[member] == OPERATIONAL or not group.operational[member] >> sender & 1:
        return
    if message.view in group.previous[member]:
        return
    mine = nodes[member]
    if group.install_id[member] >= 0:
        if group.install_from[member] == sender:
            if message.view <= group.install_id[member]:
                return  # the same once more
            group.committed[member] = group.installed[member] = 0
            group.install_id[member] = group.install_from[member] = -1
            group.install_join[member] = None
        else:
            if mine is not None and mine.operational:
                gather(group, member, now, step, send=True)  # two views at once
            return
    elif group.installed[member] >> sender & 1:
        gather(group, member, now, step, send=True)
        return
    proposal = Join(source.view, nodes)
    if sender != member:
        handle_join(group, member, sender, proposal, now, step)
    if mine is None or not mine.operational:
        return
    listed = mask_of([p for p, node in enumerate(nodes) if node is not None])
    strangers = group.known[member] & ~(listed | group.mask[member])
    if strangers:
        # Met after the others agreed: it has to wait for the next round.
        group.known[member] &= ~strangers
        group.operational[member] &= ~strangers
        create_join(group, member)
    if not consistent(group, member, proposal):
        gather(group, member, now, step, send=True)
        return
    group.heard[member * group.n + sender] = now
    group.install_id[member] = message.view
    group.install_from[member] = sender
    group.install_join[member] = proposal
    step.sends.append(gap(group, member, COMMIT_GAP))
    group.committed[member] |= 1 << member
    _commit_if_all(group, member, now, step)


def handle_gap(group: Group, member: int, message: Message, now: float, step: Step) -> None:
    """Another member has committed to the view, or installed it."""
    if message.view != group.install_id[member]:
        return
    if message.kind == COMMIT_GAP and group.evs[member] == GATHER:
        group.committed[member] |= 1 << message.sender
        group.heard[member * group.n + message.sender] = now
        _commit_if_all(group, member, now, step)
    elif message.kind == INSTALLED_GAP and group.evs[member] == INSTALL:
        group.installed[member] |= 1 << message.sender
        group.heard[member * group.n + message.sender] = now
        _install_if_all(group, member, now, step)


def gap(group: Group, member: int, kind: int) -> Message:
    """A COMMIT or INSTALLED gap."""
    return Message(kind, member, group.known[member] & ~(1 << member), group.install_id[member])


def install_view(group: Group, member: int, now: float, step: Step) -> None:
    """The view is agreed: quorum is judged, then the members exchange their states in total order."""
    n, install = group.n, group.install_join[member]
    assert install is not None, "a view is installed after its INSTALL"
    group.previous[member] |= group.gathered[member] | {group.view[member]}
    group.gathered[member].clear()
    group.view[member] = group.install_id[member]
    group.mask[member] = mask_of(
        [p for p, node in enumerate(install.nodes) if node is not None and node.operational]
    )
    group.known[member] = group.operational[member] = group.mask[member]
    group.order[member] = None
    group.install_id[member] = group.install_from[member] = -1
    group.install_join[member] = None
    group.committed[member] = group.installed[member] = 0
    group.attempts[member] = group.install_timeouts[member] = 0
    group.suspected[member] = 0
    group.evs[member] = OPERATIONAL
    group.states[member] = group.group_states[member] = 0
    for peer in range(n):
        group.joins[member * n + peer] = None
        group.heard[member * n + peer] = now
    group.entered[member] = now
    group.check_at[member] = now + group.timers.inactive_check_period
    group.retrans_at[member] = now + group.timers.keepalive_period
    group.install_at[member] = inf
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


def _is_over(group: Group, member: int, sender: int, view: int) -> bool:
    """Whether a message comes from a view that is over (is_msg_from_previous_view)."""
    older = view // group.n < group.view[member] // group.n
    return view in group.previous[member] or bool(group.mask[member] >> sender & 1 and older)


def _everybody(group: Group, member: int, seen: int) -> bool:
    """Whether ``seen`` has all that the view will have, as far as they still are operational."""
    install = group.install_join[member]
    assert install is not None, "gaps are counted while a view is being installed"
    listed = mask_of([p for p, node in enumerate(install.nodes) if node is not None])
    return not listed & group.operational[member] & ~seen


def _commit_if_all(group: Group, member: int, now: float, step: Step) -> None:
    if _everybody(group, member, group.committed[member]):
        group.evs[member] = INSTALL
        group.check_at[member] = now + group.timers.inactive_check_period
        group.retrans_at[member] = now + group.timers.join_retrans_period
        step.sends.append(gap(group, member, INSTALLED_GAP))
        group.installed[member] |= 1 << member
        _install_if_all(group, member, now, step)


def _install_if_all(group: Group, member: int, now: float, step: Step) -> None:
    if _everybody(group, member, group.installed[member]):
        install_view(group, member, now, step)

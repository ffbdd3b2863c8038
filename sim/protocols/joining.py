"""Galera's GATHER phase: JOIN messages until all proposed members propose the same view.

A JOIN lists every member the sender knows, with what it holds of each. Two things make agreement slow:

- A member that suspects somebody broadcasts a JOIN *without handling it itself*, so it does not look
  whether all agree. Only the retransmission timer, `evs.join_retrans_period` (1 s) after GATHER was
  entered, does both.
- A member answers a JOIN with its own only if its state changed, all do not agree yet as far as it can
  see, and its last JOIN is 100 ms old. So the one that first sees the agreement stays silent, and unless it
  is the representative the others learn of it from its next retransmission.

Hence about 1 s between the first suspicion (or the first message of a foreign member) and the INSTALL,
whatever the round trip, unless members suspect within a one-way delay of each other while no slots are
under way. Used through :mod:`sim.protocols.membership`.
Source: gcomm/src/evs_proto.cpp (shift_to, send_join, create_join, populate_node_list, handle_join,
check_suspects, cross_check_inactives, check_unseen, asymmetry_elimination, join_rate_limit, request_missing),
evs_consensus.cpp. Not modelled: eviction, check_nil_view_id.
"""

from __future__ import annotations

from math import inf

from sim.protocols import evs
from sim.protocols.membership_state import (
    GATHER,
    JOIN,
    LEAVING,
    OPERATIONAL,
    RECOVERY,
    REQUEST,
    Group,
    Join,
    Message,
    Nodes,
    Seen,
    Step,
)
from sim.protocols.tables import members_of

JOIN_RATE_LIMIT = 0.1
"""Seconds after a JOIN in which a member does not answer with another one (join_rate_limit)."""


def known_nodes(group: Group, member: int) -> Nodes:
    """What ``member`` knows now of everyone (populate_node_list)."""
    n, row, view, order = group.n, member * group.n, group.view[member], group.order[member]
    nodes: list[Seen | None] = []
    for p in range(n):
        if not group.known[member] >> p & 1:
            nodes.append(None)
            continue
        safe = order.known_aru[row + p] if order is not None else -1
        reach = order.held[row + p] if order is not None else -1
        if p == member:
            nodes.append(Seen(True, False, -1, view, safe, reach))
            continue
        operational = bool(group.operational[member] >> p & 1)
        suspected = bool(group.suspected[member] >> p & 1)
        joined = group.joins[row + p]
        if joined is not None and joined.view != view:
            own = joined.nodes[p]
            assert own is not None, "a member lists itself"
            nodes.append(Seen(operational, suspected, -1, joined.view, own.safe, own.reach))
        elif joined is not None or group.mask[member] >> p & 1:
            gone = joined is None and group.left[member] >> p & 1
            leave_seq = group.leave_seq[row + p] if gone else -1
            nodes.append(Seen(operational, suspected, leave_seq, view, safe, reach))
        else:
            nodes.append(Seen(operational, suspected, -1, -1, -1, -1))
    return tuple(nodes)


def gather(group: Group, member: int, now: float, step: Step, *, send: bool) -> None:
    """Enter GATHER, or start over in it (shift_to): stop sending, give up the view under way."""
    was = group.evs[member]
    group.committed[member] = group.installed[member] = 0
    group.install_id[member] = group.install_from[member] = -1
    group.install_join[member] = None
    order = group.order[member]
    if was == OPERATIONAL and order is not None:
        step.order.append(evs.flush(order, member))
    group.evs[member] = GATHER
    if send:
        send_join(group, member, now, step, handle=False)
    group.check_at[member] = now + group.timers.inactive_check_period
    if was == OPERATIONAL:
        group.retrans_at[member] = now + group.timers.join_retrans_period
        group.install_at[member] = now + group.timers.install_timeout


def create_join(group: Group, member: int) -> Join:
    """Fix the member's present state as its proposal, without sending it."""
    made = Join(group.view[member], known_nodes(group, member))
    group.joins[member * group.n + member] = made
    return made


def send_join(group: Group, member: int, now: float, step: Step, *, handle: bool) -> bool:
    """Broadcast a JOIN; handle it too if ``handle``, which says whether the member must send an INSTALL."""
    made = create_join(group, member)
    targets = (group.known[member] | group.mask[member]) & ~(1 << member)
    step.sends.append(Message(JOIN, member, targets, made.view, made.nodes))
    group.joined_at[member] = now
    if not handle:
        return False
    _eliminate_asymmetry(group, member, now)
    return _settle(group, member, now, step)


def on_join(group: Group, member: int, sender: int, joined: Join, now: float, step: Step) -> bool:
    """``member`` in GATHER handles the JOIN of a known ``sender``; True if it must send an INSTALL."""
    n, row = group.n, member * group.n
    if group.mask[member] >> sender & 1 and joined.view // n > group.view[member] // n:
        drop(group, member, sender)  # it has formed another view already
        return False
    for p, node in enumerate(joined.nodes):
        if node is not None:
            group.gathered[member].add(node.view)
            meet(group, member, p, now)
    mine = joined.nodes[member]
    if mine is not None:
        if mine.operational:
            group.heard[row + sender] = now
        else:
            drop(group, member, sender)
    group.joins[row + sender] = joined
    if joined.view == group.view[member]:
        learn(group, member, sender, joined.nodes, step)
    _check_suspects(group, member, joined)
    _check_unseen(group, member)
    _eliminate_asymmetry(group, member, now)
    return _settle(group, member, now, step)


def meet(group: Group, member: int, peer: int, now: float) -> None:
    """``member`` gets to know ``peer``."""
    if not group.known[member] >> peer & 1:
        group.known[member] |= 1 << peer
        group.operational[member] |= 1 << peer
        group.suspected[member] &= ~(1 << peer)
        group.left[member] &= ~(1 << peer)
        group.joins[member * group.n + peer] = None
        group.heard[member * group.n + peer] = now


def drop(group: Group, member: int, peer: int) -> None:
    """``peer`` will not be in the next view (set_inactive)."""
    group.heard[member * group.n + peer] = -inf
    group.joins[member * group.n + peer] = None
    group.operational[member] &= ~(1 << peer)


def agreed(group: Group, member: int) -> bool:
    """Whether all proposed members propose what ``member`` does (Consensus::is_consensus)."""
    row = member * group.n
    mine = group.joins[row + member]
    if mine is None or not _same_state(group, member, mine):
        return False
    for p in members_of(group.operational[member]):
        joined = group.joins[row + p]
        if joined is None or not consistent(group, member, joined, own=p == member):
            return False
    return True


def consistent(group: Group, member: int, joined: Join, *, own: bool = False) -> bool:
    """Whether a proposal is that of ``member``, and from the same view also rests on the same slots."""
    mine = group.joins[member * group.n + member]
    if mine is None or (joined.view == group.view[member] and not _same_state(group, member, joined)):
        return False
    return own or _proposed(joined.nodes) == _proposed(mine.nodes)


def gathered_all(group: Group, member: int) -> bool:
    """Whether ``member`` holds every slot that can still become safe in its view."""
    order = group.order[member]
    return order is not None and _reachable(group, member) == evs.aru(order, member)


def _given_up(group: Group, member: int, peer: int) -> bool:
    """Whether ``peer`` said goodbye and then fell silent for everybody (is_all_suspected)."""
    if not group.left[member] >> peer & 1:
        return False
    for p in members_of(group.operational[member]):
        joined = group.joins[member * group.n + p]
        about = joined.nodes[peer] if joined is not None else None
        if about is None or not about.suspected:
            return False
    return True


def _settle(group: Group, member: int, now: float, step: Step) -> bool:
    """The end of handle_join: answer if something changed; True if the member must send an INSTALL."""
    mine = group.joins[member * group.n + member]
    if mine is None or mine.nodes != known_nodes(group, member):
        create_join(group, member)
        if not agreed(group, member) and now >= group.joined_at[member] + JOIN_RATE_LIMIT:
            send_join(group, member, now, step, handle=False)
    lowest = group.operational[member] & -group.operational[member]
    return lowest == 1 << member and agreed(group, member)


def _proposed(nodes: Nodes) -> list[tuple[int, Seen]]:
    return [(p, node) for p, node in enumerate(nodes) if node is not None and node.operational]


def _same_state(group: Group, member: int, joined: Join) -> bool:
    """Same slots of everyone, same leavers and excluded, and nothing more that can become safe."""
    local = known_nodes(group, member)
    lowest = [inf, inf]
    for p in members_of(group.mask[member]):
        here, there = local[p], joined.nodes[p]
        if here is None or there is None:
            return False
        if here.reach != there.reach or (here.operational, here.leave_seq) != (
            there.operational,
            there.leave_seq,
        ):
            return False
        if not _given_up(group, member, p):
            lowest = [min(lowest[0], here.safe), min(lowest[1], there.safe)]
    return lowest[0] == lowest[1] == _reachable(group, member)


def _reachable(group: Group, member: int) -> float:
    """Highest slot number that can still become safe (highest_reachable_safe_seq)."""
    order, row = group.order[member], member * group.n
    reachable = inf
    for p in members_of(group.mask[member]):
        held = order.held[row + p] if order is not None else -1
        if group.operational[member] >> p & 1:
            reachable = min(reachable, held)
        elif group.left[member] >> p & 1 and group.joins[row + p] is None:
            if not _given_up(group, member, p):
                reachable = min(reachable, group.leave_seq[row + p])
        else:
            reachable = min(reachable, held, order.known_aru[row + p] if order is not None else -1)
    return reachable


def learn(group: Group, member: int, sender: int, nodes: Nodes, step: Step) -> bool:
    """From a JOIN of the same view: ARUs, slots to fill, slots to ask for; whether an ARU was new."""
    order, row = group.order[member], member * group.n
    if order is None:
        return False
    before = order.known_aru[row : row + group.n]
    highest, missing = -1, False
    for p in members_of(group.mask[member]):
        node = nodes[p]
        if node is None or node.view != group.view[member]:
            continue
        if p != member:
            order.known_aru[row + p] = max(order.known_aru[row + p], node.safe)
        highest = max(highest, node.reach)
        missing |= not group.operational[member] >> p & 1 and node.reach > order.held[row + p]
    if order.last_sent[member] < highest and group.evs[member] != LEAVING:
        step.order.append(evs.complete(order, member, highest))
    if missing:
        view, local = group.view[member], known_nodes(group, member)
        step.sends.append(Message(REQUEST, member, 1 << sender, view, local))
    return before != order.known_aru[row : row + group.n]


def answer_request(group: Group, member: int, message: Message, step: Step) -> None:
    """A survivor lacks slots of an excluded member: send those held here."""
    if message.view == group.view[member]:
        nodes = known_nodes(group, member)
        step.sends.append(Message(RECOVERY, member, 1 << message.sender, message.view, nodes))


def recover(group: Group, member: int, message: Message) -> None:
    """Slots of excluded members arrive from a survivor."""
    order = group.order[member]
    if message.view != group.view[member] or order is None:
        return
    for p in members_of(group.mask[member] & ~group.operational[member]):
        node = message.nodes[p]
        if node is not None:
            evs.recovered(order, member, p, node.reach)


def _check_suspects(group: Group, member: int, joined: Join) -> None:
    """Drop whom a majority of the view suspects, or who is suspected here and dropped by the sender."""
    row, view = member * group.n, group.mask[member]
    for p, node in enumerate(joined.nodes):
        if node is None or p == member or node.view != group.view[member]:
            continue
        if node.suspected and group.operational[member] >> p & 1:
            votes = 0
            for voter in members_of(view & ~(1 << p)):
                vote = group.joins[row + voter]
                about = vote.nodes[p] if vote is not None else None
                votes += about is not None and about.suspected
            if 2 * votes > len(members_of(view)):
                drop(group, member, p)
        if not node.operational and group.suspected[member] >> p & 1:
            drop(group, member, p)


def _check_unseen(group: Group, member: int) -> None:
    """Drop a foreign member that has sent no JOIN if all that know its view have dropped it."""
    n, row = group.n, member * group.n
    for p in members_of(group.operational[member] & ~group.mask[member]):
        if group.joins[row + p] is not None or p == member:
            continue
        opinions: list[bool] = []
        for q in members_of(group.known[member] & ~(1 << member)):
            joined = group.joins[row + q]
            if joined is None:
                continue
            for x in range(n):
                node = joined.nodes[x]
                if node is not None and node.operational and group.joins[row + x] is None:
                    return
            about = joined.nodes[p]
            if about is not None and about.view >= 0:
                opinions.append(about.operational)
        if opinions and not any(opinions):
            drop(group, member, p)


def _eliminate_asymmetry(group: Group, member: int, now: float) -> None:
    """After `evs.suspect_timeout` in GATHER: drop the silent, and whoever one of the others has dropped."""
    timers, row = group.timers, member * group.n
    if timers.install_timeout - timers.suspect_timeout < group.install_at[member] - now:
        return
    dropped = 0
    for p in members_of(group.known[member]):
        joined = group.joins[row + p]
        operational = bool(group.operational[member] >> p & 1)
        if joined is None:
            if operational and p != member:
                drop(group, member, p)
            continue
        mine = joined.nodes[member]
        if operational and mine is not None and mine.operational:
            for q, node in enumerate(joined.nodes):
                if node is not None and not node.operational:
                    dropped |= 1 << q
    for p in members_of(dropped & group.operational[member] & ~(1 << member)):
        drop(group, member, p)

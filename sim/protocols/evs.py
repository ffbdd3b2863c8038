"""Galera's total order (EVS) as messages between the members of one view.

Every member owns the slots ``(seq, member)``. A write set takes the sender's next slot; a member
that has nothing to say fills its own slots with an empty *completion* message, and tells the others
in a *gap* message when its ARU rises (all-received-up-to: the highest seq it holds from everyone).
A slot is safe at a member when every member is known to have an ARU at or above it; safe slots
are delivered in the order (seq, member index), the same everywhere.
Time plays no part here: latency comes out of the delays the engine gives to the messages.

Source: gcomm/src/evs_proto.cpp (handle_user, handle_gap, send_user, complete_user, deliver,
handle_down), evs_input_map2.cpp; shared facts components.md 1.2, 1.3 and 1.8. Lost packets are
TCP's business, so messages of one sender must be given to each receiver in the order sent.

Example:
    >>> view = new_view(2)
    >>> step = submit(view, member=0, payload=7, size=4000)
    >>> step.sends[0].sender, step.sends[0].seq                # broadcast to the other member
    (0, 0)
    >>> answer = receive(view, 1, step.sends[0])               # half an RTT later
    >>> [message.kind == COMPLETION for message in answer.sends]
    [True]
    >>> receive(view, 0, answer.sends[0]).deliveries           # one RTT after the start
    [Delivery(member=0, seq=0, origin=0, payload=7)]
"""

from __future__ import annotations

from sim.protocols.evs_state import (
    AGGREGATE_BYTES,
    COMPLETION,
    FEEDBACK_BYTES,
    GAP,
    HEADER_BYTES,
    KEEPALIVE,
    MAX_OUTBOUND_BYTES,
    MAX_RANGE,
    MTU,
    PAYLOADS,
    RETRY_PERIOD,
    SLOTS,
    USER,
    Delivery,
    EvsState,
    Message,
    Outbox,
    Step,
    new_outbox,
    new_view,
    step_of,
)

__all__ = [
    "AGGREGATE_BYTES",
    "COMPLETION",
    "FEEDBACK_BYTES",
    "GAP",
    "HEADER_BYTES",
    "KEEPALIVE",
    "MAX_OUTBOUND_BYTES",
    "MAX_RANGE",
    "MTU",
    "PAYLOADS",
    "RETRY_PERIOD",
    "SLOTS",
    "USER",
    "Delivery",
    "EvsState",
    "Message",
    "Step",
    "aru",
    "causal_read",
    "complete",
    "flush",
    "keepalive",
    "new_view",
    "receive",
    "recovered",
    "safe",
    "submit",
    "transitional",
]


_OUT = new_outbox()


def submit(state: EvsState, member: int, payload: int, size: int) -> Step:
    """The application at ``member`` broadcasts ``payload`` (O_SAFE) of ``size`` bytes.

    Sent at once when the queue is empty and the user window is open, else queued. Refused
    (``accepted`` False) when MAX_OUTBOUND_BYTES are queued.
    """
    accepted = put_submit(state, member, payload, size, _OUT)
    return step_of(_OUT, member, accepted)


def put_submit(state: EvsState, member: int, payload: int, size: int, out: Outbox) -> bool:
    """:func:`submit` into an outbox; whether it was accepted."""
    clear(out)
    if state.queued_bytes[member] >= MAX_OUTBOUND_BYTES or not _has_room(state, member):
        return False
    was_empty = state.sent[member] == state.submitted[member]
    place = member * PAYLOADS + state.submitted[member] % PAYLOADS
    state.payload[place] = payload
    state.size[place] = size
    state.submitted[member] += 1
    state.queued_bytes[member] += size
    if was_empty:
        _send_queued(state, member, state.windows[0], out)
        _deliver(state, member, out)
    return True


def receive(state: EvsState, member: int, message: Message, *, leaving: bool = False) -> Step:
    """``member`` gets ``message`` of another member of the view; one that is leaving fills no slots any more.

    Raises:
        ValueError: a message of this sender before it was not given to this member.
    """
    kind, sender, seq, last, acknowledged, more, _ = message
    if not put_receive(state, member, kind, sender, seq, last, acknowledged, more, leaving, _OUT):
        expected = state.held[member * state.n + sender] + 1
        raise ValueError(f"member {member} got slot {seq} of {sender}, expected {expected}")
    return step_of(_OUT, member)


def put_receive(
    state: EvsState,
    member: int,
    kind: int,
    sender: int,
    seq: int,
    last: int,
    acknowledged: int,
    more: int,
    leaving: bool,
    out: Outbox,
) -> bool:
    """:func:`receive` into an outbox; False when an earlier message of the sender is missing."""
    clear(out)
    n = state.n
    before = aru(state, member)
    if kind != GAP:
        expected = state.held[member * n + sender] + 1
        if seq > expected:
            return False
        state.held[member * n + sender] = max(last, expected - 1)
    state.known_aru[member * n + sender] = max(acknowledged, state.known_aru[member * n + sender])
    now = aru(state, member)
    state.known_aru[member * n + member] = now

    idle = state.sent[member] == state.submitted[member]
    behind = state.last_sent[member] < _highest_seen(state, member)
    if idle:
        if behind and not more and not leaving:
            _complete(state, member, out)
        elif kind != GAP and now != before:
            _gap(state, member, out)
            # The real member handles its own gap message, which completes its slots (handle_gap).
            if behind and not leaving:
                _complete(state, member, out)
    else:
        _drain(state, member, kind != GAP, out)
    _deliver(state, member, out)
    return True


def keepalive(state: EvsState, member: int) -> Step:
    """The keepalive timer fires (every `evs.keepalive_period`, 1 s): an empty slot is sent.

    It fires whether or not there was traffic (handle_retrans_timer), and ignores the windows.
    """
    put_keepalive(state, member, _OUT)
    return step_of(_OUT, member)


def put_keepalive(state: EvsState, member: int, out: Outbox) -> None:
    """:func:`keepalive` into an outbox."""
    clear(out)
    if _has_room(state, member):
        _fill(state, member, 0, -1, KEEPALIVE, -1, out)
        _deliver(state, member, out)


def causal_read(state: EvsState, member: int, ticket: int, now: float, period: float = 1.0) -> Step:
    """A read with `wsrep_sync_wait` asks for a causal point; ``ticket`` comes back in ``Step.causal``.

    Answered at once when nothing is outstanding and a causal keepalive was sent less than
    ``period`` (`evs.causal_keepalive_period`, 1 s) ago; see components.md 1.8. The caller still
    has to wait until it has applied everything delivered so far.
    """
    put_causal_read(state, member, ticket, now, period, _OUT)
    return step_of(_OUT, member)


def put_causal_read(
    state: EvsState, member: int, ticket: int, now: float, period: float, out: Outbox
) -> None:
    """:func:`causal_read` into an outbox."""
    clear(out)
    recent = state.causal_sent[member] + period > now
    waiting = state.causal_tail[member] > state.causal_head[member]
    if not waiting and recent and state.last_sent[member] == safe(state, member):
        out.causal[0] = ticket
        out.counts[2] = 1
        return
    at = aru(state, member)
    if not recent:
        _fill(state, member, 0, -1, KEEPALIVE, -1, out)
        state.causal_sent[member] = now
        at = state.last_sent[member]
    place = member * PAYLOADS + state.causal_tail[member] % PAYLOADS
    state.causal_at[place] = at
    state.causal_ticket[place] = ticket
    state.causal_tail[member] += 1
    _deliver(state, member, out)


def flush(state: EvsState, member: int) -> Step:
    """Send everything queued, whatever the windows: what a member does when it enters GATHER."""
    clear(_OUT)
    while state.sent[member] < state.submitted[member]:
        _send_queued(state, member, -1, _OUT)
    _deliver(state, member, _OUT)
    return step_of(_OUT, member)


def complete(state: EvsState, member: int, up_to: int) -> Step:
    """Fill the member's own slots, empty, up to ``up_to``: on a JOIN that tells of slots others have used."""
    clear(_OUT)
    if state.last_sent[member] < up_to:
        _fill(state, member, 0, -1, COMPLETION, up_to, _OUT)
        _deliver(state, member, _OUT)
    return step_of(_OUT, member)


def recovered(state: EvsState, member: int, origin: int, reach: int) -> None:
    """A survivor sent ``member`` the slots up to ``reach`` of an ``origin`` that is not there any more."""
    place = member * state.n + origin
    state.held[place] = max(state.held[place], reach)
    state.known_aru[member * state.n + member] = aru(state, member)


def aru(state: EvsState, member: int) -> int:
    """All-received-up-to: the highest seq for which ``member`` holds the slots of all members."""
    row = member * state.n
    lowest = state.held[row + state.members[0]]
    for other in state.members:
        if state.held[row + other] < lowest:
            lowest = state.held[row + other]
    return lowest


def safe(state: EvsState, member: int) -> int:
    """The highest seq that ``member`` knows all members to hold from everyone."""
    row = member * state.n
    lowest = state.known_aru[row + state.members[0]]
    for other in state.members:
        if state.known_aru[row + other] < lowest:
            lowest = state.known_aru[row + other]
    return lowest


def transitional(state: EvsState, survivors: list[int]) -> dict[int, list[Delivery]]:
    """What each survivor still delivers when the view ends, before the next view is installed.

    Survivors exchange what any of them holds (message recovery in GATHER), so a message is delivered, and its
    transaction commits if the new view is primary, iff it had arrived at one survivor: the in-doubt
    rule of components.md 1.6. Call :func:`flush` for the survivors first.
    """
    reached = [-1] * state.n
    for origin in state.members:
        for member in survivors:
            reached[origin] = max(reached[origin], state.held[member * state.n + origin])
    deliveries: dict[int, list[Delivery]] = {}
    for member in survivors:
        clear(_OUT)
        for seq in range(state.delivered[member] + 1, max(reached) + 1):
            for origin in state.members:
                if seq <= reached[origin]:
                    _append_slot(state, seq, origin, _OUT)
        deliveries[member] = step_of(_OUT, member).deliveries
    return deliveries


def clear(out: Outbox) -> None:
    """Empty an outbox."""
    out.counts[0] = out.counts[1] = out.counts[2] = 0


def _send(
    out: Outbox, kind: int, sender: int, seq: int, last: int, acknowledged: int, more: int, size: int
) -> None:
    """Broadcast a message."""
    here = 7 * out.counts[0]
    out.sends[here] = kind
    out.sends[here + 1] = sender
    out.sends[here + 2] = seq
    out.sends[here + 3] = last
    out.sends[here + 4] = acknowledged
    out.sends[here + 5] = more
    out.sends[here + 6] = size
    out.counts[0] += 1


def _highest_seen(state: EvsState, member: int) -> int:
    """Highest slot ``member`` holds from anybody."""
    row = member * state.n
    highest = -1
    for other in state.members:
        if state.held[row + other] > highest:
            highest = state.held[row + other]
    return highest


def _fill(state: EvsState, member: int, take: int, window: int, kind: int, up_to: int, out: Outbox) -> bool:
    """Fill the member's next slot(s) with ``take`` payloads and broadcast; False when the window is closed.

    Args:
        state: the view.
        member: the sender.
        take: payloads from its queue that go into the first slot.
        window: slots allowed ahead of the safe one, -1 for no limit.
        kind: USER, COMPLETION or KEEPALIVE.
        up_to: last slot to fill, -1 for as many as can be filled without another message.
        out: where the message goes.
    """
    seq = state.last_sent[member] + 1
    limit = safe(state, member) + window
    if window >= 0 and seq > limit:
        return False
    first = state.sent[member]
    size = 0
    for count in range(first, first + take):
        size += state.size[member * PAYLOADS + count % PAYLOADS]
    if take > 1:
        size += take * AGGREGATE_BYTES

    last = min(up_to, seq + MAX_RANGE) if up_to >= 0 else seq
    more = 1
    is_last = state.submitted[member] - first <= take or up_to >= 0
    unanswered = state.unanswered_bytes[member] + size
    if is_last or (window >= 0 and (last + 1 > limit or unanswered >= FEEDBACK_BYTES)):
        more = 0
    state.unanswered_bytes[member] = unanswered if more else 0
    if not more and up_to < 0:
        # Nothing follows at once: let the message also stand for the later slots others have used.
        last = max(last, min(_highest_seen(state, member), seq + MAX_RANGE))

    for slot in range(seq, last + 1):
        state.slot_first[member * SLOTS + slot % SLOTS] = first + take
        state.slot_count[member * SLOTS + slot % SLOTS] = 0
    state.slot_first[member * SLOTS + seq % SLOTS] = first
    state.slot_count[member * SLOTS + seq % SLOTS] = take
    state.sent[member] = first + take
    for count in range(first, first + take):
        state.queued_bytes[member] -= state.size[member * PAYLOADS + count % PAYLOADS]
    state.last_sent[member] = last
    state.held[member * state.n + member] = last
    acknowledged = aru(state, member)
    state.known_aru[member * state.n + member] = acknowledged
    _send(out, kind, member, seq, last, acknowledged, more, HEADER_BYTES + size)
    return True


def _send_queued(state: EvsState, member: int, window: int, out: Outbox) -> bool:
    """Send the front of the queue, small messages aggregated up to the MTU."""
    waiting = state.submitted[member] - state.sent[member]
    take = 1
    if state.windows[2] and waiting > 1:
        total = state.size[member * PAYLOADS + state.sent[member] % PAYLOADS] + AGGREGATE_BYTES
        while take < waiting:
            following = state.size[member * PAYLOADS + (state.sent[member] + take) % PAYLOADS]
            if total + following + AGGREGATE_BYTES > MTU:
                break
            total += following + AGGREGATE_BYTES
            take += 1
    return _fill(state, member, take, window, USER, -1, out)


def _drain(state: EvsState, member: int, acknowledge: bool, out: Outbox) -> None:
    """Send what is queued as far as the send window allows; if nothing goes out, acknowledge in a gap."""
    progressed = False
    while state.sent[member] < state.submitted[member]:
        if not _send_queued(state, member, state.windows[1], out):
            if acknowledge and not progressed:
                _gap(state, member, out)
            return
        progressed = True


def _complete(state: EvsState, member: int, out: Outbox) -> None:
    """Fill the member's own slots, empty, up to the highest it has seen."""
    _fill(state, member, 0, -1, COMPLETION, _highest_seen(state, member), out)


def _gap(state: EvsState, member: int, out: Outbox) -> None:
    """Tell the others this member's ARU."""
    last = state.last_sent[member]
    _send(out, GAP, member, last, last, aru(state, member), 0, HEADER_BYTES)


def _deliver(state: EvsState, member: int, out: Outbox) -> None:
    """Deliver what has become safe, in the order (seq, origin), then let causal reads go."""
    up_to = safe(state, member)
    while state.delivered[member] < up_to:
        state.delivered[member] += 1
        for origin in state.members:
            _append_slot(state, state.delivered[member], origin, out)
    while state.causal_head[member] < state.causal_tail[member]:
        place = member * PAYLOADS + state.causal_head[member] % PAYLOADS
        if state.causal_at[place] > up_to:
            break
        out.causal[out.counts[2]] = state.causal_ticket[place]
        out.counts[2] += 1
        state.causal_head[member] += 1


def _append_slot(state: EvsState, seq: int, origin: int, out: Outbox) -> None:
    """Deliver the payloads of one slot."""
    place = origin * SLOTS + seq % SLOTS
    for count in range(state.slot_first[place], state.slot_first[place] + state.slot_count[place]):
        here = 3 * out.counts[1]
        out.deliveries[here] = seq
        out.deliveries[here + 1] = origin
        out.deliveries[here + 2] = state.payload[origin * PAYLOADS + count % PAYLOADS]
        out.counts[1] += 1


def _has_room(state: EvsState, member: int) -> bool:
    """Whether the rings can take another slot and payload without overwriting one that is still needed."""
    oldest = state.delivered[member]
    for other in state.members:
        oldest = min(oldest, state.delivered[other])
    if state.last_sent[member] - oldest >= SLOTS - MAX_RANGE - 2:
        return False
    return state.submitted[member] - _first_needed(state, member, oldest + 1) < PAYLOADS - 1


def _first_needed(state: EvsState, member: int, seq: int) -> int:
    """Count of the member's first payload in slots from ``seq`` on."""
    if seq > state.last_sent[member]:
        return state.sent[member]
    return state.slot_first[member * SLOTS + seq % SLOTS]

"""Messages and state of Galera's total order; the rules are in :mod:`sim.protocols.evs`."""

from __future__ import annotations

from typing import NamedTuple

from sim.protocols.tables import Floats, Ints

USER, COMPLETION, GAP, KEEPALIVE = 0, 1, 2, 3
"""Kinds of message: write set(s), empty slots, acknowledgement alone, empty slot sent by a timer."""

HEADER_BYTES = 64
"""Bytes of EVS, PC and GCS headers in front of every message (order of magnitude)."""

MTU = 32_636
"""Largest aggregate in bytes: 1 << 15 less the transport's headers (gmcast.hpp `mtu`)."""

AGGREGATE_BYTES = 4
"""Header of each message inside an aggregate."""

MAX_RANGE = 0xFF
"""Most slots one message can fill after its first (8-bit `seq_range`)."""

FEEDBACK_BYTES = 1 << 17
"""After this many bytes the others are made to answer though more follows (request_user_msg_feedback)."""

SLOTS = 1 << 12
PAYLOADS = 1 << 13
"""Length of the rings of slots and payloads of a member; all older ones are delivered everywhere."""

MAX_OUTBOUND_BYTES = 1 << 20
"""Output queue limit in bytes; beyond it a submit is refused and tried again later (out_queue)."""

RETRY_PERIOD = 0.01
"""Seconds between the tries of a refused submit (gcs_core.cpp, core_msg_send_retry: usleep(10000))."""


class Message(NamedTuple):
    """One broadcast to all other members of the view.

    Attributes:
        kind: USER, COMPLETION, GAP or KEEPALIVE.
        sender: member that sends it.
        seq: first slot it fills (last slot the sender has used, for a GAP).
        last: last slot it fills; slots after ``seq`` are empty.
        aru: the sender's ARU.
        more: 1 when the sender has more to send at once, so nobody need answer this one.
        size: bytes on the wire, headers included.
    """

    kind: int
    sender: int
    seq: int
    last: int
    aru: int
    more: int
    size: int


class Delivery(NamedTuple):
    """A payload delivered in total order at one member."""

    member: int
    seq: int
    origin: int
    payload: int


class Step(NamedTuple):
    """What a call makes happen at its member.

    Attributes:
        sends: broadcasts, in order.
        deliveries: payloads delivered now, in total order.
        causal: tickets of causal reads that may go on.
        accepted: False when a submit was refused (EAGAIN): try again after RETRY_PERIOD.
    """

    sends: list[Message]
    deliveries: list[Delivery]
    causal: list[int]
    accepted: bool


class Outbox(NamedTuple):
    """Where the rules put what a call makes happen, in flat tables that are used again and again.

    Attributes:
        counts: how many sends, deliveries and causal tickets there are.
        sends: 7 ints a message, as in :class:`Message`.
        deliveries: 3 ints a payload: seq, origin, payload.
        causal: tickets.
    """

    counts: Ints
    sends: Ints
    deliveries: Ints
    causal: Ints


def new_outbox(slots: int = 1 << 14) -> Outbox:
    """An empty one; ``slots`` bounds what one call can make happen."""
    return Outbox([0, 0, 0], [0] * (7 * slots), [0] * (3 * slots), [0] * slots)


def step_of(out: Outbox, member: int, accepted: bool = True) -> Step:
    """What is in ``out``, in words."""
    sends = [Message(*out.sends[7 * k : 7 * k + 7]) for k in range(out.counts[0])]
    deliveries = [Delivery(member, *out.deliveries[3 * k : 3 * k + 3]) for k in range(out.counts[1])]
    return Step(sends, deliveries, list(out.causal[: out.counts[2]]), accepted)


class EvsState(NamedTuple):
    """All members' state of one view, in flat tables.

    ``held`` and ``known_aru`` are matrices ``[member * n + other]``: the last slot of ``other`` that
    ``member`` holds, and the last ARU it has heard from it. ``slot_first``, ``slot_count``
    (``[origin * SLOTS + seq % SLOTS]``) say which of the origin's payloads a slot carries; ``payload``
    and ``size`` (``[origin * PAYLOADS + count % PAYLOADS]``) hold them in the order submitted.

    Attributes:
        n: members known to the caller.
        members: those in the view, ascending.
        windows: user_send_window, send_window, and 1 for aggregation.
        held: see above.
        known_aru: see above.
        last_sent: by member, last slot it used.
        delivered: by member, last seq whose slots it delivered.
        sent: by member, how many payloads it put into slots.
        submitted: by member, how many payloads it was given.
        queued_bytes: by member, bytes submitted and not sent.
        unanswered_bytes: by member, bytes sent with ``more`` set in a row.
        slot_first: see above.
        slot_count: see above.
        payload: see above.
        size: see above.
        causal_at: by member and ring place, seq that a causal read waits for.
        causal_ticket: the same, its ticket.
        causal_head: by member, causal reads answered so far.
        causal_tail: by member, causal reads queued so far.
        causal_sent: by member, when it last sent a causal keepalive.
    """

    n: int
    members: Ints
    windows: Ints
    held: Ints
    known_aru: Ints
    last_sent: Ints
    delivered: Ints
    sent: Ints
    submitted: Ints
    queued_bytes: Ints
    unanswered_bytes: Ints
    slot_first: Ints
    slot_count: Ints
    payload: Ints
    size: Ints
    causal_at: Ints
    causal_ticket: Ints
    causal_head: Ints
    causal_tail: Ints
    causal_sent: Floats


def new_view(
    n: int,
    *,
    members: list[int] | None = None,
    user_send_window: int = 2,
    send_window: int = 4,
    aggregate: bool = True,
) -> EvsState:
    """State of a freshly installed view.

    Args:
        n: number of members known to the caller (indices run over 0..n-1).
        members: which of them are in the view; all by default.
        user_send_window: `evs.user_send_window` (2), slots ahead of the safe one for a new message.
        send_window: `evs.send_window` (4), the same for messages that waited in the queue.
        aggregate: `evs.use_aggregate` (on).
    """
    return EvsState(
        n=n,
        members=sorted(members) if members is not None else list(range(n)),
        windows=[user_send_window, send_window, int(aggregate)],
        held=[-1] * (n * n),
        known_aru=[-1] * (n * n),
        last_sent=[-1] * n,
        delivered=[-1] * n,
        sent=[0] * n,
        submitted=[0] * n,
        queued_bytes=[0] * n,
        unanswered_bytes=[0] * n,
        slot_first=[0] * (n * SLOTS),
        slot_count=[0] * (n * SLOTS),
        payload=[0] * (n * PAYLOADS),
        size=[0] * (n * PAYLOADS),
        causal_at=[0] * (n * PAYLOADS),
        causal_ticket=[0] * (n * PAYLOADS),
        causal_head=[0] * n,
        causal_tail=[0] * n,
        causal_sent=[-1e18] * n,
    )


def released(state: EvsState, member: int) -> list[int]:
    """Tickets of the causal reads still open at ``member`` when it leaves the view: they wait no longer.

    They go on with what the member has delivered by then (shift_to: ``deliver_local(true)``).
    """
    places = range(state.causal_head[member], state.causal_tail[member])
    tickets = [state.causal_ticket[member * PAYLOADS + place % PAYLOADS] for place in places]
    state.causal_head[member] = state.causal_tail[member]
    return tickets

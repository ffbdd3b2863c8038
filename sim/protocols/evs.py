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

from typing import NamedTuple

from sim.protocols.tables import Ints

USER, COMPLETION, GAP, KEEPALIVE = 0, 1, 2, 3
"""Kinds of message: write set(s), empty slots, acknowledgement alone, empty slot sent by a timer."""

HEADER_BYTES = 64
"""Bytes of EVS, PC and GCS headers in front of every message (order of magnitude; the fields add up to it)."""

MTU = 32_636
"""Largest aggregate in bytes: 1 << 15 less the transport's headers (gmcast.hpp `mtu`)."""

MAX_OUTBOUND_BYTES = 1 << 20
"""Output queue limit in bytes; beyond it a submit is refused and tried again after 1 ms (out_queue)."""

RETRY_PERIOD = 0.001
"""Seconds between the tries of a refused submit (galera replicator: usleep(1000))."""


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


class EvsState(NamedTuple):
    """All members' state of one view.

    ``held``, ``known_aru`` are matrices ``[member * n + other]``; the slot tables are rings.
    """

    n: int
    members: Ints
    user_send_window: int
    send_window: int
    aggregate: int
    held: Ints
    known_aru: Ints
    last_sent: Ints
    delivered: Ints
    queue_head: Ints
    queue_tail: Ints
    queue_bytes: Ints
    payloads: list[Ints]
    sizes: list[Ints]
    slot_first: list[Ints]
    slot_count: list[Ints]
    causal_seq: list[Ints]
    causal_ticket: list[Ints]
    last_causal: list[float]


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
    raise NotImplementedError


def submit(state: EvsState, member: int, payload: int, size: int) -> Step:
    """The application at ``member`` broadcasts ``payload`` (O_SAFE) of ``size`` bytes.

    Sent at once when the queue is empty and the user window is open, else queued.
    """
    raise NotImplementedError


def receive(state: EvsState, member: int, message: Message) -> Step:
    """``member`` gets ``message`` of another member of the view."""
    raise NotImplementedError


def keepalive(state: EvsState, member: int) -> Step:
    """The keepalive timer fires (every `evs.keepalive_period`, 1 s): an empty slot is sent.

    It fires whether or not there was traffic (handle_retrans_timer), and ignores the windows.
    """
    raise NotImplementedError


def causal_read(state: EvsState, member: int, ticket: int, now: float, period: float = 1.0) -> Step:
    """A read with `wsrep_sync_wait` asks for a causal point; ``ticket`` comes back in ``Step.causal``.

    Answered at once when nothing is outstanding and a causal keepalive was sent less than
    ``period`` (`evs.causal_keepalive_period`, 1 s) ago; see components.md 1.8. The caller still
    has to wait until it has applied everything delivered so far.
    """
    raise NotImplementedError


def flush(state: EvsState, member: int) -> Step:
    """Send everything queued, whatever the windows: what a member does when it enters GATHER."""
    raise NotImplementedError


def transitional(state: EvsState, survivors: list[int]) -> dict[int, list[Delivery]]:
    """What each survivor still delivers when the view ends, before the next view is installed.

    Survivors exchange what one of them holds, so a message is delivered (and its transaction
    commits in a primary component) iff it had arrived at one survivor: the in-doubt rule of components.md 1.6.
    """
    raise NotImplementedError


def in_flight(state: EvsState, survivors: list[int]) -> list[int]:
    """Payloads submitted in this view that no survivor holds: they are lost when the view ends."""
    raise NotImplementedError


def order_time(delay: list[list[float]], origin: int, member: int) -> float:
    """Seconds until a lone message of ``origin`` is delivered at ``member``, all others idle.

    ``t(A, i) = max_k { max_j [d(A,j) + d(j,k)] + d(k,i) }`` over one-way delays ``delay[a][b]``
    (components.md 1.2). For two members the origin needs one RTT, for three and more 1.5 RTT.
    """
    raise NotImplementedError

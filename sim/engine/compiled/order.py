"""The total order between the members of a view: messages, connections, deliveries.

The rules are those of `sim.protocols.evs`, compiled as they stand. What a view in upheaval needs
(control payloads, membership, reconnecting) is left to Python: `sim.engine.compiled.control`.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine.compiled import layout as w
from sim.engine.compiled.cpus import stalled
from sim.engine.compiled.events import append, give, node, push, take
from sim.engine.compiled.galera import causal_point, delivered
from sim.engine.compiled.jit import Floats, Ints, entry, inlined, kernel, twins
from sim.engine.compiled.network import blocked, delay, in_order, round_trip, rto
from sim.program import VPN
from sim.protocols import evs, membership
from sim.protocols.evs_state import EvsState, Outbox

_made = twins(
    evs,
    (
        "aru",
        "safe",
        "clear",
        "_highest_seen",
        "_first_needed",
        "_has_room",
        "_append_slot",
        "_send",
        "_gap",
        "_deliver",
        "_fill",
        "_send_queued",
        "_drain",
        "_complete",
        "put_submit",
        "put_receive",
        "put_causal_read",
        "put_keepalive",
    ),
)
put_submit = _made["put_submit"]
put_receive = _made["put_receive"]
put_causal_read = _made["put_causal_read"]
put_keepalive = _made["put_keepalive"]

_SLOTS, _PAYLOADS = evs.SLOTS, evs.PAYLOADS
_LEAVING, _OPERATIONAL = membership.LEAVING, membership.OPERATIONAL


@inlined
def state_of(i64: Any, f64: Any, view: int, n: int) -> EvsState:
    """The tables of a view."""
    return EvsState(
        n,
        i64[i64[view + w.V_MEMBERS] : i64[view + w.V_MEMBERS] + i64[view + w.V_SIZE]],
        i64[i64[view + w.V_WINDOWS] : i64[view + w.V_WINDOWS] + 3],
        i64[i64[view + w.V_HELD] : i64[view + w.V_HELD] + n * n],
        i64[i64[view + w.V_KNOWN_ARU] : i64[view + w.V_KNOWN_ARU] + n * n],
        i64[i64[view + w.V_LAST_SENT] : i64[view + w.V_LAST_SENT] + n],
        i64[i64[view + w.V_DELIVERED] : i64[view + w.V_DELIVERED] + n],
        i64[i64[view + w.V_SENT] : i64[view + w.V_SENT] + n],
        i64[i64[view + w.V_SUBMITTED] : i64[view + w.V_SUBMITTED] + n],
        i64[i64[view + w.V_QUEUED] : i64[view + w.V_QUEUED] + n],
        i64[i64[view + w.V_UNANSWERED] : i64[view + w.V_UNANSWERED] + n],
        i64[i64[view + w.V_SLOT_FIRST] : i64[view + w.V_SLOT_FIRST] + n * _SLOTS],
        i64[i64[view + w.V_SLOT_COUNT] : i64[view + w.V_SLOT_COUNT] + n * _SLOTS],
        i64[i64[view + w.V_PAYLOAD] : i64[view + w.V_PAYLOAD] + n * _PAYLOADS],
        i64[i64[view + w.V_BYTES] : i64[view + w.V_BYTES] + n * _PAYLOADS],
        i64[i64[view + w.V_CAUSAL_AT] : i64[view + w.V_CAUSAL_AT] + n * _PAYLOADS],
        i64[i64[view + w.V_CAUSAL_TICKET] : i64[view + w.V_CAUSAL_TICKET] + n * _PAYLOADS],
        i64[i64[view + w.V_CAUSAL_HEAD] : i64[view + w.V_CAUSAL_HEAD] + n],
        i64[i64[view + w.V_CAUSAL_TAIL] : i64[view + w.V_CAUSAL_TAIL] + n],
        f64[i64[view + w.V_CAUSAL_SENT] : i64[view + w.V_CAUSAL_SENT] + n],
    )


@inlined
def outbox_of(i64: Any, f64: Any, db: int) -> Outbox:
    """The database's outbox."""
    return Outbox(
        i64[i64[db + w.E_COUNTS] : i64[db + w.E_COUNTS] + 3],
        i64[i64[db + w.E_SENDS] :],
        i64[i64[db + w.E_DELIVERIES] :],
        i64[i64[db + w.E_CAUSAL] :],
    )


# -- connections ---------------------------------------------------------------------------


@kernel
def member_at(i64: Ints, f64: Floats, db: int, index: int) -> int:
    """The record of member ``index``."""
    return i64[i64[db + w.E_MEMBERS] + index]


@kernel
def talks(i64: Ints, f64: Floats, db: int, index: int) -> bool:
    """Whether the member's group communication runs."""
    member = member_at(i64, f64, db, index)
    return (i64[member + w.A_UP] != 0 and i64[member + w.A_PAUSED] == 0) or i64[
        i64[db + w.E_EVS] + index
    ] == _LEAVING


@kernel
def alive(i64: Ints, f64: Floats, db: int, i: int, j: int) -> bool:
    """Whether two members would hear each other."""
    a, b = i64[member_at(i64, f64, db, i) + w.A_SITE], i64[member_at(i64, f64, db, j) + w.A_SITE]
    return (
        not (blocked(i64, f64, VPN, a, b) or blocked(i64, f64, VPN, b, a))
        and talks(i64, f64, db, i)
        and talks(i64, f64, db, j)
    )


@entry
def forget_message(i64: Ints, f64: Floats, message: int) -> None:
    """One receiver fewer."""
    i64[message + w.Y_REFERENCES] -= 1
    if i64[message + w.Y_REFERENCES] == 0:
        give(i64, f64, w.FREE_MSG, message)


@entry
def new_message(i64: Ints, f64: Floats, db: int, kind: int, sender: int, size: int, handle: int) -> int:
    """A message that nobody has been sent yet; the reference is the caller's, to let go of."""
    message = take(i64, f64, w.FREE_MSG, w.Y_WORDS)
    i64[message + w.Y_REFERENCES] = 1
    i64[message + w.Y_DATABASE] = db
    i64[message + w.Y_KIND] = kind
    i64[message + w.Y_SENDER] = sender
    i64[message + w.Y_SIZE] = size
    i64[message + w.Y_HANDLE] = handle
    return message


@entry
def deliver_at(i64: Ints, f64: Floats, db: int, sender: int, peer: int, at: float, message: int) -> None:
    """A message arrives at ``at``, after those sent to the peer before; takes over one reference."""
    place = i64[db + w.E_LAST] + sender * i64[db + w.E_COUNT] + peer
    wait = in_order(f64[w.NOW], at, f64[place])
    f64[place] = f64[w.NOW] + wait
    push(i64, f64, wait, w.ARRIVE, message, member_at(i64, f64, db, peer))


@kernel
def through(i64: Ints, f64: Floats, db: int, sender: int, relay: int, peer: int, size: int) -> float:
    """Seconds over a relay."""
    a = i64[member_at(i64, f64, db, sender) + w.A_SITE]
    b = i64[member_at(i64, f64, db, relay) + w.A_SITE]
    c = i64[member_at(i64, f64, db, peer) + w.A_SITE]
    return delay(i64, f64, VPN, a, b, size) + delay(i64, f64, VPN, b, c, size)


@kernel
def hold(i64: Ints, f64: Floats, db: int, sender: int, peer: int, message: int, control: int) -> None:
    """A message waits for its link."""
    i64[message + w.Y_REFERENCES] += 1
    parcel = node(i64, f64, message, control, 0)
    f64[parcel + w.N_D] = f64[w.NOW]
    append(i64, f64, i64[db + w.E_PARCELS] + 2 * (sender * i64[db + w.E_COUNT] + peer), parcel)


@entry
def carry(
    i64: Ints, f64: Floats, db: int, sender: int, peer: int, size: int, message: int, control: int
) -> None:
    """Bring a message to ``peer``, after those sent to it before."""
    n = i64[db + w.E_COUNT]
    now = f64[w.NOW]
    if not i64[i64[db + w.E_LINKED] + sender * n + peer]:
        relay = i64[i64[db + w.E_RELAY] + sender * n + peer]
        if relay >= 0 and alive(i64, f64, db, sender, relay) and alive(i64, f64, db, relay, peer):
            i64[message + w.Y_REFERENCES] += 1
            at = now + through(i64, f64, db, sender, relay, peer, size) + f64[db + w.E_HANDLING]
            deliver_at(i64, f64, db, sender, peer, at, message)
        elif not control:
            hold(i64, f64, db, sender, peer, message, control)
        return
    a, b = i64[member_at(i64, f64, db, sender) + w.A_SITE], i64[member_at(i64, f64, db, peer) + w.A_SITE]
    parcels = i64[db + w.E_PARCELS] + 2 * (sender * n + peer)
    closed = blocked(i64, f64, VPN, a, b)
    if blocked(i64, f64, VPN, b, a):
        place = i64[db + w.E_UNANSWERED] + sender * n + peer
        f64[place] = min(now, f64[place])
        closed = closed or now > f64[place] + rto(round_trip(i64, f64, VPN, a, b))
    if closed or i64[parcels]:
        # TCP keeps the order: what was sent before may wait for a peer that is stopped still.
        hold(i64, f64, db, sender, peer, message, control)
        return
    i64[message + w.Y_REFERENCES] += 1
    at = now + delay(i64, f64, VPN, a, b, size) + f64[db + w.E_HANDLING]
    deliver_at(i64, f64, db, sender, peer, at, message)


@entry
def send(
    i64: Ints,
    f64: Floats,
    db: int,
    view: int,
    index: int,
    kind: int,
    seq: int,
    last: int,
    acknowledged: int,
    more: int,
    size: int,
) -> None:
    """Broadcast a message of the total order; connected members outside the view hear it too."""
    message = new_message(i64, f64, db, kind, index, size, 0)
    i64[message + w.Y_VIEW] = view
    i64[message + w.Y_SEQ] = seq
    i64[message + w.Y_LAST] = last
    i64[message + w.Y_ARU] = acknowledged
    i64[message + w.Y_MORE] = more
    n = i64[db + w.E_COUNT]
    mask = i64[view + w.V_MASK]
    for peer in range(n):
        if peer != index and mask >> peer & 1:
            carry(i64, f64, db, index, peer, size, message, 0)
    forget_message(i64, f64, message)
    if mask == i64[db + w.E_EVERYBODY]:
        return
    for peer in range(n):
        if peer == index or mask >> peer & 1:
            continue
        if not (
            i64[i64[db + w.E_LINKED] + index * n + peer] or i64[i64[db + w.E_RELAY] + index * n + peer] >= 0
        ):
            continue
        if not i64[i64[db + w.E_KNOWN] + peer] >> index & 1:
            stranger = new_message(i64, f64, db, w.STRANGER_MESSAGE, index, evs.HEADER_BYTES, 0)
            carry(i64, f64, db, index, peer, evs.HEADER_BYTES, stranger, 1)
            forget_message(i64, f64, stranger)


# -- steps of the total order --------------------------------------------------------------


@kernel
def carry_out(i64: Ints, f64: Floats, db: int, view: int, index: int) -> None:
    """What is in the outbox happens at member ``index``."""
    counts, sends = i64[db + w.E_COUNTS], i64[db + w.E_SENDS]
    deliveries, causal = i64[db + w.E_DELIVERIES], i64[db + w.E_CAUSAL]
    for k in range(i64[counts]):
        s = sends + 7 * k
        send(i64, f64, db, view, index, i64[s], i64[s + 2], i64[s + 3], i64[s + 4], i64[s + 5], i64[s + 6])
    member = member_at(i64, f64, db, index)
    for k in range(i64[counts + 1]):
        if i64[member + w.A_UP]:
            delivered(i64, f64, db, index, i64[deliveries + 3 * k + 2])
    for k in range(i64[counts + 2]):
        causal_point(i64, f64, i64[causal + k])


@kernel
def is_quiet(i64: Ints, f64: Floats, member: int) -> bool:
    """Whether no control payload is still to be delivered at the member: Python must see to those."""
    return i64[i64[i64[member + w.B_VIEW] + w.V_DUE] + i64[member + w.B_INDEX]] == 0


@kernel
def broadcast_payload(i64: Ints, f64: Floats, member: int, payload: int, size: int) -> bool:
    """Broadcast an application payload from a quiet member; False when the queue is full."""
    db, index, view = i64[member + w.B_DATABASE], i64[member + w.B_INDEX], i64[member + w.B_VIEW]
    n = i64[db + w.E_COUNT]
    accepted = put_submit(state_of(i64, f64, view, n), index, payload, size, outbox_of(i64, f64, db))
    carry_out(i64, f64, db, view, index)
    return accepted


@kernel
def ask_causal(i64: Ints, f64: Floats, member: int, ticket: int) -> None:
    """A quiet member asks for a causal point."""
    db, index, view = i64[member + w.B_DATABASE], i64[member + w.B_INDEX], i64[member + w.B_VIEW]
    n = i64[db + w.E_COUNT]
    put_causal_read(state_of(i64, f64, view, n), index, ticket, f64[w.NOW], 1.0, outbox_of(i64, f64, db))
    carry_out(i64, f64, db, view, index)


@kernel
def arrived(i64: Ints, f64: Floats, message: int, member: int) -> int:
    """A message is there; returns why Python must go on, 0 if it need not."""
    db, index = i64[message + w.Y_DATABASE], i64[member + w.B_INDEX]
    if i64[message + w.Y_KIND] >= w.CONTROL_MESSAGE:
        return w.UP_ARRIVE
    # group communication is a thread like others: out of quota, it waits too
    wait = max(stalled(i64, f64, i64[member + w.A_CPU]), f64[member + w.B_RESUMES] - f64[w.NOW])
    if wait > 0.0:
        wait = in_order(f64[w.NOW], f64[w.NOW] + wait, f64[member + w.B_RESUMES])
        f64[member + w.B_RESUMES] = f64[w.NOW] + wait
        push(i64, f64, wait, w.ARRIVE_AGAIN, message, member)
        return 0
    current, view = i64[member + w.B_VIEW], i64[message + w.Y_VIEW]
    if current != view:
        if i64[view + w.V_NUMBER] > i64[current + w.V_NUMBER]:
            return w.UP_ARRIVE
        forget_message(i64, f64, message)
        return 0
    if i64[i64[db + w.E_EVS] + index] != _OPERATIONAL or not is_quiet(i64, f64, member):
        return w.UP_ARRIVE
    n = i64[db + w.E_COUNT]
    sender = i64[message + w.Y_SENDER]
    f64[i64[db + w.E_HEARD] + index * n + sender] = f64[w.NOW]
    accepted = put_receive(
        state_of(i64, f64, view, n),
        index,
        i64[message + w.Y_KIND],
        sender,
        i64[message + w.Y_SEQ],
        i64[message + w.Y_LAST],
        i64[message + w.Y_ARU],
        i64[message + w.Y_MORE],
        False,
        outbox_of(i64, f64, db),
    )
    forget_message(i64, f64, message)
    if not accepted:
        return w.UP_LOST
    carry_out(i64, f64, db, view, index)
    return 0


@kernel
def arrive(i64: Ints, f64: Floats, message: int, member: int) -> int:
    """The network brings a message to a member."""
    if i64[member + w.A_PAUSED]:
        append(i64, f64, member + w.B_INBOX_HEAD, node(i64, f64, message, 0, 0))
        return 0
    if talks(i64, f64, i64[message + w.Y_DATABASE], i64[member + w.B_INDEX]):
        return arrived(i64, f64, message, member)
    forget_message(i64, f64, message)
    return 0

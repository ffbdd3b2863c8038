"""What sentinels do while nothing is wrong: `sim.protocols.sentinel_routine` over the memory's tables.

All else (something is down, a failover, an answer that is news) is left to `sim.engine.sessions`,
whose state lies in the same tables: `sim.engine.compiled.sessions`.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from sim.engine.compiled import layout as w
from sim.engine.compiled.draws import following, uniform
from sim.engine.compiled.events import give, push, take
from sim.engine.compiled.jit import Floats, Ints, entry, inlined, kernel, twins
from sim.engine.compiled.network import blocked, delay
from sim.program import VPN
from sim.protocols import sentinel, sentinel_routine
from sim.protocols.sentinel_routine import SEND_HELLO, SEND_INFO, SEND_PING, Routine

_made = twins(
    sentinel_routine,
    (
        "note_ping",
        "note_pong",
        "handled",
        "due",
        "peaceful",
        "link_down",
        "info_is_news",
        "note_info",
        "hello_is_news",
        "primary_known",
    ),
)
note_pong = _made["note_pong"]
handled = _made["handled"]
due = _made["due"]
peaceful = _made["peaceful"]
link_down = _made["link_down"]
info_is_news = _made["info_is_news"]
note_info = _made["note_info"]
hello_is_news = _made["hello_is_news"]
primary_known = _made["primary_known"]

_PING, _PONG, _INFO, _INFO_REPLY, _HELLO = (
    sentinel.PING,
    sentinel.PONG,
    sentinel.INFO,
    sentinel.INFO_REPLY,
    sentinel.HELLO,
)
_BYTES = sentinel.MESSAGE_BYTES
_ROLE_PRIMARY = sentinel.ROLE_PRIMARY


@inlined
def routine_of(i64: Any, f64: Any, here: int) -> Routine:
    """The tables that the rules use, in the order of `Routine`."""
    t = here + w.H_TABLES
    return Routine(
        i64[here + w.H_SENTINELS],
        i64[here + w.H_INSTANCES],
        i64[i64[t] :],
        i64[i64[t + 1] :],
        i64[i64[t + 2] :],
        i64[i64[t + 3] :],
        i64[i64[t + 4] :],
        i64[i64[t + 5] :],
        f64[i64[t + 6] :],
        f64[i64[t + 7] :],
        i64[i64[t + 8] :],
        f64[i64[t + 9] :],
        f64[i64[t + 10] :],
        f64[i64[t + 11] :],
        f64[i64[t + 12] :],
        f64[i64[t + 13] :],
        f64[i64[t + 14] :],
        i64[i64[t + 15] :],
        i64[i64[t + 16] :],
        i64[i64[t + 17] :],
        f64[i64[t + 18] :],
        f64[i64[t + 19] :],
        i64[i64[t + 20] :],
        f64[i64[t + 21] :],
        i64[i64[t + 22] :],
        i64[i64[t + 23] :],
        i64[i64[t + 24] :],
        i64[i64[t + 25] :],
        i64[i64[t + 26] :],
        i64[i64[t + 27] :],
        f64[i64[t + 28] :],
        i64[i64[t + 29] :],
    )


@entry
def new_note(i64: Ints, f64: Floats, here: int, kind: int, source: int, target: int, to_instance: int) -> int:
    """A message; who makes it fills in what its kind needs."""
    note = take(i64, f64, w.FREE_NOTE, w.I_WORDS)
    i64[note + w.I_SESSIONS] = here
    i64[note + w.I_KIND] = kind
    i64[note + w.I_SOURCE] = source
    i64[note + w.I_TARGET] = target
    i64[note + w.I_TO_INSTANCE] = to_instance
    i64[note + w.I_EPOCH] = 0
    i64[note + w.I_CONFIG_EPOCH] = 0
    i64[note + w.I_CANDIDATE] = -1
    i64[note + w.I_FLAG] = 0
    i64[note + w.I_OFFSET] = 0
    f64[note + w.I_LINK_DOWN] = 0.0
    return note


@kernel
def process(i64: Ints, f64: Floats, here: int, is_instance: int, index: int) -> int:
    """The record of a sentinel or a server."""
    return i64[i64[here + (w.H_SERVERS if is_instance else w.H_WATCHERS)] + index]


@kernel
def answering(i64: Ints, f64: Floats, daemon: int) -> bool:
    """Runs and is not paused."""
    return i64[daemon + w.A_UP] != 0 and i64[daemon + w.A_PAUSED] == 0


@kernel
def send(i64: Ints, f64: Floats, sender: int, note: int) -> None:
    """A process sends a message to its target, unless the link is dead."""
    here = i64[note + w.I_SESSIONS]
    receiver = process(i64, f64, here, i64[note + w.I_TO_INSTANCE], i64[note + w.I_TARGET])
    a, b = i64[sender + w.A_SITE], i64[receiver + w.A_SITE]
    if blocked(i64, f64, VPN, a, b) or blocked(i64, f64, VPN, b, a):
        give(i64, f64, w.FREE_NOTE, note)
        return
    took = delay(i64, f64, VPN, a, b, _BYTES[i64[note + w.I_KIND]])
    push(i64, f64, took, w.SENTINEL_MESSAGE, note, 0)


@kernel
def sentinel_tick(i64: Ints, f64: Floats, here: int, index: int) -> int:
    """A sentinel's timer; returns why Python must see to it, 0 if it need not."""
    watch = routine_of(i64, f64, here)
    now, down_after = f64[w.NOW], f64[here + w.H_DOWN_AFTER]
    me = process(i64, f64, here, 0, index)
    runs = answering(i64, f64, me)
    if runs and not peaceful(watch, index, down_after, now):
        return w.UP_TICK
    timer = i64[i64[here + w.H_TIMERS] + index]
    drawn = uniform(i64, f64, timer, following(i64, f64, timer))
    push(i64, f64, 1.0 / (10 + int(10 * drawn)), w.SENTINEL_TICK, here, index)
    if not runs:
        return 0
    following(i64, f64, i64[here + w.H_DESYNC])
    watch.previous_tick[index] = now
    for turn in range(watch.instances):
        instance = handled(watch, index, turn)
        found = due(watch, index, instance, down_after, now)
        if found & SEND_PING:
            send(i64, f64, me, new_note(i64, f64, here, _PING, index, instance, 1))
        if found & SEND_INFO:
            send(i64, f64, me, new_note(i64, f64, here, _INFO, index, instance, 1))
        if found & SEND_HELLO:
            note = new_note(i64, f64, here, _HELLO, index, instance, 1)
            i64[note + w.I_EPOCH] = watch.epoch[index]
            i64[note + w.I_CONFIG_EPOCH] = watch.config_epoch[index]
            i64[note + w.I_CANDIDATE] = primary_known(watch, index)
            send(i64, f64, me, note)
    return 0


@kernel
def at_instance(i64: Ints, f64: Floats, here: int, note: int) -> int:
    """A server gets a message of a sentinel."""
    watch = routine_of(i64, f64, here)
    kind, instance, source = i64[note + w.I_KIND], i64[note + w.I_TARGET], i64[note + w.I_SOURCE]
    server = process(i64, f64, here, 1, instance)
    if answering(i64, f64, server) and watch.alive[instance]:
        if kind == _PING:
            send(i64, f64, server, new_note(i64, f64, here, _PONG, instance, source, 0))
        elif kind == _INFO and not watch.syncing[instance]:
            reply = new_note(i64, f64, here, _INFO_REPLY, instance, source, 0)
            i64[reply + w.I_CANDIDATE] = watch.role[instance]
            i64[reply + w.I_FLAG] = watch.role[instance] == _ROLE_PRIMARY
            i64[reply + w.I_OFFSET] = watch.offset[instance]
            f64[reply + w.I_LINK_DOWN] = link_down(watch, instance, f64[w.NOW])
            send(i64, f64, server, reply)
        elif kind == _HELLO:
            for other in range(watch.sentinels):
                if other != source:
                    passed = new_note(i64, f64, here, _HELLO, source, other, 0)
                    i64[passed + w.I_EPOCH] = i64[note + w.I_EPOCH]
                    i64[passed + w.I_CONFIG_EPOCH] = i64[note + w.I_CONFIG_EPOCH]
                    i64[passed + w.I_CANDIDATE] = i64[note + w.I_CANDIDATE]
                    send(i64, f64, server, passed)
        else:
            return w.UP_MESSAGE
    give(i64, f64, w.FREE_NOTE, note)
    return 0


@kernel
def at_sentinel(i64: Ints, f64: Floats, here: int, note: int) -> int:
    """A sentinel gets a message."""
    kind, index, source = i64[note + w.I_KIND], i64[note + w.I_TARGET], i64[note + w.I_SOURCE]
    if answering(i64, f64, process(i64, f64, here, 0, index)):
        watch = routine_of(i64, f64, here)
        now = f64[w.NOW]
        epoch, config_epoch = i64[note + w.I_EPOCH], i64[note + w.I_CONFIG_EPOCH]
        whose, primary = i64[note + w.I_CANDIDATE], i64[note + w.I_FLAG]
        if kind == _PONG:
            note_pong(watch, index, source, now)
        elif kind == _INFO_REPLY and not info_is_news(watch, index, source, whose, primary):
            offset, down = i64[note + w.I_OFFSET], f64[note + w.I_LINK_DOWN]
            note_info(watch, index, source, whose, primary, offset, down, now)
        elif kind != _HELLO or hello_is_news(watch, index, epoch, config_epoch):
            return w.UP_MESSAGE
        following(i64, f64, i64[here + w.H_DESYNC])
    give(i64, f64, w.FREE_NOTE, note)
    return 0


@kernel
def sentinel_message(i64: Ints, f64: Floats, note: int) -> int:
    """A message arrives; returns why Python must see to it, 0 if it need not."""
    here = i64[note + w.I_SESSIONS]
    if i64[note + w.I_TO_INSTANCE]:
        return at_instance(i64, f64, here, note)
    return at_sentinel(i64, f64, here, note)

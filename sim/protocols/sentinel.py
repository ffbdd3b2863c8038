"""Redis Sentinel: agreeing that the primary is down, electing a leader, promoting a replica.

Each sentinel runs :func:`tick` every 50-100 ms (``hz = 10 + rand % 10``) and all exchange real messages, so
that a split vote over a long link comes out of two self-votes that cross. The Redis instances are here
too, as far as sentinels see them (PING, INFO, SLAVEOF, publish). Random parts come in as arguments.
Source: redis src/sentinel.c, components.md section 3. One primary is watched; times in seconds.

Engine loop:
    every tick period of sentinel s:      step = tick(watch, s, now, desync)     (desync uniform in [0, 1))
    message arrives at a Redis instance:  step = instance_receive(watch, i, message, now)
    message arrives at a sentinel:        step = receive(watch, s, message, now, desync)
    for each step: carry step.sends (target is an instance if message.to_instance), log step.events, act on
        step.roles (an instance became primary or the replica of another one)
    instance killed: crash(watch, i), and disconnected(watch, s, i, now) at each s that the reset reaches;
        later start(watch, i, rank)
    sentinel killed: no more ticks; later restarted(watch, s, now)
    replica's link to its primary lost or back: replica_link(watch, i, up, now)
    replicated bytes: watch.offset[i] = bytes
Clients ask :func:`primary_known`. A stopped sentinel is simply not ticked: the gap puts it into TILT.

Example:
    >>> watch = new_watch(3, 3, primary=0, settings=Settings(quorum=2, down_after=5.0))
    >>> sorted({(m.kind, m.target) for m in tick(watch, 0, 1.5, 0.5).sends if m.kind == PING})
    [(0, 0), (0, 1), (0, 2)]
    >>> primary_known(watch, 0)
    0
"""

from __future__ import annotations

from sim.protocols.sentinel_failover import (
    enter,
    run_failover,
    see_epoch,
    start_failover,
    switch,
    vote,
    watch_afresh,
)
from sim.protocols.sentinel_routine import (
    SEND_HELLO,
    SEND_INFO,
    SEND_PING,
    due,
    handled,
    hello_is_news,
    info_is_news,
    link_down,
    note_info,
    note_pong,
    primary_known,
)
from sim.protocols.sentinel_state import (
    ASK,
    ASK_PERIOD,
    ELECTION_TIMEOUT,
    FAST_INFO_PERIOD,
    HELLO,
    IDLE,
    INFO,
    INFO_PERIOD,
    INFO_REPLY,
    MAX_DESYNC,
    MESSAGE_BYTES,
    NEVER,
    PING,
    PING_PERIOD,
    PONG,
    PUBLISH_PERIOD,
    RECONF_DONE,
    RECONF_REPLICAS,
    RECONF_SENT,
    RECONF_TIMEOUT,
    ROLE_PRIMARY,
    SELECT_REPLICA,
    SEND_PROMOTION,
    SLAVEOF,
    SYNC_ROUND_TRIPS,
    TILT_PERIOD,
    TILT_TRIGGER,
    UPDATE_CONFIG,
    VOTE,
    WAIT_PROMOTION,
    WAIT_START,
    Event,
    Message,
    Settings,
    Step,
    Watch,
    new_watch,
)

__all__ = [
    "ASK",
    "ASK_PERIOD",
    "ELECTION_TIMEOUT",
    "FAST_INFO_PERIOD",
    "HELLO",
    "IDLE",
    "INFO",
    "INFO_PERIOD",
    "INFO_REPLY",
    "MAX_DESYNC",
    "MESSAGE_BYTES",
    "NEVER",
    "PING",
    "PING_PERIOD",
    "PONG",
    "PUBLISH_PERIOD",
    "RECONF_DONE",
    "RECONF_REPLICAS",
    "RECONF_SENT",
    "RECONF_TIMEOUT",
    "ROLE_PRIMARY",
    "SELECT_REPLICA",
    "SEND_PROMOTION",
    "SLAVEOF",
    "SYNC_ROUND_TRIPS",
    "TILT_PERIOD",
    "TILT_TRIGGER",
    "UPDATE_CONFIG",
    "VOTE",
    "WAIT_PROMOTION",
    "WAIT_START",
    "Event",
    "Message",
    "Settings",
    "Step",
    "Watch",
    "connected",
    "crash",
    "disconnected",
    "instance_receive",
    "new_watch",
    "primary_known",
    "receive",
    "replica_link",
    "restarted",
    "start",
    "tick",
]


def tick(watch: Watch, sentinel: int, now: float, desync: float) -> Step:
    """The timer of ``sentinel`` fires.

    The primary comes first, with all that follows from its state, and then the replicas: those of a primary
    that has just become ODOWN are asked for INFO in the same tick (sentinelHandleDictOfRedisInstances).

    Args:
        watch: the state.
        sentinel: which.
        now: seconds.
        desync: uniform in [0, 1), used if a failover is tried (`rand() % SENTINEL_MAX_DESYNC`).
    """
    step = Step([], [], [])
    gap = now - watch.previous_tick[sentinel]
    watch.previous_tick[sentinel] = now
    if gap < 0 or gap > TILT_TRIGGER:
        watch.tilt_since[sentinel] = now
        step.events.append(Event(sentinel, "+tilt", -1))
    for turn in range(watch.instances):
        instance = handled(watch, sentinel, turn)
        _ask_instance(watch, sentinel, instance, now, step)
        if now - watch.tilt_since[sentinel] < TILT_PERIOD:
            continue
        if watch.tilt_since[sentinel] > NEVER:
            watch.tilt_since[sentinel] = NEVER
            step.events.append(Event(sentinel, "-tilt", -1))
        _check_subjectively_down(watch, sentinel, instance, now, step)
        if instance == watch.primary[sentinel]:
            _act(watch, sentinel, now, desync, step)
    if watch.failover[sentinel] == UPDATE_CONFIG:
        switch(watch, sentinel, watch.promoted[sentinel], now, step)
    return step


def _act(watch: Watch, sentinel: int, now: float, desync: float, step: Step) -> None:
    """What only the primary's state leads to: ODOWN, a failover, questions to the other sentinels."""
    _check_objectively_down(watch, sentinel, step)
    if (
        watch.odown[sentinel]
        and watch.failover[sentinel] == IDLE
        and now - watch.failover_start[sentinel] >= 2 * watch.settings.failover_timeout
    ):
        start_failover(watch, sentinel, now, desync, step)
        _ask_sentinels(watch, sentinel, now, step, forced=True)
    run_failover(watch, sentinel, now, desync, step)
    _ask_sentinels(watch, sentinel, now, step, forced=False)


def receive(watch: Watch, sentinel: int, message: Message, now: float, desync: float) -> Step:
    """``sentinel`` gets a message.

    Args:
        watch: the state.
        sentinel: which.
        message: what.
        now: seconds.
        desync: uniform in [0, 1), used if it votes for another sentinel.
    """
    step = Step([], [], [])
    if message.kind == PONG:
        note_pong(watch, sentinel, message.source, now)
    elif message.kind == INFO_REPLY:
        _on_info(watch, sentinel, message, now, step)
    elif message.kind == ASK:
        _on_ask(watch, sentinel, message, now, desync, step)
    elif message.kind == VOTE:
        pair = sentinel * watch.sentinels + message.source
        watch.replied[pair] = now
        watch.says_down[pair] = message.flag
        if message.candidate >= 0:
            watch.says_leader[pair] = message.candidate
            watch.says_epoch[pair] = message.epoch
    elif message.kind == HELLO and hello_is_news(watch, sentinel, message.epoch, message.config_epoch):
        see_epoch(watch, sentinel, message.epoch, step)
        if message.config_epoch > watch.config_epoch[sentinel]:
            watch.config_epoch[sentinel] = message.config_epoch
            if message.candidate != watch.primary[sentinel]:
                step.events.append(Event(sentinel, "+config-update-from", message.source))
                switch(watch, sentinel, message.candidate, now, step)
    return step


def instance_receive(watch: Watch, instance: int, message: Message, now: float) -> Step:
    """A Redis instance gets a message of a sentinel; a dead one stays silent."""
    step = Step([], [], [])
    if not watch.alive[instance]:
        return step
    sentinel = message.source
    if message.kind == PING:
        step.sends.append(Message(PONG, instance, sentinel, 0))
    elif message.kind == INFO:
        if watch.syncing[instance] and now - watch.link_down_since[instance] >= watch.settings.sync_time:
            replica_link(watch, instance, True, now)
        step.sends.append(
            Message(
                INFO_REPLY,
                instance,
                sentinel,
                0,
                candidate=watch.role[instance],
                flag=int(watch.role[instance] == ROLE_PRIMARY),
                offset=watch.offset[instance],
                link_down=link_down(watch, instance, now),
            )
        )
    elif message.kind == SLAVEOF:
        if watch.role[instance] != message.candidate:
            watch.role[instance] = message.candidate
            watch.syncing[instance] = int(message.candidate != ROLE_PRIMARY)
            watch.link_down_since[instance] = now if watch.syncing[instance] else NEVER
            step.roles.append((instance, message.candidate))
    elif message.kind == HELLO:
        for other in range(watch.sentinels):
            if other != sentinel:
                step.sends.append(message._replace(target=other, to_instance=0))
    return step


def crash(watch: Watch, instance: int) -> None:
    """The instance's process is gone (or stopped: then do not call :func:`disconnected`)."""
    watch.alive[instance] = 0


def start(watch: Watch, instance: int, rank: float | None = None) -> None:
    """The instance runs again, in the role it had (its configuration file), with a new run ID (``rank``)."""
    watch.alive[instance] = 1
    if rank is not None:
        watch.rank[instance] = rank


def restarted(watch: Watch, sentinel: int, now: float) -> None:
    """The sentinel's process runs again and knows what its configuration file says: epochs and the primary.

    Its clock starts anew, so that a restart is no TILT (initSentinel), and so does its watch over everybody.
    A stopped sentinel that goes on is not restarted.
    """
    watch.previous_tick[sentinel] = now
    watch.tilt_since[sentinel] = NEVER
    watch_afresh(watch, sentinel, primary_known(watch, sentinel), now)


def disconnected(watch: Watch, sentinel: int, instance: int, now: float) -> None:
    """The connection was reset or refused: ticks reconnect, at most once per ping period, with a PING.

    That PING starts the clock of SDOWN if none was waiting for its answer: sentinels that see the
    reset start it together.
    """
    pair = sentinel * watch.instances + instance
    watch.connected[pair] = 0
    # An INFO under way is lost with the connection: it may be sent again at once.
    watch.info_sent[pair] = min(watch.info_sent[pair], now - FAST_INFO_PERIOD)


def connected(watch: Watch, sentinel: int, instance: int, now: float) -> None:
    """The connection is accepted again (the answer to a PING says so too)."""
    pair = sentinel * watch.instances + instance
    if not watch.connected[pair]:
        watch.connected[pair] = 1
        watch.last_ping[pair] = min(watch.last_ping[pair], now - PING_PERIOD)


def replica_link(watch: Watch, instance: int, up: bool, now: float) -> None:
    """The replication link of ``instance`` to its primary went up or down."""
    watch.syncing[instance] = 0
    if up:
        watch.link_down_since[instance] = NEVER
    elif watch.link_down_since[instance] == NEVER:
        watch.link_down_since[instance] = now


def _ask_instance(watch: Watch, sentinel: int, instance: int, now: float, step: Step) -> None:
    """Reconnect, PING, INFO and publish when due."""
    found = due(watch, sentinel, instance, watch.settings.down_after, now)
    if found & SEND_PING:
        step.sends.append(Message(PING, sentinel, instance, 1))
    if found & SEND_INFO:
        step.sends.append(Message(INFO, sentinel, instance, 1))
    if found & SEND_HELLO:
        epoch, config_epoch = watch.epoch[sentinel], watch.config_epoch[sentinel]
        known = primary_known(watch, sentinel)
        step.sends.append(Message(HELLO, sentinel, instance, 1, epoch, config_epoch, known))


def _check_subjectively_down(watch: Watch, sentinel: int, instance: int, now: float, step: Step) -> None:
    pair = sentinel * watch.instances + instance
    silent = 0.0
    if watch.first_ping[pair] > NEVER:
        silent = now - watch.first_ping[pair]
    elif not watch.connected[pair]:
        silent = now - watch.last_pong[pair]
    # A primary that has been reporting itself a replica for long is as good as down.
    demoted = (
        instance == watch.primary[sentinel]
        and not watch.info_primary[pair]
        and now - watch.role_since[pair] > watch.settings.down_after + 2 * INFO_PERIOD
    )
    down = int(silent > watch.settings.down_after or demoted)
    if down != watch.sdown[pair]:
        watch.sdown[pair] = down
        watch.sdown_since[pair] = now if down else NEVER
        step.events.append(Event(sentinel, "+sdown" if down else "-sdown", instance))


def _check_objectively_down(watch: Watch, sentinel: int, step: Step) -> None:
    primary = watch.primary[sentinel]
    down = 0
    if watch.sdown[sentinel * watch.instances + primary]:
        agree = 1
        for other in range(watch.sentinels):
            agree += other != sentinel and watch.says_down[sentinel * watch.sentinels + other]
        down = int(agree >= watch.settings.quorum)
    if down != watch.odown[sentinel]:
        watch.odown[sentinel] = down
        step.events.append(Event(sentinel, "+odown" if down else "-odown", primary))


def _ask_sentinels(watch: Watch, sentinel: int, now: float, step: Step, *, forced: bool) -> None:
    """Ask the others whether the primary is down, and for their vote once a failover is tried."""
    down = watch.sdown[sentinel * watch.instances + watch.primary[sentinel]]
    for other in range(watch.sentinels):
        if other == sentinel:
            continue
        pair = sentinel * watch.sentinels + other
        silent = now - watch.replied[pair]
        if silent > 5 * ASK_PERIOD:
            watch.says_down[pair] = 0
            watch.says_leader[pair] = -1
        if not down or (not forced and silent < ASK_PERIOD):
            continue
        candidate = sentinel if watch.failover[sentinel] != IDLE else -1
        step.sends.append(Message(ASK, sentinel, other, 0, epoch=watch.epoch[sentinel], candidate=candidate))


def _on_ask(watch: Watch, sentinel: int, message: Message, now: float, desync: float, step: Step) -> None:
    primary = watch.primary[sentinel]
    down = int(
        bool(watch.sdown[sentinel * watch.instances + primary]) and watch.tilt_since[sentinel] == NEVER
    )
    leader, epoch = -1, 0
    if message.candidate >= 0:
        vote(watch, sentinel, message.epoch, message.candidate, now, desync, step)
        leader, epoch = watch.voted_for[sentinel], watch.voted_epoch[sentinel]
    step.sends.append(Message(VOTE, sentinel, message.source, 0, epoch=epoch, candidate=leader, flag=down))


def _on_info(watch: Watch, sentinel: int, message: Message, now: float, step: Step) -> None:
    instance, source = message.source, message.candidate
    pair = sentinel * watch.instances + instance
    note_info(watch, sentinel, instance, source, message.flag, message.offset, message.link_down, now)
    if not info_is_news(watch, sentinel, instance, source, message.flag):
        return
    if message.flag:
        _on_replica_turned_primary(watch, sentinel, instance, now, step)
    elif watch.reconf[pair] == RECONF_SENT:
        if message.candidate == watch.promoted[sentinel] and message.link_down == 0.0:
            watch.reconf[pair] = RECONF_DONE
            step.events.append(Event(sentinel, "+slave-reconf-done", instance))
    elif message.candidate != watch.primary[sentinel] and watch.failover[sentinel] == IDLE:
        wait = watch.settings.failover_timeout
        if _primary_is_sane(watch, sentinel) and now - watch.role_since[pair] > wait:
            step.sends.append(Message(SLAVEOF, sentinel, instance, 1, candidate=watch.primary[sentinel]))


def _on_replica_turned_primary(watch: Watch, sentinel: int, instance: int, now: float, step: Step) -> None:
    """The promotion is seen; or an old primary is back and must be made a replica."""
    pair = sentinel * watch.instances + instance
    if instance == watch.promoted[sentinel]:
        if watch.failover[sentinel] == WAIT_PROMOTION:
            watch.config_epoch[sentinel] = watch.failover_epoch[sentinel]
            step.events.append(Event(sentinel, "+promoted-slave", instance))
            enter(watch, sentinel, RECONF_REPLICAS, now)
            for other in range(watch.instances):
                watch.reconf[sentinel * watch.instances + other] = 0
                # Tell everybody at the next tick.
                watch.published[sentinel * watch.instances + other] = NEVER
    elif _primary_is_sane(watch, sentinel) and now - watch.role_since[pair] > 4 * PUBLISH_PERIOD:
        step.events.append(Event(sentinel, "+convert-to-slave", instance))
        step.sends.append(Message(SLAVEOF, sentinel, instance, 1, candidate=watch.primary[sentinel]))


def _primary_is_sane(watch: Watch, sentinel: int) -> bool:
    pair = sentinel * watch.instances + watch.primary[sentinel]
    return bool(watch.info_primary[pair]) and not watch.sdown[pair] and not watch.odown[sentinel]

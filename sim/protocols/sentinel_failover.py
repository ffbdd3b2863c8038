"""A Sentinel failover: votes, the choice of a replica, its promotion, and following the new primary.

Source: redis src/sentinel.c (sentinelVoteLeader, sentinelGetLeader, sentinelSelectSlave, sentinelFailover*),
components.md 3.2. Driven by :func:`sim.protocols.sentinel.tick`, one state per tick.
"""

from __future__ import annotations

from sim.protocols.sentinel_state import (
    ELECTION_TIMEOUT,
    IDLE,
    INFO_PERIOD,
    MAX_DESYNC,
    NEVER,
    PING_PERIOD,
    RECONF_DONE,
    RECONF_REPLICAS,
    RECONF_SENT,
    RECONF_TIMEOUT,
    ROLE_PRIMARY,
    SELECT_REPLICA,
    SEND_PROMOTION,
    SLAVEOF,
    UPDATE_CONFIG,
    WAIT_PROMOTION,
    WAIT_START,
    Event,
    Message,
    Step,
    Watch,
)


def start_failover(watch: Watch, sentinel: int, now: float, desync: float, step: Step) -> None:
    """Try a failover in a new epoch: the election begins."""
    watch.failover[sentinel] = WAIT_START
    watch.epoch[sentinel] += 1
    watch.failover_epoch[sentinel] = watch.epoch[sentinel]
    watch.failover_start[sentinel] = now + desync * MAX_DESYNC
    watch.state_changed[sentinel] = now
    step.events.append(Event(sentinel, "+new-epoch", watch.epoch[sentinel]))
    step.events.append(Event(sentinel, "+try-failover", watch.primary[sentinel]))


def see_epoch(watch: Watch, sentinel: int, epoch: int, step: Step) -> None:
    """Adopt a higher epoch."""
    if epoch > watch.epoch[sentinel]:
        watch.epoch[sentinel] = epoch
        step.events.append(Event(sentinel, "+new-epoch", epoch))


def vote(
    watch: Watch, sentinel: int, epoch: int, candidate: int, now: float, desync: float, step: Step
) -> None:
    """One vote per epoch, to who asks first; voting for another puts off an own attempt."""
    see_epoch(watch, sentinel, epoch, step)
    if watch.voted_epoch[sentinel] < epoch and watch.epoch[sentinel] <= epoch:
        watch.voted_for[sentinel] = candidate
        watch.voted_epoch[sentinel] = watch.epoch[sentinel]
        step.events.append(Event(sentinel, "+vote-for-leader", candidate))
        if candidate != sentinel:
            watch.failover_start[sentinel] = now + desync * MAX_DESYNC


def elected(watch: Watch, sentinel: int, now: float, desync: float, step: Step) -> int:
    """The sentinel with enough votes in this epoch as this one sees it, or -1; its own vote is given here."""
    epoch = watch.failover_epoch[sentinel]
    votes = [0] * watch.sentinels
    for other in range(watch.sentinels):
        pair = sentinel * watch.sentinels + other
        if (
            other != sentinel
            and watch.says_leader[pair] >= 0
            and watch.says_epoch[pair] == watch.epoch[sentinel]
        ):
            votes[watch.says_leader[pair]] += 1
    favourite = votes.index(max(votes)) if max(votes) > 0 else sentinel
    vote(watch, sentinel, epoch, favourite, now, desync, step)
    if watch.voted_for[sentinel] >= 0 and watch.voted_epoch[sentinel] == epoch:
        votes[watch.voted_for[sentinel]] += 1
    winner = votes.index(max(votes))
    needed = max(watch.sentinels // 2 + 1, watch.settings.quorum)
    return winner if votes[winner] >= needed else -1


def run_failover(watch: Watch, sentinel: int, now: float, desync: float, step: Step) -> None:
    """One state of the failover per tick."""
    state, row = watch.failover[sentinel], sentinel * watch.instances
    promoted = watch.promoted[sentinel]
    if state == WAIT_START:
        if elected(watch, sentinel, now, desync, step) == sentinel:
            step.events.append(Event(sentinel, "+elected-leader", sentinel))
            enter(watch, sentinel, SELECT_REPLICA, now)
        elif now - watch.failover_start[sentinel] > min(ELECTION_TIMEOUT, watch.settings.failover_timeout):
            abort(watch, sentinel, "-failover-abort-not-elected", now, step)
    elif state == SELECT_REPLICA:
        best = select_replica(watch, sentinel, now)
        if best < 0:
            abort(watch, sentinel, "-failover-abort-no-good-slave", now, step)
        else:
            watch.promoted[sentinel] = best
            step.events.append(Event(sentinel, "+selected-slave", best))
            enter(watch, sentinel, SEND_PROMOTION, now)
    elif state == SEND_PROMOTION:
        if watch.connected[row + promoted]:
            step.sends.append(Message(SLAVEOF, sentinel, promoted, 1, candidate=ROLE_PRIMARY))
            enter(watch, sentinel, WAIT_PROMOTION, now)
        elif now - watch.state_changed[sentinel] > watch.settings.failover_timeout:
            abort(watch, sentinel, "-failover-abort-slave-timeout", now, step)
    elif state == WAIT_PROMOTION:
        if now - watch.state_changed[sentinel] > watch.settings.failover_timeout:
            abort(watch, sentinel, "-failover-abort-slave-timeout", now, step)
    elif state == RECONF_REPLICAS:
        reconfigure(watch, sentinel, now, step)


def enter(watch: Watch, sentinel: int, state: int, now: float) -> None:
    """Go to another state of the failover."""
    watch.failover[sentinel] = state
    watch.state_changed[sentinel] = now


def abort(watch: Watch, sentinel: int, kind: str, now: float, step: Step) -> None:
    """The next attempt comes not before 2 failover-timeouts after this one's start."""
    step.events.append(Event(sentinel, kind, watch.primary[sentinel]))
    watch.promoted[sentinel] = -1
    enter(watch, sentinel, IDLE, now)


def select_replica(watch: Watch, sentinel: int, now: float) -> int:
    """The replica to promote: reachable, freshly seen, not long without its primary, most data; or -1.

    Between equals the smaller run ID decides (compareSlavesForPromotion).
    """
    primary, row = watch.primary[sentinel], sentinel * watch.instances
    longest = 10 * watch.settings.down_after
    fresh = 3 * INFO_PERIOD
    if watch.sdown[row + primary]:
        longest += now - watch.sdown_since[row + primary]
        fresh = 5 * PING_PERIOD
    best = -1
    for instance in range(watch.instances):
        pair = row + instance
        if (
            instance == primary
            or watch.sdown[pair]
            or not watch.connected[pair]
            or now - watch.last_pong[pair] > 5 * PING_PERIOD
            or now - watch.info_at[pair] > fresh
            or watch.info_link_down[pair] > longest
        ):
            continue
        if best >= 0:
            ahead = watch.info_offset[pair] - watch.info_offset[row + best]
            if ahead < 0 or (ahead == 0 and watch.rank[instance] > watch.rank[best]):
                continue
        best = instance
    return best


def reconfigure(watch: Watch, sentinel: int, now: float, step: Step) -> None:
    """Point the other replicas at the new primary, parallel_syncs at a time; then the failover is over."""
    row, promoted = sentinel * watch.instances, watch.promoted[sentinel]
    others = [i for i in range(watch.instances) if i not in (promoted, watch.primary[sentinel])]
    timeout = now - watch.state_changed[sentinel] > watch.settings.failover_timeout
    busy = 0
    for instance in others:
        pair = row + instance
        if watch.reconf[pair] == RECONF_SENT and now - watch.reconf_at[pair] > RECONF_TIMEOUT:
            # It never acknowledged: later checks will put it right.
            watch.reconf[pair] = RECONF_DONE
        busy += watch.reconf[pair] == RECONF_SENT
    for instance in others:
        pair = row + instance
        if not timeout and busy >= watch.settings.parallel_syncs:
            break
        if watch.reconf[pair] == 0 and watch.connected[pair]:
            watch.reconf[pair] = RECONF_SENT
            watch.reconf_at[pair] = now
            busy += 1
            step.sends.append(Message(SLAVEOF, sentinel, instance, 1, candidate=promoted))
    if watch.sdown[row + promoted]:
        return
    if timeout or all(watch.reconf[row + i] == RECONF_DONE or watch.sdown[row + i] for i in others):
        step.events.append(Event(sentinel, "+failover-end", promoted))
        enter(watch, sentinel, UPDATE_CONFIG, now)


def switch(watch: Watch, sentinel: int, primary: int, now: float, step: Step) -> None:
    """Follow a new primary."""
    step.events.append(Event(sentinel, "+switch-master", primary))
    watch_afresh(watch, sentinel, primary, now)


def watch_afresh(watch: Watch, sentinel: int, primary: int, now: float) -> None:
    """Forget all but the epochs and watch ``primary`` and its replicas as if they had just been named."""
    watch.primary[sentinel] = primary
    watch.promoted[sentinel] = -1
    watch.odown[sentinel] = 0
    watch.voted_for[sentinel] = -1
    watch.failover_start[sentinel] = NEVER
    enter(watch, sentinel, IDLE, now)
    for instance in range(watch.instances):
        pair = sentinel * watch.instances + instance
        watch.connected[pair] = 0
        watch.reconnect_tried[pair] = NEVER
        watch.first_ping[pair] = now
        watch.last_pong[pair] = now
        watch.info_sent[pair] = NEVER
        watch.info_at[pair] = NEVER
        watch.info_link_down[pair] = 0.0
        watch.info_primary[pair] = int(instance == primary)
        watch.info_source[pair] = ROLE_PRIMARY if instance == primary else primary
        watch.role_since[pair] = now
        watch.sdown[pair] = 0
        watch.sdown_since[pair] = NEVER
        watch.published[pair] = now
        watch.reconf[pair] = 0
    for other in range(watch.sentinels):
        watch.says_down[sentinel * watch.sentinels + other] = 0
        watch.says_leader[sentinel * watch.sentinels + other] = -1

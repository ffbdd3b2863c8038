"""Redis with its sentinels: who is primary, and how the sentinels change that.

Token requests do not touch Redis (facts/iam.md section 5: the endpoints are stateless unless the
Redis cache is on), so what happens here shows in events only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sim.engine.world import Daemon, World
from sim.program import VPN
from sim.protocols import sentinel

EVENTS = {"+sdown": "redis.sdown", "+odown": "redis.odown", "+switch-master": "redis.switch-master"}
"""Sentinel's log lines that are events of an observation."""

REPL_TIMEOUT = 60.0
"""Seconds after which a replica notices that its primary is silent (repl-timeout)."""

RECONNECT_PERIOD = 1.0
"""Seconds between a replica's attempts to connect to its primary (replicationCron)."""


class Sessions:
    """One monitored primary with its replicas and sentinels."""

    def __init__(self, world: World, name: str, settings: dict[str, Any]) -> None:
        self._world = world
        self._name = name
        mine = [component for component in world.program.components if component.service == name]
        self.instances = [world.daemon(component) for component in mine if component.kind == "redis"]
        self.sentinels = [world.daemon(component) for component in mine if component.kind == "sentinel"]
        quorum = settings["quorum"] or len(self.sentinels) // 2 + 1
        sites = {instance.site for instance in self.instances}
        farthest = max((world.network.rtt(VPN, i, j) for i in sites for j in sites), default=0.0)
        self._watch = self._new_watch(
            sentinel.Settings(
                quorum,
                settings["down_after"],
                settings["failover_timeout"],
                sync_time=sentinel.SYNC_ROUND_TRIPS * farthest,
            )
        )
        phases = world.streams.get("sentinel.phase", name)
        for pair in range(len(self.sentinels) * len(self.instances)):
            # Started at different moments, the sentinels ask at different moments.
            age = sentinel.PING_PERIOD * phases.uniform(phases.next())
            self._watch.last_ping[pair] = self._watch.last_pong[pair] = -age
            self._watch.info_at[pair] = -sentinel.INFO_PERIOD * phases.uniform(phases.next())
        self._link_up = [True] * len(self.instances)
        for index, instance in enumerate(self.instances):
            self._watch.rank[index] = self._draw_rank(index)
            instance.on_change.append(partial(self._instance_changed, index))
        self._watching = [True] * len(self.sentinels)
        for index, daemon in enumerate(self.sentinels):
            daemon.on_change.append(partial(self._sentinel_changed, index))
        world.network.listen(self._look_at_replicas)
        for index in range(len(self.sentinels)):
            self._tick_later(index, 0.1 * self._draw_timer(index))

    @property
    def daemons(self) -> Sequence[Daemon]:
        """Servers, then sentinels."""
        return [*self.instances, *self.sentinels]

    # -- sentinels ---------------------------------------------------------------------------

    def _new_watch(self, settings: sentinel.Settings) -> sentinel.Watch:
        return sentinel.new_watch(len(self.sentinels), len(self.instances), 0, settings)

    def _tick_later(self, index: int, delay: float) -> None:
        self._world.at(delay, partial(self._tick, index))

    def _tick(self, index: int) -> None:
        # hz = 10 + rand % 10: the next tick comes in 50 to 100 ms.
        self._tick_later(index, 1.0 / (10 + int(10 * self._draw_timer(index))))
        if self.sentinels[index].answering:
            now = self._world.env.now
            self._step(self.sentinels[index], sentinel.tick(self._watch, index, now, self._draw()))

    def _draw_timer(self, index: int) -> float:
        return self._drawn("sentinel.timer", self.sentinels[index].name)

    def _draw(self) -> float:
        return self._drawn("sentinel.desync", self._name)

    def _draw_rank(self, index: int) -> float:
        return self._drawn("redis.runid", self.instances[index].name)

    def _drawn(self, stream: str, entity: str) -> float:
        draws = self._world.streams.get(stream, entity)
        return draws.uniform(draws.next())

    def _blocked(self, one: Daemon, other: Daemon) -> bool:
        blocked = self._world.network.blocked[VPN]
        return blocked[one.site][other.site] or blocked[other.site][one.site]

    def _step(self, sender: Daemon, step: sentinel.Step) -> None:
        for message in step.sends:
            receiver = (self.instances if message.to_instance else self.sentinels)[message.target]
            if self._blocked(sender, receiver):
                continue  # asked again a second later, on a new connection
            size = sentinel.MESSAGE_BYTES[message.kind]
            delay = self._world.network.delay(VPN, sender.site, receiver.site, size)
            self._send_later(message, delay)
        for event in step.events:
            self._record(event)
        if step.roles:
            self._look_at_replicas()

    def _send_later(self, message: sentinel.Message, delay: float) -> None:
        self._world.at(delay, partial(self._arrive, message))

    def _record(self, event: sentinel.Event) -> None:
        """Log what concerns the primary: nothing follows from a replica that is down."""
        kind = EVENTS.get(event.kind)
        watcher = event.sentinel
        if kind is None or not 0 <= event.detail < len(self.instances):
            return
        if kind == "redis.sdown" and event.detail != self._watch.primary[watcher]:
            return
        site = self._world.program.sites[self.sentinels[watcher].site]
        self._world.recorder.event(f"{self._name}@{site}", kind, self.instances[event.detail].name)

    def _arrive(self, message: sentinel.Message) -> None:
        now = self._world.env.now
        if message.to_instance:
            instance = self.instances[message.target]
            if instance.answering:
                found = sentinel.instance_receive(self._watch, message.target, message, now)
                self._step(instance, found)
            return
        receiver = self.sentinels[message.target]
        if receiver.answering:
            step = sentinel.receive(self._watch, message.target, message, now, self._draw())
            self._step(receiver, step)

    def _sentinel_changed(self, index: int) -> None:
        """A killed sentinel that runs again begins anew; a stopped one goes on where it was."""
        up = self.sentinels[index].up
        if up and not self._watching[index]:
            sentinel.restarted(self._watch, index, self._world.env.now)
        self._watching[index] = up

    # -- servers -----------------------------------------------------------------------------

    def _instance_changed(self, index: int) -> None:
        """A killed server resets its connections at once; a stopped one just stays silent."""
        instance = self.instances[index]
        if instance.up:
            if not self._watch.alive[index]:
                sentinel.start(self._watch, index, self._draw_rank(index))
        else:
            sentinel.crash(self._watch, index)
            for watcher, daemon in enumerate(self.sentinels):
                if not self._blocked(instance, daemon):
                    delay = self._world.network.one_way(VPN, instance.site, daemon.site)
                    at = self._world.env.now + delay
                    self._world.at(delay, partial(sentinel.disconnected, self._watch, watcher, index, at))
        self._look_at_replicas()

    def _look_at_replicas(self) -> None:
        """Replication links break with a reset at once, in a silent cut after `repl-timeout`."""
        for index, instance in enumerate(self.instances):
            primary = self._watch.role[index]
            if primary == sentinel.ROLE_PRIMARY:
                self._link_up[index] = True
                continue
            source = self.instances[primary]
            works = instance.answering and source.answering and not self._blocked(source, instance)
            if works == self._link_up[index]:
                continue
            self._link_up[index] = works
            if works:
                delay = RECONNECT_PERIOD + 3 * self._world.network.rtt(VPN, source.site, instance.site)
            else:
                delay = 0.0 if not source.up else REPL_TIMEOUT
            self._world.at(delay, partial(self._link_changed, index, works))

    def _link_changed(self, index: int, up: bool) -> None:
        if self._link_up[index] == up:
            sentinel.replica_link(self._watch, index, up, self._world.env.now)

"""Who believes that whom is alive: HAProxy's checks of its servers, the DNS balancer's of its front ends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from sim.engine.frontends import FrontEnd
from sim.engine.service import Call, Tokens
from sim.engine.world import World
from sim.protocols import dns, haproxy
from sim.random import Stream, lognormal

Steps = Generator[simpy.Event, Any, Any]


def health_call(world: World, draws: Stream, timeout: float) -> Call:
    """A GET of the health page that must be answered within ``timeout`` seconds."""
    app_cv, db_cv = world.program.demand_cv["health"]
    index = draws.next()
    draws.next()
    return Call(
        "health",
        Tokens(),
        lognormal(draws.normal(index), app_cv),
        lognormal(draws.normal(index + 1), db_cv),
        world.env.now + timeout,
        world.env.event(),
    )


class ServerChecks:
    """One HAProxy's health checks."""

    def __init__(self, world: World, front_end: FrontEnd) -> None:
        self._world = world
        self._front_end = front_end
        check = front_end.proxy.check
        for server in range(len(front_end.servers)):
            front_end.proxy.health[server] = check.rise + check.fall - 1  # long since up
            draws = world.streams.get("check", f"{front_end.name}/{server}")
            world.env.process(self._run(server, draws))

    def _run(self, server: int, draws: Stream) -> Steps:
        env, front_end = self._world.env, self._front_end
        yield env.timeout(front_end.proxy.check.inter * draws.uniform(draws.next()))
        while True:
            yield from front_end.until_running()
            if front_end.up:
                ok = yield from self._check(server, draws)
                change = haproxy.check_result(front_end.proxy, server, ok)
                if change:
                    name = front_end.servers[server].name
                    self._world.recorder.event(front_end.name, f"haproxy.server-{change}", name)
            yield env.timeout(haproxy.next_check(front_end.proxy, server))

    def _check(self, server: int, draws: Stream) -> Steps:
        env, front_end = self._world.env, self._front_end
        timeout = haproxy.check_timeout(front_end.proxy)
        call = health_call(self._world, draws, timeout)
        env.process(self._ask(server, call, timeout))
        limit = env.timeout(timeout)
        yield env.any_of([call.reply, limit])
        ok = call.outcome == "ok"
        call.finish(0, "timeout")
        return ok

    def _ask(self, server: int, call: Call, timeout: float) -> Steps:
        front_end = self._front_end
        target = yield from front_end.servers[server].reached(timeout, front_end.name)
        if target.site != front_end.site:
            got = yield from self._world.network.connect(0, front_end.site, target.site, timeout)
            if not got:
                call.finish(0, "timeout")
                return
        if not target.up:
            call.finish(0, "refused")
        elif front_end.check_kind == "tcp":
            call.finish(200)  # the kernel accepts, even for a process that hangs
        else:
            yield from front_end.exchange(target, call)
            call.finish(call.status)


class DnsBalancer:
    """gdnsd: which front ends' addresses it gives out."""

    def __init__(self, world: World, name: str, settings: dict[str, Any], front_ends: list[FrontEnd]) -> None:
        self._world = world
        self.front_ends = front_ends
        check = settings["check"]
        thresholds = dns.Thresholds(
            check["interval"], check["timeout"], check["up"], check["ok"], check["down"]
        )
        self._monitors = [dns.Monitor(thresholds, up=True) for _ in front_ends]
        for index, front_end in enumerate(front_ends):
            label = f"{name}@{world.program.sites[front_end.site]}"
            draws = world.streams.get("dns", label)
            world.env.process(self._run(index, label, draws))

    def answer(self) -> list[int]:
        """Indices of the front ends in an answer now."""
        return dns.answer([bool(monitor.up) for monitor in self._monitors])

    def _run(self, index: int, label: str, draws: Stream) -> Steps:
        env, monitor = self._world.env, self._monitors[index]
        interval = monitor.thresholds.interval
        timeout = dns.timeout_of(monitor.thresholds)
        yield env.timeout(interval * draws.uniform(draws.next()))
        while True:
            due = env.now + interval
            call = health_call(self._world, draws, timeout)
            env.process(self._ask(self.front_ends[index], call))
            yield env.any_of([call.reply, env.timeout(timeout)])
            change = dns.check_result(monitor, call.outcome == "ok")
            call.finish(0, "timeout")
            if change:
                self._world.recorder.event(label, f"dns.{change}")
            yield env.timeout(max(0.0, due - env.now))

    def _ask(self, front_end: FrontEnd, call: Call) -> Steps:
        # The balancer stands next to every site on the public network: no delay, never cut.
        front_end = yield from front_end.reached(call.deadline - self._world.env.now, "dns")
        yield from front_end.until_running()
        if not front_end.up:
            call.finish(0, "refused")
            return
        yield from front_end.handle(call)
        call.finish(call.status)

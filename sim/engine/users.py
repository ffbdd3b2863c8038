"""Who asks: closed-loop users that think between iterations, and open-loop probes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from experiments.workload import STEPS, users_per_population
from sim.engine.frontends import REQUEST_BYTES, RESPONSE_BYTES, FrontEnd
from sim.engine.health import DnsBalancer
from sim.engine.service import Call, Tokens
from sim.engine.world import World
from sim.program import PUBLIC
from sim.protocols import dns
from sim.random import Stream, lognormal
from sim.steps import writing_kinds

Steps = Generator[simpy.Event, Any, Any]


class Load:
    """All users and probes of a run."""

    def __init__(self, world: World, front_ends: list[FrontEnd], balancer: DnsBalancer | None) -> None:
        self.world = world
        self.front_ends = front_ends
        self._balancer = balancer
        self.calls: list[Call] = []
        """Every request that may write, for the audit."""
        self._writing = writing_kinds(world.program.steps)
        workload = world.program.workload
        self._workload = workload
        self.duration: float = workload["duration"]
        populations = world.program.clients
        shares = {name: clients["share"] for name, clients in populations.items()}
        counts = users_per_population(workload["users"], shares)
        for name, clients in populations.items():
            count = counts.get(name, 0)
            ramp = workload["ramp"] * count / workload["users"]
            site = world.program.sites.index(clients["site"])
            for number in range(count):
                self._start_user(f"{name}/{number}", site, number / ramp, clients["resolver_cache"])
        caches = {clients["site"]: clients["resolver_cache"] for clients in reversed(populations.values())}
        for site, site_name in enumerate(world.program.sites):
            cache = dns.Cache(fixed=caches.get(site_name, 30.0))
            for stream in workload["probes"]:
                world.env.process(self._probes(site, stream, cache))

    # -- users -------------------------------------------------------------------------------

    def _start_user(self, name: str, site: int, delay: float, keep: float) -> None:
        streams = self.world.streams
        self.world.env.process(
            self._user(
                site,
                delay,
                dns.Cache(fixed=keep),
                streams.get("user.demand", name),
                streams.get("user.choice", name),
                streams.get("user.think", name),
            )
        )

    def _user(
        self, site: int, delay: float, cache: dns.Cache, demand: Stream, choice: Stream, think: Stream
    ) -> Steps:
        env, workload = self.world.env, self._workload
        flow: str = workload["flow"]
        connected: set[int] = set()
        yield env.timeout(delay)
        while env.now < self.duration:
            front_end = self._resolve(cache, choice, choice.next())
            tokens = Tokens()
            for kind in STEPS[flow]:
                index = demand.next()
                demand.next()
                call = self._call(kind, tokens, demand, index, workload["timeout"])
                start = env.now
                call.fresh = front_end not in connected
                env.process(self._travel(call, site, front_end))
                yield call.reply
                self._record(call, start, "load", site, flow, front_end)
                if call.status:
                    connected.add(front_end)
                else:
                    connected.discard(front_end)
                if call.outcome != "ok":
                    break
            if workload["think"]:
                yield env.timeout(workload["think"] * think.exponential(think.next()))
            elif call.outcome != "ok":
                yield env.timeout(0.001)  # a refused connection takes the client some time too

    # -- probes ------------------------------------------------------------------------------

    def _probes(self, site: int, stream: dict[str, Any], cache: dns.Cache) -> Steps:
        env = self.world.env
        flow: str = stream["flow"]
        period = 1 / stream["rate"]
        name = f"{site}/{flow}"
        demand = self.world.streams.get("probe.demand", name)
        choice = self.world.streams.get("probe.choice", name)
        phase = period * self.world.streams.get("probe.phase", name).uniform(0)
        number = 0
        while (due := phase + number * period) < self.duration:
            yield env.timeout(max(0.0, due - env.now))
            front_end = self._resolve(cache, choice, number)
            call = self._call(flow, Tokens(), demand, 2 * number, stream["timeout"])
            env.process(self._travel(call, site, front_end))
            start = env.now
            assert call.reply.callbacks is not None
            call.reply.callbacks.append(self._recorder(call, start, site, flow, front_end))
            number += 1

    def _recorder(
        self, call: Call, start: float, site: int, flow: str, number: int
    ) -> Callable[[simpy.Event], None]:
        return lambda _: self._record(call, start, "probe", site, flow, number)

    # -- requests ----------------------------------------------------------------------------

    def _resolve(self, cache: dns.Cache, choice: Stream, index: int) -> int:
        """A front end at random among the addresses that the client believes in."""
        addresses = dns.cached(cache, self.world.env.now)
        if not addresses:
            addresses = tuple(self._balancer.answer() if self._balancer else range(len(self.front_ends)))
            dns.store(cache, addresses, 0.0, self.world.env.now)
        return addresses[int(choice.uniform(index) * len(addresses))]

    def _call(self, kind: str, tokens: Tokens, demand: Stream, index: int, timeout: float) -> Call:
        app_cv, db_cv = self.world.program.demand_cv[kind]
        call = Call(
            kind,
            tokens,
            lognormal(demand.normal(index), app_cv),
            lognormal(demand.normal(index + 1), db_cv),
            self.world.env.now + timeout,
            self.world.env.event(),
        )
        self.world.at(timeout, lambda: call.finish(0, "timeout"))
        if kind in self._writing:
            self.calls.append(call)
        return call

    def _travel(self, call: Call, site: int, number: int) -> Steps:
        """Take ``call`` to a front end and its answer back."""
        network = self.world.network
        there = self.front_ends[number].site
        if call.fresh and there != site:
            got = yield from network.connect(PUBLIC, site, there, call.deadline - self.world.env.now)
            if not got:
                return
        left = call.deadline - self.world.env.now
        front_end = yield from self.front_ends[number].reached(left, f"users@{site}")
        if not front_end.up:
            call.finish(0, "refused")
            return
        yield from network.transfer(PUBLIC, site, there, REQUEST_BYTES)
        yield from front_end.until_running()
        if front_end.up:
            yield from front_end.handle(call)
        if not front_end.up:
            call.finish(0, "refused")
            return
        yield from network.transfer(PUBLIC, there, site, RESPONSE_BYTES)
        call.finish(call.status)

    def _record(self, call: Call, start: float, source: str, site: int, flow: str, number: int) -> None:
        sites = self.world.program.sites
        self.world.recorder.rows.append(
            (
                start,
                self.world.env.now - start,
                source,
                sites[site],
                flow,
                call.kind,
                call.status,
                call.outcome,
                sites[self.front_ends[number].site],
            )
        )

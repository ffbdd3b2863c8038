"""HAProxy and nginx: the way of a request from the front end to an identity service and back.

Choices, retries and status codes are those of sim.protocols.haproxy and nginx. A connection to a
dead process is refused at once, to a paused one it is accepted by the kernel and then nothing
comes, over a dead link not even that.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from sim.engine.service import Call, Replica
from sim.engine.world import Daemon, World
from sim.program import VPN, Component
from sim.protocols import haproxy, nginx
from sim.random import lognormal

Steps = Generator[simpy.Event, Any, Any]

REQUEST_BYTES = 900
RESPONSE_BYTES = 1800
"""HTTP messages with their headers; a token response carries a signed token (order of magnitude)."""


IDLE_SERVER_CONNECTION = 5.0
"""Seconds of disuse after which a server has no idle connection left here.

HAProxy has no such limit: every `pool-purge-delay` (5 s) it closes half of the connections that exceed those
in use at a time lately (srv_cleanup_idle_conns). A few are gone after about one period, many last longer.
"""


class Proxying(Daemon):
    """A proxy process: CPU per request."""

    def __init__(self, world: World, component: Component) -> None:
        super().__init__(world, component)
        self._cost, self._cv = world.program.costs["proxy_cpu"]
        self._draws = world.streams.get("proxy", component.name)
        self.calls: dict[Call, None] = {}

    def cost(self) -> float:
        """CPU for one more request."""
        if not self._cv:
            return self._cost
        return self._cost * lognormal(self._draws.normal(self._draws.next()), self._cv)

    def limit(self, call: Call, seconds: float, status: int) -> None:
        """Answer ``call`` with ``status`` when nothing else has come after ``seconds``."""
        if self.world.env.now + seconds < call.deadline:
            self.world.at(seconds, lambda: call.finish(status))


class Nginx(Proxying):
    """nginx in front of its site's identity services."""

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], replicas: list[Replica]
    ) -> None:
        super().__init__(world, component)
        self.replicas = replicas
        self._read_timeout: float = settings["read_timeout"]
        self._connect_timeout: float = settings["connect_timeout"]
        self._group = nginx.new_group(
            len(replicas), max_fails=settings["max_fails"], fail_timeout=settings["fail_timeout"]
        )

    def kill(self) -> None:
        """HAProxy sees its connections reset and answers 502."""
        calls, self.calls = self.calls, {}
        super().kill()
        for call in calls:
            call.finish(haproxy.BAD_GATEWAY)

    def handle(self, call: Call) -> Steps:
        """Pass ``call`` on; its status is 502 or 504 when no identity service answers."""
        self.calls[call] = None
        try:
            yield from self._pass_on(call)
            yield from self.until_running()
        finally:
            self.calls.pop(call, None)

    def _pass_on(self, call: Call) -> Steps:
        yield self.cpu.work(self.cost(), self)
        yield from self.until_running()
        env = self.world.env
        tried = 0
        timed_out = False
        while True:
            peer = nginx.choose(self._group, env.now, tried)
            if peer < 0:
                call.status = nginx.status_of(timed_out)
                return
            tried |= 1 << peer
            replica = yield from self.replicas[peer].reached(self._connect_timeout, self.name)
            sent = replica.up
            if replica.up:
                started = env.now
                self.limit(call, self._read_timeout, nginx.GATEWAY_TIMEOUT)
                yield from replica.until_running()
                if replica.up and env.now - started < self._read_timeout:
                    yield from replica.handle(call)
                timed_out = env.now - started >= self._read_timeout
                if timed_out:
                    call.status = 0
            if call.status:
                nginx.succeeded(self._group, peer)
                return
            nginx.failed(self._group, peer, env.now)
            if not nginx.may_retry(sent, idempotent=call.kind == "health"):
                call.status = nginx.status_of(timed_out)
                return


class FrontEnd(Proxying):
    """HAProxy at a site."""

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], servers: list[Nginx | Replica]
    ) -> None:
        super().__init__(world, component)
        reach = settings["reach"]
        self.servers = [s for s in servers if reach != "local" or s.site == self.site]
        check = settings["check"]
        self.check_kind: str = check["kind"]
        self.proxy = haproxy.new_proxy(
            len(self.servers),
            check=haproxy.Check(inter=check["inter"], fall=check["fall"], rise=check["rise"]),
            balance=settings["balance"],
            backup=[reach == "local-first" and s.site != self.site for s in self.servers],
            allbackups=True,
        )
        self._retries = haproxy.Retries(
            settings["timeout_connect"],
            settings["retries"],
            settings["redispatch"],
        )
        self.timeout_server: float = settings["timeout_server"]
        self._used = [-1e9] * len(self.servers)

    def kill(self) -> None:
        """Clients see their connections reset."""
        calls, self.calls = self.calls, {}
        super().kill()
        for call in calls:
            call.finish(0, "refused")

    def handle(self, call: Call) -> Steps:
        """Serve ``call`` through one of the servers, or answer 502, 503 or 504 itself."""
        self.calls[call] = None
        try:
            yield from self._balance(call)
            yield from self.until_running()
        finally:
            self.calls.pop(call, None)

    def _balance(self, call: Call) -> Steps:
        yield self.cpu.work(self.cost(), self)
        yield from self.until_running()
        server = haproxy.choose(self.proxy)
        attempt = 0
        while True:
            if server < 0:
                call.status = haproxy.UNAVAILABLE
                return
            haproxy.opened(self.proxy, server)
            target = self.servers[server]
            reuse = self._reusable(server, call)
            if not (reuse and target.up):
                target = yield from target.reached(self._retries.connect, self.name)
            connected = yield from self.connect(target, reuse=reuse)
            if connected:
                break
            haproxy.closed(self.proxy, server)
            active, still_up = haproxy.count_active(self.proxy), haproxy.is_up(self.proxy, server)
            following = haproxy.retry(self._retries, attempt, not target.up, active, still_up)
            attempt += 1
            if following.status:
                call.status = following.status
                return
            if following.delay:
                yield self.world.env.timeout(following.delay)
            if following.redispatch:
                server = haproxy.choose(self.proxy, avoid=server)
        self.limit(call, self.timeout_server, haproxy.GATEWAY_TIMEOUT)
        try:
            yield from self.exchange(target, call)
            self._used[server] = self.world.env.now
        finally:
            haproxy.closed(self.proxy, server)

    def start(self) -> None:
        """A new process believes that all servers are up, until their first check fails."""
        for server in range(len(self.servers)):
            self.proxy.health[server] = self.proxy.check.rise
            self.proxy.sessions[server] = 0
        super().start()

    def _reusable(self, server: int, call: Call) -> bool:
        """`http-reuse safe`: only requests after the first of a client connection share idle connections."""
        return not call.fresh and self.world.env.now - self._used[server] < IDLE_SERVER_CONNECTION

    def connect(self, target: Daemon, reuse: bool = False) -> Steps:
        """Have a connection to ``target``: True when it is accepted, or an idle one is there."""
        if target.site != self.site and not reuse:
            got = yield from self.world.network.connect(VPN, self.site, target.site, self._retries.connect)
            if not got:
                return False
        return target.up

    def exchange(self, target: Nginx | Replica, call: Call) -> Steps:
        """Send the request over an open connection and wait for the answer (502 when there is none)."""
        network = self.world.network
        yield from network.transfer(VPN, self.site, target.site, REQUEST_BYTES)
        yield from target.until_running()
        if target.up:
            yield from target.handle(call)
        if not target.up:
            call.status = 0  # the connection broke before the answer
        yield from network.transfer(VPN, target.site, self.site, RESPONSE_BYTES)
        if not call.status:
            call.status = haproxy.BAD_GATEWAY

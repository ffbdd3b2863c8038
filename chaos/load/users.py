"""Closed-loop users of one population, run by Locust.

    python -m chaos.load.users --plan FILE

Each user repeats the steps of the plan's flow with an exponential pause in between. A step that
fails ends the iteration: the next one would have no token to use.
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import dns.exception
import dns.query
from locust import FastHttpUser, task
from locust.env import Environment

from chaos.load.plan import LoadPlan
from chaos.load.requests import Tokens, authorization, form_of
from chaos.load.resolver import QUERY_TIMEOUT, CachedAnswer
from chaos.load.samples import SamplesFile
from experiments.workload import STEPS, Request

if TYPE_CHECKING:
    from locust.contrib.fasthttp import FastResponse


class Resources:
    """What all users of this process share."""

    def __init__(self, plan: LoadPlan, samples: SamplesFile) -> None:
        self.plan = plan
        self.samples = samples
        self.zero = time.monotonic() + (plan.t0 - time.time())
        self.started = 0

    def now(self) -> float:
        """Seconds since the load started."""
        return time.monotonic() - self.zero


class IdentityUser(FastHttpUser):
    """One person's client: resolves the service's name, then walks through the flow."""

    shared: ClassVar[Resources]
    host = "http://unresolved.invalid"
    max_retries = 0
    max_redirects = 0

    def __init__(self, environment: Environment) -> None:
        plan = self.shared.plan
        # Locust's own limits are per socket operation; a user gives up on the whole request (_step).
        self.connection_timeout = self.network_timeout = 2 * plan.timeout
        super().__init__(environment)
        index, self.shared.started = self.shared.started, self.shared.started + 1
        self._random = random.Random(f"{plan.seed}/users/{plan.site}/{index}")
        self._account = plan.credentials.accounts[index % len(plan.credentials.accounts)]
        self._answer = CachedAnswer(plan.name, plan.resolver_cache)

    def wait_time(self) -> float:
        """Seconds to think before the next iteration."""
        return self._random.expovariate(1.0 / self.shared.plan.think) if self.shared.plan.think else 0.0

    @task
    def iteration(self) -> None:
        """Walk through the flow once, all steps at one front end."""
        plan = self.shared.plan
        if self.shared.now() >= plan.duration:
            return
        tokens = Tokens()
        address: str | None = None
        for request in STEPS[plan.flow]:
            start = self.shared.now()
            if address is None:
                try:
                    address = self._resolve()
                except (OSError, dns.exception.DNSException):
                    self._record(request, start, failure="refused")
                    return
            if not self._step(request, address, tokens, start):
                return

    def _resolve(self) -> str:
        if not self.shared.plan.resolver:
            return self._random.choice(sorted(self.shared.plan.front_ends))
        now = time.monotonic()
        if not self._answer.is_fresh(now):
            plan = self.shared.plan
            response = dns.query.udp(self._answer.query(), plan.resolver, QUERY_TIMEOUT, plan.resolver_port)
            self._answer.accept(response, time.monotonic())
        if not self._answer.addresses:
            raise ConnectionError("the DNS balancer gave no address")
        return self._random.choice(self._answer.addresses)

    def _step(self, request: Request, address: str, tokens: Tokens, start: float) -> bool:
        plan = self.shared.plan
        request_id = f"{self._random.getrandbits(128):032x}"
        seen: dict[str, Any] = {"front_end": plan.front_ends.get(address, ""), "request_id": request_id}
        with gevent.Timeout(plan.timeout):
            # Locust catches the timeout like any failure and wraps it; its length tells it apart.
            response: FastResponse = self.client.post(
                "http://{}:{}/token".format(*plan.endpoint(address)),
                data=form_of(request, plan.credentials, self._account, tokens, request_id),
                headers={"Authorization": authorization(plan.credentials), "Host": plan.name},
                name=request,
            )
        if not response.status_code:
            gave_up = self.shared.now() - start >= plan.timeout
            return self._record(request, start, failure="timeout" if gave_up else "refused", **seen)
        body = response.content or b""
        good = self._record(request, start, status=response.status_code, body=body, **seen)
        if good:
            tokens.update(response.json())
        return good

    def _record(self, request: Request, start: float, *, status: int = 0, **seen: Any) -> bool:
        outcome = self.shared.samples.add(
            start=start,
            latency=self.shared.now() - start,
            source="load",
            flow=self.shared.plan.flow,
            request=request,
            status=status,
            **seen,
        )
        return outcome == "ok"


def run(plan: LoadPlan) -> None:
    """Run the plan's users until its duration is over or the process is told to stop."""
    with SamplesFile(plan.out, plan.site) as samples:
        IdentityUser.shared = shared = Resources(plan, samples)
        environment = Environment(user_classes=[IdentityUser], stop_timeout=plan.timeout)
        runner = environment.create_local_runner()
        stopped = gevent.event.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(signal_number, stopped.set)
        stopped.wait(max(0.0, -shared.now()))
        if not stopped.is_set():
            runner.start(plan.users, spawn_rate=plan.ramp)
            stopped.wait(max(0.0, plan.duration - shared.now()))
        runner.quit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the users of one population.")
    parser.add_argument("--plan", required=True, help="JSON file with a chaos.load.plan.LoadPlan")
    run(LoadPlan.read(parser.parse_args().plan))

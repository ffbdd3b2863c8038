"""Open-loop probes: requests at a constant rate that no failure slows down.

    python -m chaos.load.prober --plan FILE

Each probe opens a connection of its own, and its start is the time it was *due*: a probe that
the generator could only send late counts the wait as latency, so a stall cannot hide samples.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import time

import dns.asyncquery
import dns.exception

from chaos.load.plan import LoadPlan
from chaos.load.requests import message
from chaos.load.resolver import QUERY_TIMEOUT, CachedAnswer
from chaos.load.samples import SamplesFile
from experiments.workload import ProbeStream

_READ_LIMIT = 65536


class Prober:
    """All probe streams of one site."""

    def __init__(self, plan: LoadPlan, samples: SamplesFile) -> None:
        self._plan = plan
        self._samples = samples
        self._answer = CachedAnswer(plan.name, plan.resolver_cache)
        self._resolving = asyncio.Lock()
        self._random = random.Random(f"{plan.seed}/prober/{plan.site}")
        # Times are taken from the monotonic clock, so a clock step cannot bend them.
        self._zero = time.monotonic() + (plan.t0 - time.time())

    async def run(self, stop: asyncio.Event) -> None:
        """Probe until the plan's duration is over or ``stop`` is set, then wait for open probes."""
        streams = [asyncio.create_task(self._stream(stream, stop)) for stream in self._plan.probes]
        await asyncio.gather(*streams)

    async def _stream(self, stream: ProbeStream, stop: asyncio.Event) -> None:
        period = 1.0 / stream.rate
        # Sites probe out of phase, so that they do not load the service in step.
        due = self._random.uniform(0.0, period)
        open_probes: set[asyncio.Task[None]] = set()
        while due < self._plan.duration:
            wait = self._zero + due - time.monotonic()
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
            if stop.is_set():
                break
            probe = asyncio.create_task(self._probe(stream, due))
            open_probes.add(probe)
            probe.add_done_callback(open_probes.discard)
            due += period
        if open_probes:
            await asyncio.wait(open_probes)

    async def _probe(self, stream: ProbeStream, due: float) -> None:
        lateness = time.monotonic() - self._zero - due
        request_id = f"{self._random.getrandbits(128):032x}" if stream.flow != "health" else ""
        status, body, failure, front_end = 0, b"", "", ""
        try:
            async with asyncio.timeout(stream.timeout - min(lateness, stream.timeout / 2)):
                address = await self._resolve()
                front_end = self._plan.front_ends.get(address, "")
                status, body = await self._ask(stream, address, request_id)
        except TimeoutError:
            failure = "timeout"
        except (OSError, EOFError, ValueError, dns.exception.DNSException):
            failure = "refused"
        self._samples.add(
            start=due,
            latency=time.monotonic() - self._zero - due,
            source="probe",
            flow=stream.flow,
            request=stream.flow,
            status=status,
            failure=failure,
            front_end=front_end,
            body=body,
            request_id=request_id,
            lateness=lateness,
        )

    async def _resolve(self) -> str:
        if not self._plan.resolver:
            return self._random.choice(sorted(self._plan.front_ends))
        async with self._resolving:
            if not self._answer.is_fresh(time.monotonic()):
                response = await dns.asyncquery.udp(
                    self._answer.query(), self._plan.resolver, QUERY_TIMEOUT, self._plan.resolver_port
                )
                self._answer.accept(response, time.monotonic())
        if not self._answer.addresses:
            raise ConnectionError("the DNS balancer gave no address")
        return self._random.choice(self._answer.addresses)

    async def _ask(self, stream: ProbeStream, address: str, request_id: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(*self._plan.endpoint(address))
        try:
            writer.write(message(stream.flow, self._plan.name, self._plan.credentials, request_id=request_id))
            head, _, body = (await self._read_all(reader)).partition(b"\r\n\r\n")
            fields = head.split(b" ", 2)
            if len(fields) < 2:
                raise ConnectionError("the connection was closed without a response")
            return int(fields[1]), body
        finally:
            writer.close()

    @staticmethod
    async def _read_all(reader: asyncio.StreamReader) -> bytes:
        chunks = []
        while chunk := await reader.read(_READ_LIMIT):
            chunks.append(chunk)
        return b"".join(chunks)


async def _main(plan: LoadPlan) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    with SamplesFile(plan.out, plan.site) as samples:
        await Prober(plan, samples).run(stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Probe a service at a constant rate.")
    parser.add_argument("--plan", required=True, help="JSON file with a chaos.load.plan.LoadPlan")
    asyncio.run(_main(LoadPlan.read(parser.parse_args().plan)))

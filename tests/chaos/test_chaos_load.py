"""The load generators, run as the real processes against a small service on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import dns.message
import dns.rrset
import pandas as pd
import pytest

from chaos.load.plan import Credentials, LoadPlan
from chaos.load.samples import token_digest
from experiments.workload import ProbeStream

CREDENTIALS = Credentials(
    client_id="c", client_secret="s", accounts=["a1", "a2"], password="p", scopes={"password": "openid"}
)


class Service:
    """A token endpoint and a name server on loopback, with a switch for failures."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.fail_with = 0
        self.cause = "conflict: (1213, 40001)"
        self.hang = False
        self.answers = ["127.0.0.1"]
        self.queries = 0
        self.loop = asyncio.new_event_loop()
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind(("127.0.0.1", 0))
        self.port = 0
        ready = threading.Event()

        async def start() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        self.loop.create_task(start())
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        threading.Thread(target=self._resolve, daemon=True).start()
        ready.wait(5)

    def _resolve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, peer = self.dns.recvfrom(512)
                self.queries += 1
                query = dns.message.from_wire(wire)
                reply = dns.message.make_response(query)
                if self.answers:
                    reply.answer.append(
                        dns.rrset.from_text_list(query.question[0].name, 1, "IN", "A", self.answers)
                    )
                self.dns.sendto(reply.to_wire(), peer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (
                        int(x.split(":")[1])
                        for x in head.split("\r\n")
                        if x.lower().startswith("content-length")
                    ),
                    0,
                )
                form = parse_qs((await reader.readexactly(length)).decode())
                self.forms.append({key: value[0] for key, value in form.items()})
                if self.hang:
                    await asyncio.sleep(60)
                status = self.fail_with or 200
                tokens = {"access_token": f"at{len(self.forms)}", "refresh_token": f"rt{len(self.forms)}"}
                body = json.dumps(
                    tokens if status == 200 else {"error": "server_error", "error_description": self.cause}
                )
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                if "close" in head:
                    writer.close()
                    return

    def close(self) -> None:
        """Stop serving."""
        self.dns.close()
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture
def service() -> Iterator[Service]:
    """A running service."""
    service = Service()
    yield service
    service.close()


def generate(module: str, service: Service, tmp_path: Path, **changes: object) -> pd.DataFrame:
    """Run one generator to its end and return its samples."""
    values: dict[str, object] = {
        "site": "ral",
        "t0": time.time() + 2.0,
        "duration": 2.0,
        "resolver": "127.0.0.1",
        "resolver_port": service.dns.getsockname()[1],
        "name": "iam.faultline.test",
        "port": service.port,
        "front_ends": {"127.0.0.1": "ral"},
        "resolver_cache": 5.0,
        "timeout": 1.0,
        "seed": 7,
        "credentials": CREDENTIALS,
        "out": str(tmp_path / "samples.csv"),
    }
    plan = LoadPlan.model_validate(values | changes)
    plan.write(tmp_path / "plan.json")
    subprocess.run(
        [sys.executable, "-m", module, "--plan", str(tmp_path / "plan.json")],
        check=True,
        timeout=30,
        capture_output=True,
    )
    return pd.read_csv(plan.out, keep_default_na=False)


def test_users_walk_through_the_flow(service: Service, tmp_path: Path) -> None:
    """Each iteration is password, refresh, exchange in this order, each with the tokens of the one before."""
    samples = generate("chaos.load.users", service, tmp_path, users=1, ramp=10.0, think=0.05)
    assert (samples.outcome == "ok").all()
    assert samples.request[:3].tolist() == ["password", "refresh", "token-exchange"]
    first, second, third = service.forms[:3]
    assert first["username"] == "a1"
    assert second["refresh_token"] == "rt1"
    assert third["subject_token"] == "at2"
    assert len({form["request_id"] for form in service.forms}) == len(service.forms)
    assert samples.token[0] == token_digest(b'{"access_token": "at1"}')
    assert samples.front_end.unique().tolist() == ["ral"]
    assert samples.start.between(0, 2.0).all()


def test_a_failed_step_ends_the_iteration(service: Service, tmp_path: Path) -> None:
    """After HTTP 500 the user starts over instead of refreshing a token it never got."""
    service.fail_with = 500
    samples = generate("chaos.load.users", service, tmp_path, users=1, ramp=10.0, think=0.05)
    assert set(samples.request) == {"password"}
    assert set(samples.outcome) == {"conflict"}
    assert not samples.token.any()


def test_a_refusing_database_is_no_conflict(service: Service, tmp_path: Path) -> None:
    """HTTP 500 counts as a conflict only if the service says that it was one."""
    service.fail_with, service.cause = 500, "unavailable: (1047, 08S01)"
    samples = generate("chaos.load.users", service, tmp_path, users=1, ramp=10.0, think=0.05)
    assert set(samples.outcome) == {"server-error"}


def test_a_user_gives_up_after_the_timeout(service: Service, tmp_path: Path) -> None:
    """A service that accepts and never answers costs a user exactly the client's timeout."""
    service.hang = True
    samples = generate("chaos.load.users", service, tmp_path, users=1, ramp=10.0, think=0.05)
    assert set(samples.outcome) == {"timeout"}
    assert samples.latency.between(0.95, 1.4).all()


def test_users_keep_their_dns_answer(service: Service, tmp_path: Path) -> None:
    """A user asks the name server once per cache period, not once per iteration."""
    samples = generate("chaos.load.users", service, tmp_path, users=2, ramp=10.0, think=0.05)
    assert len(samples) > 10
    assert service.queries == 2


def test_without_an_address_the_request_counts_as_refused(service: Service, tmp_path: Path) -> None:
    """An empty DNS answer is a failed request, not a missing sample."""
    service.answers = []
    samples = generate("chaos.load.users", service, tmp_path, users=1, ramp=10.0, think=0.2)
    assert set(samples.outcome) == {"refused"}
    assert set(samples.front_end) == {""}


def test_probes_keep_their_rate_while_the_service_hangs(service: Service, tmp_path: Path) -> None:
    """The prober is open loop: hung probes time out one by one and none is left out."""
    service.hang = True
    probes = [ProbeStream(flow="health", rate=20.0, timeout=1.0)]
    samples = generate("chaos.load.prober", service, tmp_path, probes=probes)
    assert set(samples.outcome) == {"timeout"}
    assert len(samples) == pytest.approx(40, abs=1)
    assert samples.start.sort_values().diff().dropna().between(0.0499, 0.0501).all()


def test_probes_of_two_streams_are_recorded(service: Service, tmp_path: Path) -> None:
    """Health probes are reads, access-token probes are writes that carry a request id and a token digest."""
    probes = [ProbeStream(flow="health", rate=10.0), ProbeStream(flow="access-token", rate=5.0)]
    samples = generate("chaos.load.prober", service, tmp_path, probes=probes)
    assert (samples.outcome == "ok").all()
    writes = samples[samples.flow == "access-token"]
    assert len(writes) == pytest.approx(10, abs=1)
    assert (writes.token.str.len() == 64).all()
    assert (writes.request_id.str.len() == 32).all()
    assert not samples[samples.flow == "health"].token.any()


def test_a_closed_port_counts_as_refused(service: Service, tmp_path: Path) -> None:
    """Nothing listening is a refusal, told apart from a timeout."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        probes = [ProbeStream(flow="health", rate=10.0)]
        samples = generate(
            "chaos.load.prober", service, tmp_path, probes=probes, port=unused.getsockname()[1]
        )
    assert set(samples.outcome) == {"refused"}

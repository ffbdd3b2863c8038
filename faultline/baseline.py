"""Baseline measurements on a lab at rest: what one request, statement, commit and packet costs here.

One user, no fault, nothing else running. CPU is read from the control groups of the daemons around
each request, so it needs no model; what the model cannot attribute stays in the latency.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from chaos.errors import LabError
from chaos.host.cgroups import Cgroups
from chaos.host.namespaces import entered
from chaos.lab.generators import credentials
from chaos.lab.layout import HTTP_PORT, SERVICE_NAME
from chaos.lab.local import LocalLab
from chaos.lab.state import LabState, Running
from chaos.load.requests import Tokens, authorization, form_of
from chaos.services import mariadb
from experiments.workload import Request, Workload
from sim.calibration import REQUESTS
from sim.fitting import RequestSample
from sim.refill import PAUSE

WARM = 8
"""Requests of each kind that are not counted: connections, caches and compiled code settle."""
ROUNDS = 3
SETTLE = 0.004
"""Seconds after an answer until CPU is read: daemons finish what the client no longer waits for, and
their caches stay warm (`sim.protocols.caches.FRESH`)."""
TIMEOUT = 10.0


@dataclass
class Baseline:
    """Raw samples; units are seconds throughout.

    Attributes: those of `sim.fitting.Samples` that a lab can measure.
    """

    requests: dict[Request, list[RequestSample]] = field(default_factory=dict)
    statement_rtt: list[float] = field(default_factory=list)
    proxy_cpu: list[float] = field(default_factory=list)
    apply_cpu: list[float] = field(default_factory=list)
    local_commit: list[float] = field(default_factory=list)
    vpn_extra: list[float] = field(default_factory=list)
    public_extra: list[float] = field(default_factory=list)
    load_cpu: list[float] = field(default_factory=list)
    rested: list[RequestSample] = field(default_factory=list)
    ordering: list[float] = field(default_factory=list)
    pace: list[float] = field(default_factory=list)
    start: dict[str, list[float]] = field(default_factory=dict)


class Meter:
    """CPU of groups of daemons, as used so far."""

    def __init__(self, state: LabState) -> None:
        self._cgroups = Cgroups()
        self._groups: dict[str, list[str]] = {}
        for daemon in state.daemons:
            self._groups.setdefault(f"{daemon.role}@{daemon.site}", []).append(daemon.group)
        self.roles = sorted(self._groups)

    def read(self, *roles: str) -> float:
        """CPU seconds of all daemons of ``roles`` (`iam@ral`)."""
        return sum(self._cgroups.cpu_seconds(group) for role in roles for group in self._groups.get(role, ()))

    def group(self, name: str) -> float:
        """CPU seconds of a control group of the lab itself; 0 when there is none."""
        return self._cgroups.cpu_seconds(name) if self._cgroups.exists(name) else 0.0


class Client:
    """One user at one site, asking that site's front end over one kept connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=TIMEOUT)
        self._credentials = credentials()

    def ask(self, kind: Request, tokens: Tokens) -> float:
        """Send one request, keep its tokens, and return its latency.

        Raises:
            LabError: it did not succeed; a baseline with errors is none.
        """
        headers = {"Host": SERVICE_NAME}
        began = time.perf_counter()
        if kind == "health":
            self._connection.request("GET", "/actuator/health", headers=headers)
        else:
            form = form_of(kind, self._credentials, self._credentials.accounts[0], tokens, str(uuid.uuid4()))
            headers |= {
                "Authorization": authorization(self._credentials),
                "Content-Type": "application/x-www-form-urlencoded",
            }
            self._connection.request("POST", "/token", urlencode(form), headers)
        response = self._connection.getresponse()
        body = response.read()
        spent = time.perf_counter() - began
        if response.status != 200:
            raise LabError(f"the baseline's {kind} request got {response.status}: {body[:200]!r}")
        if kind != "health":
            tokens.update(json.loads(body))
        return spent

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def client(lab: LocalLab, state: LabState, site: str) -> Iterator[Client]:
    """A client in the users' namespace of ``site``."""
    del lab
    with entered(state.layout.users_namespace(site)):
        one = Client(state.layout.public(site))
        try:
            yield one
        finally:
            one.close()


def requests(lab: LocalLab, state: LabState, site: str, count: int, found: Baseline) -> None:
    """Latency and CPU of ``count`` requests of every kind at an otherwise idle site.

    They are asked for in `ROUNDS`, every kind in each: seconds in which the host gives less hit all alike.
    In each, as many access tokens are asked for after a pause, in which caches grow cold.
    """
    meter = Meter(state)
    app, database = f"iam@{site}", f"mariadb@{site}"
    with client(lab, state, site) as one:

        def ask(kind: Request, tokens: Tokens) -> RequestSample:
            before = meter.read(app), meter.read(database)
            latency = one.ask(kind, tokens)
            time.sleep(SETTLE)
            cpu = meter.read(app) - before[0], meter.read(database) - before[1]
            return RequestSample(cpu_app=cpu[0], cpu_db=cpu[1], latency=latency)

        given: list[Tokens] = []
        for turn in range(ROUNDS):
            for name in REQUESTS:
                rows = found.requests.setdefault(name, [])
                asked = count // ROUNDS + (WARM if turn == 0 else 1)
                proxies = meter.read(f"haproxy@{site}", f"nginx@{site}")
                for index in range(asked):
                    tokens = given[index % len(given)] if name in {"refresh", "token-exchange"} else Tokens()
                    sample = ask(name, tokens)
                    if name == "password":
                        given.append(tokens)
                    if index >= asked - count // ROUNDS:
                        rows.append(sample)
                spent = meter.read(f"haproxy@{site}", f"nginx@{site}") - proxies
                # Two proxies see each request; idle health checks are a few per second and cheap.
                found.proxy_cpu.append(spent / asked / 2)
            for _ in range(count // ROUNDS):
                time.sleep(PAUSE)
                found.rested.append(ask("access-token", Tokens()))


def statements(state: LabState, site: str, count: int, found: Baseline) -> None:
    """Round trip of a trivial statement between a service and its member, less the CPU of both."""
    import pymysql

    daemon = _database(state, site)
    meter = Meter(state)
    with entered(daemon.namespace):
        connection = pymysql.connect(
            host=daemon.address,
            port=daemon.port,
            user=mariadb.IAM_USER,
            password=mariadb.IAM_PASSWORD,
            database=mariadb.DATABASE,
            connect_timeout=5,
        )
    try:
        with connection.cursor() as cursor:
            for _ in range(5):
                own, theirs, began = time.thread_time(), meter.read(f"mariadb@{site}"), time.perf_counter()
                for _ in range(count):
                    cursor.execute("DO 1")
                spent = time.perf_counter() - began
                cpu = time.thread_time() - own + meter.read(f"mariadb@{site}") - theirs
                found.statement_rtt.append(max(0.0, spent - cpu) / count)
    finally:
        connection.close()


SCRATCH = "faultline_baseline"


def commits(state: LabState, site: str, count: int, found: Baseline) -> None:
    """Engine commit with its flush, at one member, replication left out."""
    found.local_commit += commit_times(state, site, count, replicated=False)


def commit_times(state: LabState, site: str, count: int, *, replicated: bool) -> list[float]:
    """Seconds of each COMMIT of one row."""
    took = []
    connection = mariadb.connect(_database(state, site).daemon(), timeout=TIMEOUT)
    try:
        with connection.cursor() as cursor:
            if not replicated:
                cursor.execute("SET SESSION wsrep_on = OFF")
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {SCRATCH}")
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {SCRATCH}.row (id INT PRIMARY KEY AUTO_INCREMENT, t INT)"
            )
            for index in range(count + WARM):
                if replicated:
                    time.sleep(PAUSE)
                cursor.execute("BEGIN")
                cursor.execute(f"INSERT INTO {SCRATCH}.row (t) VALUES ({index})")
                began = time.perf_counter()
                cursor.execute("COMMIT")
                if index >= WARM:
                    took.append(time.perf_counter() - began)
            cursor.execute(f"DROP DATABASE {SCRATCH}")
    finally:
        connection.close()
    return took


def load(lab: LocalLab, state: LabState, seconds: float, found: Baseline) -> None:
    """CPU per request that generators, relay and VPN use outside the sites' quotas: one user, no probes."""
    workload = Workload(flow="workflow", users=1, ramp=10, think=0.2, duration=seconds, warmup=1.0, probes=())
    meter = Meter(state)
    lab.start_load(workload, seed=0)
    # The generators' own start is not the price of a request: begin when they are at work.
    lab.clock.sleep(2.0 - lab.clock.now())
    slices = 4
    length = (seconds - 2.0) / slices
    for index in range(slices):
        began, before = lab.clock.now(), meter.group("net") + meter.group("load")
        lab.clock.sleep(2.0 + (index + 1) * length - began)
        spent = meter.group("net") + meter.group("load") - before
        ended = lab.samples(began)
        count = int((ended["start"] + ended["latency"] <= lab.clock.now()).sum())
        if count:
            found.load_cpu.append(spent / count)
    lab.stop_load()


def applying(lab: LocalLab, state: LabState, writer: str, other: str, count: int, found: Baseline) -> None:
    """CPU that a member spends on applying one token's write set of another member."""
    meter = Meter(state)
    role = f"mariadb@{other}"
    with client(lab, state, writer) as one:
        for _ in range(WARM):
            one.ask("access-token", Tokens())
        time.sleep(0.5)
        began, before = time.perf_counter(), meter.read(role)
        time.sleep(3.0)
        idle = (meter.read(role) - before) / (time.perf_counter() - began)
        for _ in range(4):
            began, before = time.perf_counter(), meter.read(role)
            for _ in range(count // 4):
                one.ask("access-token", Tokens())
            time.sleep(0.2)
            spent = meter.read(role) - before - idle * (time.perf_counter() - began)
            found.apply_cpu.append(max(0.0, spent) / (count // 4))


def ordering(state: LabState, site: str, rtt: float, count: int, found: Baseline) -> None:
    """Lone COMMITs at one of three members that are ``rtt`` (seconds) apart, beyond the links' delays.

    Ordering takes one and a half round trips among three (`sim.analytic.order_time`).
    """
    for seconds in commit_times(state, site, count, replicated=True):
        found.ordering.append(max(0.0, seconds - 1.5 * rtt))


def delays(state: LabState, one: str, other: str, rtt: float, count: int, found: Baseline) -> None:
    """What both paths add, one way, to the round trip ``rtt`` (seconds) of the link."""
    layout = state.layout
    paths: Sequence[tuple[str, list[float]]] = (
        (layout.overlay(other), found.vpn_extra),
        (layout.public(other), found.public_extra),
    )
    for address, into in paths:
        for seconds in connect_times(layout.namespace(one), address, count):
            into.append(max(0.0, (seconds - rtt) / 2))


def connect_times(namespace: str, address: str, count: int) -> list[float]:
    """Round-trip times of a refused TCP connection: one packet there, one back, on any machine."""
    times = []
    with entered(namespace):
        for _ in range(count + 1):
            with socket.socket() as one:
                one.settimeout(5.0)
                began = time.perf_counter()
                one.connect_ex((address, 9))
                times.append(time.perf_counter() - began)
    return times[1:]


def _database(state: LabState, site: str) -> Running:
    found = next((one for one in state.daemons if one.role == "mariadb" and one.site == site), None)
    if found is None:
        raise LabError(f"there is no database at {site}: calibrate with a topology that has one there")
    return found

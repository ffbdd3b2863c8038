"""The consistency audit: what became of every write, looked up on every database server itself.

After the run, with all faults undone, each server is asked directly, past every proxy, by whatever way
its lab has to it:

* an acknowledged token must be on every server (`access_token.token_value_hash`). A token of the
  password grant may have been deleted by a refresh that clears access tokens (facts/iam.md
  section 2 b), so that grant is looked up by the `request_id` its holder keeps instead;
* a write whose client got an error or no answer is in doubt; if its `request_id` is found, in a
  holder or in the claims of a token (`issued_request`), it was committed all the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd
import pymysql

from chaos.errors import LabError
from chaos.services import galera, mariadb
from chaos.services.daemon import Daemon
from experiments.observation import Audit
from topologies.model import Galera, MariadbReplication, Topology

BATCH = 500
WRITES = ("access-token", "password", "refresh", "token-exchange")

OPEN_OUTCOMES = frozenset(
    ("conflict", "server-error", "bad-gateway", "gateway-timeout", "timeout", "refused", "other")
)
"""Outcomes after which a write may have been committed. `stale` (400, 401) and `unavailable` (503) are
answers given before anything is written."""

CATCH_UP = 15.0
"""Seconds to let servers apply what they have not yet, before a missing row counts."""

_LOOK_UP_WITHIN = 30.0
_POSITION_WITHIN = 2.0


@dataclass(frozen=True)
class Found:
    """The result of an audit.

    Attributes:
        audit: in the shape that simulation and lab share.
        duplicated: request ids with more than one holder: a request that was carried out twice.
        unasked: servers that did not answer, so that nothing can be said about them.
        silence: why they did not.
        missing: server -> how many acknowledged writes it lacks.
        examples: a few of the lost or divergent writes, for people.
    """

    audit: Audit
    duplicated: int = 0
    unasked: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    silence: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Writes:
    """The writes of a run, by how they are looked up.

    Attributes:
        tokens: digests of acknowledged tokens.
        requests: request ids of acknowledged password grants.
        open: request ids of writes in doubt.
    """

    tokens: tuple[str, ...]
    requests: tuple[str, ...]
    open: tuple[str, ...]


def writes_of(samples: pd.DataFrame) -> Writes:
    """Sort the requests of a run by how their fate can be found out."""
    rows = samples[samples["request"].isin(WRITES)]
    acknowledged = rows[rows["outcome"] == "ok"]
    by_request = acknowledged["request"] == "password"
    in_doubt = rows[rows["outcome"].isin(OPEN_OUTCOMES)]
    return Writes(
        tokens=_present(acknowledged.loc[~by_request, "token"]),
        requests=_present(acknowledged.loc[by_request, "request_id"]),
        open=_present(in_doubt["request_id"]),
    )


def _present(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


@dataclass(frozen=True)
class Holdings:
    """What one server has.

    Attributes:
        tokens: of those asked for.
        requests: request id -> how many holders carry it, of those asked for.
        issued: request ids that the tokens there name, of those asked for.
    """

    tokens: frozenset[str]
    requests: Mapping[str, int]
    issued: frozenset[str] = frozenset()

    def has(self, request_id: str) -> bool:
        """Whether the request left anything here."""
        return request_id in self.requests or request_id in self.issued


def judge(writes: Writes, holdings: Mapping[str, Holdings], unasked: Sequence[str] = ()) -> Found:
    """Compare what was acknowledged with what each server has.

    Lost is what no server has, divergent what only some have. What none of those has that could be asked
    may still be on one that could not: then, and without any server to ask, the audit claims nothing.
    """
    missing: Counter[str] = Counter()
    lost = divergent = 0
    examples: list[str] = []
    for kind, keys in (("token", writes.tokens), ("request", writes.requests)):
        for key in keys:
            absent = [
                name
                for name, held in holdings.items()
                if not (key in held.tokens if kind == "token" else held.has(key))
            ]
            if not absent:
                continue
            missing.update(absent)
            everywhere = len(absent) == len(holdings)
            lost += everywhere
            divergent += not everywhere
            if len(examples) < 5:
                examples.append(f"{kind} {key[:16]} missing at {', '.join(absent)}")
    committed = sum(any(held.has(key) for held in holdings.values()) for key in writes.open)
    asked = (*writes.requests, *writes.open)
    duplicated = sum(
        max((held.requests.get(key, 0) for held in holdings.values()), default=0) > 1 for key in asked
    )
    details = (duplicated, tuple(unasked), dict(missing), tuple(examples))
    if not holdings or (lost and unasked):
        return Found(Audit(), *details)
    acknowledged = len(writes.tokens) + len(writes.requests)
    said = f"{acknowledged} acknowledged and {len(writes.open)} open writes on {len(holdings)} servers"
    if unasked:
        said += f"; not asked: {', '.join(unasked)}"
    audit = Audit(
        acknowledged=acknowledged,
        lost=lost,
        divergent=divergent,
        in_doubt=len(writes.open),
        in_doubt_committed=committed,
        lookups=said,
    )
    return Found(audit, *details)


@dataclass(frozen=True)
class Server:
    """A database server and the way to it.

    Attributes:
        component: its name.
        service: that it belongs to.
        open: makes a new connection to the service's database; told how many seconds an answer may take.
            It raises `pymysql.err.MySQLError`, `OSError` or `LabError` when there is none.
    """

    component: str
    service: str
    open: Callable[[float], Any]

    @classmethod
    def on_this_machine(cls, daemon: Daemon) -> Server:
        """One whose socket file can be seen from here."""
        return cls(
            daemon.component,
            daemon.service,
            lambda timeout: mariadb.connect(daemon, mariadb.DATABASE, timeout),
        )


NO_ANSWER = (pymysql.err.MySQLError, OSError, LabError)


def audit(
    topology: Topology, servers: Sequence[Server], samples: pd.DataFrame, patience: float = CATCH_UP
) -> Found:
    """Look up every write of ``samples`` on every server.

    Servers get ``patience`` seconds to apply what they have not yet.
    """
    writes = writes_of(samples)
    await_agreement(topology, servers, patience)
    holdings: dict[str, Holdings] = {}
    silence: dict[str, str] = {}
    for server in servers:
        try:
            holdings[server.component] = holdings_of(server.open(_LOOK_UP_WITHIN), writes)
        except NO_ANSWER as error:
            silence[server.component] = str(error)
    return replace(judge(writes, holdings, tuple(silence)), silence=silence)


def holdings_of(connection: Any, writes: Writes) -> Holdings:
    """Which of ``writes`` the server at the other end of ``connection`` has; closes the connection.

    Raises:
        pymysql.err.MySQLError, OSError: it does not answer.
    """
    try:
        with connection.cursor() as cursor:
            tokens: set[str] = set()
            for batch in _batches(writes.tokens):
                cursor.execute(
                    "SELECT token_value_hash FROM access_token WHERE token_value_hash IN %s", (batch,)
                )
                tokens.update(str(value) for (value,) in cursor.fetchall())
            wanted = {*writes.requests, *writes.open}
            requests: Counter[str] = Counter()
            issued: set[str] = set()
            if wanted:
                # One pass over each table: neither has an index for it (INDIGO's schema has none either).
                cursor.execute(
                    "SELECT val FROM authentication_holder_request_parameter WHERE param = 'request_id'"
                )
                requests.update(str(value) for (value,) in cursor.fetchall() if str(value) in wanted)
                cursor.execute("SELECT request_id FROM issued_request")
                issued.update(str(value) for (value,) in cursor.fetchall() if str(value) in wanted)
    finally:
        connection.close()
    return Holdings(frozenset(tokens), dict(requests), frozenset(issued))


def _batches(keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(keys), BATCH):
        yield tuple(keys[start : start + BATCH])


def await_agreement(topology: Topology, servers: Sequence[Server], patience: float = CATCH_UP) -> bool:
    """Wait until all servers have applied the same; tell whether they did within ``patience`` seconds.

    A replica that lost its primary tries again once a minute only (`master_connect_retry`,
    components.md 2.1). What is asked here is which writes are gone, not when the rest arrives, so it is
    told to try now, where the lab may do so.
    """
    for server in servers:
        if isinstance(topology.services[server.service], MariadbReplication):
            _reconnect(server)
    deadline = time.monotonic() + patience
    while True:
        positions = [_position(topology, server) for server in servers]
        if None not in positions and len(set(positions)) <= 1:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)


def _reconnect(server: Server) -> None:
    with suppress(*NO_ANSWER):
        connection = server.open(_LOOK_UP_WITHIN)
        try:
            with connection.cursor(pymysql.cursors.DictCursor) as cursor:
                cursor.execute("SHOW SLAVE STATUS")
                status = cursor.fetchone()
                if status and status["Slave_IO_Running"] != "Yes":
                    cursor.execute("STOP SLAVE IO_THREAD")
                    cursor.execute("START SLAVE IO_THREAD")
        finally:
            connection.close()


def _position(topology: Topology, server: Server) -> str | None:
    """How far a server has come; None when it does not serve or does not say."""
    service = topology.services[server.service]
    try:
        connection = server.open(_POSITION_WITHIN)
        try:
            if isinstance(service, Galera):
                status = mariadb.status(connection, "wsrep_%")
                if galera.condition_of(status).state != "up":
                    return None
                return status.get("wsrep_last_committed")
            assert isinstance(service, MariadbReplication)
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@gtid_current_pos")
                (position,) = cursor.fetchone()
                return str(position)
        finally:
            connection.close()
    except NO_ANSWER:
        return None

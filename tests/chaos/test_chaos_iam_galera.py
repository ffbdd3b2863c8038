"""One real Galera node under the service: the size of its write sets, and a node that is not prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from chaos.iam.sandbox import DatabaseSandbox, ReplicaSandbox, database, free_port, replica
from chaos.iam.schema import PASSWORD, TOKEN_EXCHANGE, Seed

pytestmark = pytest.mark.lab


@dataclass
class Node:
    """A single-node cluster and a replica on it."""

    db: DatabaseSandbox
    iam: ReplicaSandbox

    def ask(self, client: str = "loadtest", **form: str) -> requests.Response:
        """Ask for a token."""
        auth = (client, f"{client}-secret")
        return requests.post(self.iam.url + "token", data=form, auth=auth, timeout=60)

    def tokens(self, client: str) -> dict[str, Any]:
        """A user's tokens."""
        scopes = "openid profile email offline_access"
        answer = self.ask(client, grant_type="password", username="test1", password=PASSWORD, scope=scopes)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def replicated(self) -> tuple[int, int]:
        """Write sets sent so far, and their bytes."""
        with self.db.admin() as admin, admin.cursor() as cursor:
            cursor.execute(
                "SHOW STATUS WHERE Variable_name IN ('wsrep_replicated', 'wsrep_replicated_bytes')"
            )
            (count, size) = (int(row[1]) for row in cursor.fetchall())
        return count, size


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A bootstrapped node."""
    port = free_port()
    options = [
        "--wsrep-on=ON",
        "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
        "--binlog-format=ROW",
        "--wsrep-new-cluster",
        "--wsrep-cluster-address=gcomm://127.0.0.1",
        f"--wsrep-provider-options=base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port}",
    ]
    with (
        database(Seed(users=1, bcrypt_cost=4), *options) as db,
        replica(db.directory, db.port, bcrypt_cost=4) as iam,
    ):
        yield Node(db, iam)


WRITE_SETS: list[tuple[str, int, str, Callable[[dict[str, Any]], dict[str, str]]]] = [
    (
        "client_credentials",
        3632,
        "loadtest",
        lambda _: {"grant_type": "client_credentials", "scope": "scim:read scim:write"},
    ),
    (
        "refresh and clear",
        4144,
        "loadtest",
        lambda tokens: {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
    ),
    (
        "refresh",
        2752,
        "keep",
        lambda tokens: {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
    ),
    (
        "exchange",
        6340,
        "loadtest",
        lambda tokens: {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": tokens["access_token"],
            "scope": "profile email",
        },
    ),
]


@pytest.mark.parametrize(
    ("measured", "client", "form"), [row[1:] for row in WRITE_SETS], ids=[row[0] for row in WRITE_SETS]
)
def test_one_write_set_of_the_measured_size(
    node: Node, measured: int, client: str, form: Callable[[dict[str, Any]], dict[str, str]]
) -> None:
    """Each token request replicates once; its bytes are within a tenth of INDIGO's (facts/iam.md 1.2)."""
    request = form(node.tokens(client))
    node.ask(client, grant_type="client_credentials", scope="openid")  # fills the scope cache
    before = node.replicated()
    assert node.ask(client, **request).status_code == 200
    after = node.replicated()
    assert after[0] - before[0] == 1
    assert after[1] - before[1] == pytest.approx(measured, rel=0.1)


def test_node_that_is_not_prepared(node: Node) -> None:
    """1047 is a prompt 500 at /token, while health stays UP: its SELECT 1 touches no table.

    `wsrep_reject_queries` takes the same branch of the server as a non-Primary component does.
    """
    form = {"grant_type": "client_credentials", "scope": "scim:read"}
    assert node.ask(**form).status_code == 200
    with node.db.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL wsrep_reject_queries = ALL")
        try:
            for _ in range(3):
                refused = node.ask(**form)
                assert refused.status_code == 500
                assert refused.json()["error_description"].startswith("unavailable: (1047")
                assert refused.elapsed.total_seconds() < 1.0
                health = requests.get(node.iam.url + "actuator/health", timeout=30)
                assert (health.status_code, health.json()) == (200, {"status": "UP"})
        finally:
            cursor.execute("SET GLOBAL wsrep_reject_queries = NONE")
    assert node.ask(**form).status_code == 200

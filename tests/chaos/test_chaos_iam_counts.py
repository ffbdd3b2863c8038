"""The statements of every request against what was counted on the real IAM (facts/iam.md 1.2).

The oracle is a recorded measurement: INDIGO IAM v1.8.4 on MariaDB 10.11, general log, 20 requests
per type without spread. Here the same log of a throwaway server is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
import requests

from chaos.iam.sandbox import DatabaseSandbox, ReplicaSandbox, database, replica
from chaos.iam.schema import PASSWORD, Seed

pytestmark = pytest.mark.lab

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
USER_SCOPES = "openid profile email offline_access"
TWO_SCOPES = "scim:read scim:write"


@dataclass(frozen=True)
class Cost:
    """Statements of one request, in the columns of facts/iam.md 1.2."""

    statements: int
    transactions: int
    selects_in_transaction: int
    selects_autocommit: int
    deletes: int
    inserts: int
    last_insert_ids: int
    updates: int = 0


MEASURED = {
    "client_credentials": Cost(92, 5, 67, 0, 0, 8, 2),
    "password": Cost(151, 5, 94, 21, 0, 17, 4),
    "refresh, reuse and clear": Cost(156, 5, 98, 34, 3, 5, 1),
    "refresh, reuse, no clear": Cost(153, 5, 98, 34, 0, 5, 1),
    "refresh, rotate, no clear": Cost(156, 5, 98, 34, 1, 6, 2),
    "refresh, rotate and clear": Cost(160, 5, 99, 34, 4, 6, 2),
    "token exchange": Cost(154, 5, 87, 37, 0, 12, 3),
    "introspect user token": Cost(133, 12, 56, 41, 0, 0, 0),
    "introspect client token": Cost(116, 12, 56, 24, 0, 0, 0),
    "introspect unknown": Cost(32, 2, 24, 2, 0, 0, 0),
    "userinfo": Cost(136, 2, 24, 106, 0, 0, 0),
    "revoke access token": Cost(89, 3, 50, 27, 3, 0, 0),
    "revoke refresh token": Cost(82, 3, 47, 25, 1, 0, 0),
    "revoke unknown": Cost(32, 2, 24, 2, 0, 0, 0),
}


@dataclass
class Bench:
    """A replica and the log of its database."""

    db: DatabaseSandbox
    iam: ReplicaSandbox

    def post(self, path: str, client: str = "loadtest", **form: str) -> requests.Response:
        """Send a form as ``client``."""
        return requests.post(self.iam.url + path, data=form, auth=(client, f"{client}-secret"), timeout=60)

    def user_tokens(self, client: str = "loadtest") -> dict[str, Any]:
        """Tokens of a user with a refresh token."""
        answer = self.post(
            "token", client, grant_type="password", username="test1", password=PASSWORD, scope=USER_SCOPES
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def client_token(self) -> str:
        """A token of a client on its own."""
        answer = self.post("token", grant_type="client_credentials", scope=TWO_SCOPES)
        return str(answer.json()["access_token"])

    def statements(self, send: Any) -> list[str]:
        """What the service sent to the database during ``send()``, connection upkeep left out."""
        with self.db.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SET GLOBAL general_log = 0")
            cursor.execute("TRUNCATE mysql.general_log")
            cursor.execute("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = 1")
            answer = send()
            cursor.execute("SET GLOBAL general_log = 0")
            assert answer.status_code == 200, answer.text
            cursor.execute(
                "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log"
                " WHERE command_type = 'Query' AND user_host LIKE 'iam[%'"
            )
            logged = [str(row[0]) for row in cursor.fetchall()]
        upkeep = ("SELECT 1", "SELECT @@", "SET NAMES", "SET time_zone", "SET AUTOCOMMIT")
        return [statement for statement in logged if not statement.startswith(upkeep)]

    def cost(self, send: Any) -> Cost:
        """Count what ``send()`` costs."""
        return count(self.statements(send))


def count(statements: list[str]) -> Cost:
    """Sort statements into the columns of the table."""
    inside = False
    tally = dict.fromkeys((column.name for column in fields(Cost)), 0)
    tally["statements"] = len(statements)
    for statement in statements:
        if statement == "SET autocommit=0":
            inside = True
        elif statement == "SET autocommit=1":
            inside = False
        elif statement == "COMMIT":
            tally["transactions"] += 1
        elif statement == "SELECT LAST_INSERT_ID()":
            tally["last_insert_ids"] += 1
        elif statement.startswith("SELECT"):
            tally["selects_in_transaction" if inside else "selects_autocommit"] += 1
        else:
            tally[f"{statement.split()[0].lower()}s"] += 1
    return Cost(**tally)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One replica on one database; caches warmed by a request of each client."""
    seed = Seed(users=3, bcrypt_cost=4)
    with database(seed) as db, replica(db.directory, db.port, bcrypt_cost=4) as iam:
        bench = Bench(db, iam)
        for client in ("loadtest", "keep", "rotate", "rotate-clear"):
            bench.user_tokens(client)
        yield bench


def refresh(bench: Bench, client: str) -> Cost:
    """Cost of a refresh under the policy of ``client``."""
    token = bench.user_tokens(client)["refresh_token"]
    return bench.cost(lambda: bench.post("token", client, grant_type="refresh_token", refresh_token=token))


def test_client_credentials_costs_what_was_measured(bench: Bench) -> None:
    """Two scopes: 4 client loads and a write transaction of 32 statements."""
    cost = bench.cost(lambda: bench.post("token", grant_type="client_credentials", scope=TWO_SCOPES))
    assert cost == MEASURED["client_credentials"]


def test_missing_scope_costs_one_more_client_load(bench: Bench) -> None:
    """Without `scope` the request factory loads the client again (facts/iam.md 2 (a) 3)."""
    with_scope = bench.cost(lambda: bench.post("token", grant_type="client_credentials", scope=TWO_SCOPES))
    without = bench.cost(lambda: bench.post("token", grant_type="client_credentials"))
    assert without.transactions == with_scope.transactions + 1
    # The client's 8 scopes instead of 2: 2 look-ups each, a row in the holder's and in the token's
    # collection each; and one request parameter less to keep.
    assert without.selects_in_transaction == with_scope.selects_in_transaction + 12 + 6 * 2
    assert without.inserts == with_scope.inserts + 6 * 2 - 1


def test_request_id_costs_one_insert(bench: Bench) -> None:
    """The load's extra parameter is one more row of authentication_holder_request_parameter."""
    form = {"grant_type": "client_credentials", "scope": TWO_SCOPES}
    plain = bench.cost(lambda: bench.post("token", **form))
    tagged = bench.cost(lambda: bench.post("token", **form, request_id="7e0e4a54"))
    assert (tagged.statements, tagged.inserts) == (plain.statements + 1, plain.inserts + 1)


def test_password_costs_what_was_measured(bench: Bench) -> None:
    """Four scopes with openid and offline_access: two account loads outside, a refresh token inside."""
    form = {"grant_type": "password", "username": "test1", "password": PASSWORD, "scope": USER_SCOPES}
    assert bench.cost(lambda: bench.post("token", **form)) == MEASURED["password"]


@pytest.mark.parametrize(
    ("client", "row"),
    [
        ("loadtest", "refresh, reuse and clear"),
        ("keep", "refresh, reuse, no clear"),
        ("rotate", "refresh, rotate, no clear"),
        ("rotate-clear", "refresh, rotate and clear"),
    ],
)
def test_refresh_costs_what_was_measured(bench: Bench, client: str, row: str) -> None:
    """Each of the four refresh policies has its own measured cost."""
    assert refresh(bench, client) == MEASURED[row]


def test_clear_locks_are_held_for_34_statements(bench: Bench) -> None:
    """Between the delete that locks token_scope and COMMIT lie 34 statements (facts/iam.md 1.2)."""
    token = bench.user_tokens()["refresh_token"]
    sent = bench.statements(lambda: bench.post("token", grant_type="refresh_token", refresh_token=token))
    (locked,) = [n for n, statement in enumerate(sent) if statement.startswith("DELETE FROM token_scope")]
    assert sent.index("COMMIT", locked) - locked - 1 == 34


@pytest.mark.parametrize(
    ("row", "length"),
    [("client_credentials", 32), ("password", 70), ("token exchange", 57), ("refresh, reuse and clear", 62)],
)
def test_write_transaction_is_as_long_as_measured(bench: Bench, row: str, length: int) -> None:
    """The last transaction of a token request, frames included, has the measured number of statements."""
    tokens = bench.user_tokens()
    user = {"username": "test1", "password": PASSWORD}
    forms = {
        "client_credentials": {"grant_type": "client_credentials", "scope": TWO_SCOPES},
        "password": {"grant_type": "password", **user, "scope": USER_SCOPES},
        "token exchange": {
            "grant_type": EXCHANGE,
            "subject_token": tokens["access_token"],
            "scope": "profile email",
        },
        "refresh, reuse and clear": {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
    }
    sent = bench.statements(lambda: bench.post("token", **forms[row]))
    last = len(sent) - 1 - sent[::-1].index("SET autocommit=0")
    assert len(sent) - last == length


def test_token_exchange_costs_what_was_measured(bench: Bench) -> None:
    """Two scopes without openid; the subject token has a refresh token behind it."""
    subject = bench.user_tokens()["access_token"]
    form = {"grant_type": EXCHANGE, "subject_token": subject, "scope": "profile email"}
    assert bench.cost(lambda: bench.post("token", **form)) == MEASURED["token exchange"]


def test_introspection_costs_what_was_measured(bench: Bench) -> None:
    """The caller has 8 scopes: 8 reads of system_scope, each in its own transaction."""
    user, client = bench.user_tokens()["access_token"], bench.client_token()
    assert bench.cost(lambda: bench.post("introspect", token=user)) == MEASURED["introspect user token"]
    assert bench.cost(lambda: bench.post("introspect", token=client)) == MEASURED["introspect client token"]
    assert bench.cost(lambda: bench.post("introspect", token="nonsense")) == MEASURED["introspect unknown"]


def test_userinfo_costs_what_was_measured(bench: Bench) -> None:
    """Nearly everything is autocommitted: 106 places where a proxy may pick another node."""
    bearer = {"Authorization": f"Bearer {bench.user_tokens()['access_token']}"}
    cost = bench.cost(lambda: requests.get(bench.iam.url + "userinfo", headers=bearer, timeout=60))
    assert cost == MEASURED["userinfo"]


def test_revocation_costs_what_was_measured(bench: Bench) -> None:
    """Access token, refresh token, and one that is none."""
    tokens = bench.user_tokens()
    access, refresh_token = tokens["access_token"], tokens["refresh_token"]
    assert bench.cost(lambda: bench.post("revoke", token=access)) == MEASURED["revoke access token"]
    assert bench.cost(lambda: bench.post("revoke", token=refresh_token)) == MEASURED["revoke refresh token"]
    assert bench.cost(lambda: bench.post("revoke", token="nonsense")) == MEASURED["revoke unknown"]


def test_health_is_one_select(bench: Bench) -> None:
    """The health page asks the database one question and nothing else."""
    with bench.db.admin() as admin, admin.cursor() as cursor:
        cursor.execute("TRUNCATE mysql.general_log")
        requests.get(bench.iam.url + "actuator/health", timeout=60)
        cursor.execute("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = 1")
        answer = requests.get(bench.iam.url + "actuator/health", timeout=60)
        cursor.execute("SET GLOBAL general_log = 0")
        cursor.execute(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log"
            " WHERE command_type = 'Query' AND user_host LIKE 'iam[%'"
        )
        assert [row[0] for row in cursor.fetchall()] == ["SELECT 1"]
    assert answer.json() == {"status": "UP"}

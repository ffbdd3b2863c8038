"""Schema and seed data of the identity service.

`python -m chaos.iam.schema` prints SQL for any MariaDB client; with `--socket` it applies it. The output
depends on the arguments only, so two members seeded separately are equal byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import pymysql
from pymysql.constants import CLIENT

from chaos.iam.connection import quote

TABLES = Path(__file__).with_name("schema.sql")

EPOCH = "2024-01-01 00:00:00"
"""Creation time of everything seeded."""

PASSWORD = "test-password"
"""Password of every seeded user."""

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ALL_GRANTS = ("client_credentials", "password", "refresh_token", TOKEN_EXCHANGE)

SYSTEM_SCOPES = (
    ("openid", "log in using your identity"),
    ("profile", "basic profile information"),
    ("email", "email address"),
    ("address", "physical address"),
    ("phone", "telephone number"),
    ("offline_access", "offline access"),
    ("scim:read", "read access to users and groups"),
    ("scim:write", "write access to users and groups"),
    ("registration:read", "read access to registration requests"),
    ("registration:write", "write access to registration requests"),
    ("storage.read:/", "read files"),
    ("storage.create:/", "upload files"),
)

CLIENT_SCOPES = tuple(name for name, _ in SYSTEM_SCOPES[:8])
"""Eight scopes per client, as in the measured sample (facts/iam.md 1.2)."""

GROUPS = ("iris", "iris/operators", "iris/users")
"""Three groups per user, as in the measured sample."""

AUTHORITIES = ("ROLE_USER", "ROLE_READER")
"""Two authorities per user: with them the row counts of facts/iam.md 1.2 come out exactly."""


@dataclass(frozen=True)
class SeedClient:
    """A client of the seed.

    Attributes:
        client_id: its secret is the same with `-secret` appended.
        reuse: keep the refresh token on refresh.
        clear: delete the refresh token's access tokens on refresh.
        lifetime: seconds of its access tokens.
        refresh_lifetime: seconds of its refresh tokens.
        grants: allowed grant types.
        introspection: may introspect.
    """

    client_id: str
    reuse: bool = True
    clear: bool = True
    lifetime: int = 3600
    refresh_lifetime: int = 2_592_000
    grants: tuple[str, ...] = ALL_GRANTS
    introspection: bool = True

    @property
    def secret(self) -> str:
        """Its secret."""
        return f"{self.client_id}-secret"


LOADTEST = SeedClient("loadtest")

CLIENTS = (
    SeedClient("exchange", grants=("client_credentials", TOKEN_EXCHANGE)),
    SeedClient("keep", clear=False),
    SeedClient("rotate", reuse=False, clear=False),
    SeedClient("rotate-clear", reuse=False, clear=True),
    SeedClient("short-lived", lifetime=1, refresh_lifetime=2),
    SeedClient("plain", grants=("client_credentials",), introspection=False),
)
"""Besides `loadtest`: one client per refresh policy, one whose tokens expire at once, one with few rights."""


@dataclass(frozen=True)
class Seed:
    """What to put into an empty schema.

    Attributes:
        users: how many users, test1 ... testN, all with `PASSWORD`.
        reuse: refresh policy of `loadtest`.
        clear: refresh policy of `loadtest`.
        bcrypt_cost: of the users' password hashes (INDIGO: 10, about 55 ms per check).
    """

    users: int = 100
    reuse: bool = True
    clear: bool = True
    bcrypt_cost: int = 10

    def statements(self) -> Iterator[str]:
        """The INSERT statements, in an order that satisfies the foreign keys."""
        yield insert("system_scope", ("scope", "description"), SYSTEM_SCOPES)
        yield from self._clients()
        yield from self._users()
        yield insert(
            "iam_scope_policy",
            ("creation_time", "description", "last_update_time", "rule"),
            [(EPOCH, "Permit all scopes by default", EPOCH, "PERMIT")],
        )
        yield insert(
            "iam_exchange_policy",
            ("creation_time", "description", "last_update_time", "rule", "dest_m_type", "origin_m_type"),
            [(EPOCH, "Permit every exchange", EPOCH, "PERMIT", "ANY", "ANY")],
        )

    def _clients(self) -> Iterator[str]:
        clients = (replace(LOADTEST, reuse=self.reuse, clear=self.clear), *CLIENTS)
        yield insert(
            "client_details",
            (
                "id", "client_id", "client_secret", "client_name", "access_token_validity_seconds",
                "refresh_token_validity_seconds", "id_token_validity_seconds", "reuse_refresh_tokens",
                "clear_access_tokens_on_refresh", "allow_introspection", "token_endpoint_auth_method",
                "created_at",
            ),
            [
                (
                    key, client.client_id, client.secret, f"Client {client.client_id}", client.lifetime,
                    client.refresh_lifetime, 600, client.reuse, client.clear, client.introspection,
                    "SECRET_BASIC", EPOCH,
                )
                for key, client in enumerate(clients, 1)
            ],
        )  # fmt: skip
        numbered = list(enumerate(clients, 1))
        yield insert(
            "client_scope", ("owner_id", "scope"), [(key, s) for key, _ in numbered for s in CLIENT_SCOPES]
        )
        yield insert(
            "client_grant_type",
            ("owner_id", "grant_type"),
            [(key, g) for key, c in numbered for g in c.grants],
        )
        yield insert(
            "client_redirect_uri",
            ("owner_id", "redirect_uri"),
            [(key, f"https://{c.client_id}.faultline.test/callback") for key, c in numbered],
        )
        yield insert(
            "client_contact",
            ("owner_id", "contact"),
            [(key, f"{c.client_id}@faultline.test") for key, c in numbered],
        )

    def _users(self) -> Iterator[str]:
        users = range(1, self.users + 1)
        stored = password_hash(self.bcrypt_cost)
        groups = list(enumerate(GROUPS, 1))
        roles = list(enumerate(AUTHORITIES, 1))
        stamps = ("creationtime", "lastupdatetime")
        yield insert("iam_authority", ("id", "auth"), roles)
        yield insert(
            "iam_group",
            ("id", "uuid", "name", *stamps),
            [(k, _uuid("group", n), n, EPOCH, EPOCH) for k, n in groups],
        )
        if not users:
            return
        yield insert(
            "iam_user_info",
            ("id", "givenname", "familyname", "email", "emailverified"),
            [(n, f"Test{n}", "User", f"test{n}@faultline.test", True) for n in users],
        )
        yield insert(
            "iam_account",
            ("id", "uuid", "username", "password", "active", "user_info_id", *stamps),
            [(n, _uuid("user", f"test{n}"), f"test{n}", stored, True, n, EPOCH, EPOCH) for n in users],
        )
        yield insert(
            "iam_account_authority",
            ("account_id", "authority_id"),
            [(n, key) for n in users for key, _ in roles],
        )
        yield insert(
            "iam_account_group",
            ("account_id", "group_id", "creation_time"),
            [(n, key, EPOCH) for n in users for key, _ in groups],
        )
        yield insert(
            "iam_oidc_id",
            ("issuer", "subject", "account_id"),
            [("https://idp.faultline.test/", f"subject-{n}", n) for n in users],
        )
        yield insert(
            "iam_x509_cert",
            ("subject_dn", "issuer_dn", "label", "is_primary", "account_id"),
            [(f"CN=Test{n} User,O=Faultline", "CN=Test CA,O=Faultline", f"cert-{n}", True, n) for n in users],
        )


def password_hash(cost: int) -> str:
    """BCrypt hash of `PASSWORD`. One fixed salt for all users: seeding stays fast and deterministic."""
    salt = bcrypt.gensalt(cost)[:7] + b"abcdefghijklmnopqrstuu"
    return bcrypt.hashpw(PASSWORD.encode(), salt).decode("ascii")


def insert(table: str, columns: tuple[str, ...], rows: object) -> str:
    """One multi-row INSERT."""
    assert isinstance(rows, (list, tuple))
    values = ",\n  ".join("(" + ", ".join(map(quote, row)) + ")" for row in rows)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES\n  {values};"


def _uuid(kind: str, name: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(f"{kind}:{name}".encode()).digest()[:16], version=4))


def script(seed: Seed, database: str = "iam", user: str | None = None, password: str = "") -> str:
    """The whole SQL script: database, tables, seed, and the service's account when ``user`` is given."""
    parts = [
        f"DROP DATABASE IF EXISTS `{database}`;",
        f"CREATE DATABASE `{database}` CHARACTER SET latin1 COLLATE latin1_swedish_ci;",
        f"USE `{database}`;",
        "SET time_zone = '+00:00';",
        TABLES.read_text(),
        *seed.statements(),
    ]
    if user is not None:
        parts += [
            f"CREATE OR REPLACE USER {quote(user)}@'%' IDENTIFIED BY {quote(password)};",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO {quote(user)}@'%';",
        ]
    return "\n".join(parts) + "\n"


def apply(text: str, socket: str, admin: str = "root") -> None:
    """Run a script as the administrator over a Unix socket.

    Raises:
        pymysql.err.MySQLError: no connection, or a statement failed.
    """
    connection = pymysql.connect(
        unix_socket=socket, user=admin, client_flag=CLIENT.MULTI_STATEMENTS, autocommit=True
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
            while cursor.nextset():
                pass
    finally:
        connection.close()


def main() -> int:
    """Print the script, or apply it with `--socket`."""
    parser = argparse.ArgumentParser(prog="python -m chaos.iam.schema", description=__doc__)
    parser.add_argument(
        "--users", type=int, default=Seed.users, help="users test1 ... testN (default %(default)s)"
    )
    parser.add_argument("--bcrypt-cost", type=int, default=Seed.bcrypt_cost, help="default %(default)s")
    parser.add_argument(
        "--rotate", action="store_true", help="loadtest gets a new refresh token on every refresh"
    )
    parser.add_argument("--no-clear", action="store_true", help="loadtest keeps old access tokens on refresh")
    parser.add_argument("--database", default="iam", help="name of the schema; DROPPED if it exists")
    parser.add_argument("--user", help="also create this account for the service")
    parser.add_argument("--password", default="", help="its password")
    parser.add_argument("--socket", help="apply over this Unix socket instead of printing")
    parser.add_argument("--admin", default="root", help="administrator to connect as (default %(default)s)")
    arguments = parser.parse_args()
    seed = Seed(arguments.users, not arguments.rotate, not arguments.no_clear, arguments.bcrypt_cost)
    text = script(seed, arguments.database, arguments.user, arguments.password)
    if arguments.socket is None:
        sys.stdout.write(text)
        return 0
    try:
        apply(text, arguments.socket, arguments.admin)
    except pymysql.err.MySQLError as error:
        print(f"{arguments.socket}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Access tokens: found by the SHA-256 of their value (26 SELECTs for a user's token with refresh token)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from chaos.iam.connection import Statements
from chaos.iam.units import client as clients
from chaos.iam.units import holder as holders
from chaos.iam.units import refresh_token as refresh_tokens
from chaos.iam.units.client import Client
from chaos.iam.units.decode import first_column, number
from chaos.iam.units.holder import Holder, last_insert_id

BY_HASH = (
    "SELECT id, UNIX_TIMESTAMP(expiration), refresh_token_id, client_id, auth_holder_id, token_type,"
    " token_value, token_value_hash, approved_site_id FROM access_token WHERE token_value_hash = %s"
)
SCOPES = "SELECT scope FROM token_scope WHERE owner_id = %s"
PERMISSIONS = (
    "SELECT p.id, p.resource_set_id FROM access_token_permissions l, permission p"
    " WHERE l.access_token_id = %s AND p.id = l.permission_id"
)
INSERT = (
    "INSERT INTO access_token (token_value, token_value_hash, expiration, token_type, refresh_token_id,"
    " client_id, auth_holder_id, approved_site_id)"
    " VALUES (%s, %s, FROM_UNIXTIME(%s), 'Bearer', %s, %s, %s, NULL)"
)
INSERT_SCOPE = "INSERT INTO token_scope (owner_id, scope) VALUES (%s, %s)"

DELETE = (
    "DELETE FROM access_token_permissions WHERE access_token_id = %s",
    "DELETE FROM token_scope WHERE owner_id = %s",
    "DELETE FROM access_token WHERE id = %s",
)

CLEAR_PERMISSIONS = (
    "DELETE FROM access_token_permissions WHERE EXISTS (SELECT a.id FROM access_token a"
    " WHERE a.refresh_token_id = %s AND a.id = access_token_permissions.access_token_id)"
)
CLEAR_SCOPES = (
    "DELETE FROM token_scope WHERE EXISTS (SELECT a.id FROM access_token a"
    " WHERE a.refresh_token_id = %s AND a.id = token_scope.owner_id)"
)
CLEAR_TOKENS = "DELETE FROM access_token WHERE refresh_token_id = %s"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token with what hangs on it.

    Attributes:
        id: primary key.
        expires: seconds since the epoch; None never expires.
        scopes: granted.
        client: whom it was issued to.
        holder: who authorised it.
    """

    id: int
    expires: int | None
    scopes: tuple[str, ...]
    client: Client
    holder: Holder

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now


def digest(value: str) -> str:
    """The look-up key of a token value."""
    return hashlib.sha256(value.encode()).hexdigest()


def find(db: Statements, value: str) -> AccessToken | None:
    """Find by hash: 1 SELECT on a miss, else 3, 1 with a refresh token, 12 (client), 7 (holder), 3 (user)."""
    rows = db.select(BY_HASH, digest(value), columns=5)
    if not rows:
        return None
    row = rows[0]
    identifier = int(row[0] or 0)
    if row[2] is not None:
        db.select(refresh_tokens.BY_ID, int(row[2]), columns=1)
    client = clients.load_by_id(db, int(row[3] or 0))
    holder = holders.load(db, int(row[4] or 0))
    scopes = first_column(db.select(SCOPES, identifier))
    db.select(PERMISSIONS, identifier, columns=0)
    if client is None or holder is None:  # deleted between two autocommitted reads
        return None
    return AccessToken(identifier, number(row[1]), scopes, client, holder)


def insert(
    db: Statements,
    value: str,
    expires: int | None,
    scopes: Iterable[str],
    client: Client,
    holder_id: int,
    refresh_token_id: int | None,
) -> int:
    """Save: INSERT, LAST_INSERT_ID, 1 INSERT into token_scope per scope."""
    db.execute(INSERT, value, digest(value), expires, refresh_token_id, client.id, holder_id)
    identifier = last_insert_id(db)
    for scope in scopes:
        db.execute(INSERT_SCOPE, identifier, scope)
    return identifier


def delete(db: Statements, identifier: int) -> int:
    """Delete one token: 3 statements. Return how many token rows went (0 when somebody was faster)."""
    return [db.execute(statement, identifier) for statement in DELETE][-1]


def clear(db: Statements, refresh_token_id: int) -> None:
    """Delete every access token of a refresh token: 3 bulk statements.

    The first two carry an EXISTS subquery that the server answers by scanning the whole child
    table, so under REPEATABLE READ they lock all of token_scope up to and past its end: other
    issuances wait here (T1'), and on another Galera member they abort us (T1, facts/iam.md 2.1).
    """
    db.execute(CLEAR_PERMISSIONS, refresh_token_id)
    db.execute(CLEAR_SCOPES, refresh_token_id)
    db.execute(CLEAR_TOKENS, refresh_token_id)

"""Refresh tokens: found by value, loaded with client and holder (23 SELECTs for a user's token)."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.iam.connection import Statements
from chaos.iam.units import client as clients
from chaos.iam.units import holder as holders
from chaos.iam.units.client import Client
from chaos.iam.units.decode import number, text
from chaos.iam.units.holder import Holder, last_insert_id

COLUMNS = (
    "SELECT id, token_value, UNIX_TIMESTAMP(expiration), auth_holder_id, client_id FROM refresh_token WHERE "
)
BY_VALUE = COLUMNS + "token_value = %s"
BY_ID = COLUMNS + "id = %s"
INSERT = (
    "INSERT INTO refresh_token (token_value, expiration, auth_holder_id, client_id)"
    " VALUES (%s, FROM_UNIXTIME(%s), %s, %s)"
)
DELETE = "DELETE FROM refresh_token WHERE id = %s"


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token with what hangs on it.

    Attributes:
        id: primary key.
        value: the unsigned JWT handed to the client.
        expires: seconds since the epoch; None never expires.
        client: whom it was issued to.
        holder: who authorised it.
    """

    id: int
    value: str
    expires: int | None
    client: Client
    holder: Holder


def find(db: Statements, value: str) -> RefreshToken | None:
    """Find by value: 1 SELECT on a miss, else 1 + 12 (client) + 7 (holder) + 3 (user)."""
    rows = db.select(BY_VALUE, value)
    if not rows:
        return None
    row = rows[0]
    client = clients.load_by_id(db, int(row[4] or 0))
    holder = holders.load(db, int(row[3] or 0))
    if client is None or holder is None:  # cascading keys make this impossible short of lost data
        return None
    return RefreshToken(int(row[0] or 0), text(row[1]), number(row[2]), client, holder)


def reread(db: Statements, identifier: int) -> None:
    """Read a row again after a bulk delete went past the ORM: 1 SELECT."""
    db.select(BY_ID, identifier, columns=1)


def insert(db: Statements, value: str, expires: int | None, holder_id: int, client: Client) -> int:
    """Save: INSERT and LAST_INSERT_ID."""
    db.execute(INSERT, value, expires, holder_id, client.id)
    return last_insert_id(db)


def delete(db: Statements, identifier: int) -> None:
    """Delete: 1 statement; the foreign key takes its access tokens along."""
    db.execute(DELETE, identifier)

"""Authentication holders: who authorised a token, with which request. One row and six collections.

With a user behind it, a saved user authentication (one row, two collections) is written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaos.iam.connection import Statements
from chaos.iam.units.client import Client
from chaos.iam.units.decode import first_column, number, text

LAST_INSERT_ID = "SELECT LAST_INSERT_ID()"

SELECT_HOLDER = (
    "SELECT id, user_auth_id, client_id, approved, redirect_uri FROM authentication_holder WHERE id = %s"
)
SELECT_SCOPES = "SELECT scope FROM authentication_holder_scope WHERE owner_id = %s"
SELECT_AUTHORITIES = "SELECT authority FROM authentication_holder_authority WHERE owner_id = %s"
SELECT_UNUSED = (
    "SELECT resource_id FROM authentication_holder_resource_id WHERE owner_id = %s",
    "SELECT response_type FROM authentication_holder_response_type WHERE owner_id = %s",
    "SELECT extension, val FROM authentication_holder_extension WHERE owner_id = %s",
    "SELECT param, val FROM authentication_holder_request_parameter WHERE owner_id = %s",
)
SELECT_USER = "SELECT name, id, authenticated, source_class FROM saved_user_auth WHERE id = %s"
SELECT_USER_AUTHORITIES = "SELECT authority FROM saved_user_auth_authority WHERE owner_id = %s"
SELECT_USER_INFO = "SELECT info_key, info_val FROM saved_user_auth_info WHERE owner_id = %s"

INSERT_HOLDER = (
    "INSERT INTO authentication_holder (approved, client_id, redirect_uri, user_auth_id)"
    " VALUES (%s, %s, NULL, %s)"
)
INSERT_AUTHORITY = "INSERT INTO authentication_holder_authority (owner_id, authority) VALUES (%s, %s)"
INSERT_RESOURCE = "INSERT INTO authentication_holder_resource_id (owner_id, resource_id) VALUES (%s, %s)"
INSERT_SCOPE = "INSERT INTO authentication_holder_scope (owner_id, scope) VALUES (%s, %s)"
INSERT_PARAMETER = (
    "INSERT INTO authentication_holder_request_parameter (owner_id, param, val) VALUES (%s, %s, %s)"
)
INSERT_USER = "INSERT INTO saved_user_auth (name, authenticated, source_class) VALUES (%s, 1, %s)"
INSERT_USER_AUTHORITY = "INSERT INTO saved_user_auth_authority (owner_id, authority) VALUES (%s, %s)"

SOURCE_CLASS = "org.springframework.security.authentication.UsernamePasswordAuthenticationToken"
"""What INDIGO writes for a user who gave a password; only its length matters here."""

LONGEST_VALUE = 2048
"""Width of the request parameter column; INDIGO fails on longer values, this service cuts them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An authentication holder as one load returns it.

    Attributes:
        id: primary key.
        client_id: public name of the client.
        scopes: what was authorised.
        username: the user, None for a client on its own.
    """

    id: int
    client_id: str
    scopes: tuple[str, ...]
    username: str | None


def load(db: Statements, identifier: int) -> Holder | None:
    """Load a holder: 7 SELECTs, and 3 for the user behind it."""
    rows = db.select(SELECT_HOLDER, identifier, columns=3)
    if not rows:
        return None
    user_auth_id = number(rows[0][1])
    scopes = first_column(db.select(SELECT_SCOPES, identifier))
    db.select(SELECT_AUTHORITIES, identifier, columns=0)
    for collection in SELECT_UNUSED:
        db.select(collection, identifier, columns=0)
    username = None
    if user_auth_id is not None:
        names = first_column(db.select(SELECT_USER, user_auth_id, columns=1))
        username = names[0] if names else None
        db.select(SELECT_USER_AUTHORITIES, user_auth_id, columns=0)
        db.select(SELECT_USER_INFO, user_auth_id, columns=0)
    return Holder(identifier, text(rows[0][2]), scopes, username)


def insert_user(db: Statements, username: str, authorities: Iterable[str]) -> int:
    """Save a user authentication: INSERT, LAST_INSERT_ID, 1 INSERT per authority."""
    db.execute(INSERT_USER, username, SOURCE_CLASS)
    identifier = last_insert_id(db)
    for authority in authorities:
        db.execute(INSERT_USER_AUTHORITY, identifier, authority)
    return identifier


def insert(
    db: Statements,
    client: Client,
    scopes: Iterable[str],
    parameters: Mapping[str, str],
    user_auth_id: int | None,
) -> int:
    """Save a holder: INSERT, LAST_INSERT_ID, then 1 INSERT per row of its collections."""
    db.execute(INSERT_HOLDER, True, client.client_id, user_auth_id)
    identifier = last_insert_id(db)
    for authority in client.authorities:
        db.execute(INSERT_AUTHORITY, identifier, authority)
    for resource in client.resource_ids:
        db.execute(INSERT_RESOURCE, identifier, resource)
    for scope in scopes:
        db.execute(INSERT_SCOPE, identifier, scope)
    for name, value in parameters.items():
        db.execute(INSERT_PARAMETER, identifier, name, value[:LONGEST_VALUE])
    return identifier


def last_insert_id(db: Statements) -> int:
    """The key of the row just inserted: 1 SELECT, because IDENTITY columns are read back separately."""
    return int(db.select(LAST_INSERT_ID)[0][0] or 0)

"""Clients: one load is 12 SELECTs (client_details and 11 collections)."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.iam.connection import Statements
from chaos.iam.units.decode import first_column, flag, number, text

DETAILS = (
    "SELECT id, client_id, client_secret, access_token_validity_seconds, refresh_token_validity_seconds,"
    " id_token_validity_seconds, reuse_refresh_tokens, clear_access_tokens_on_refresh, allow_introspection,"
    " device_code_validity_seconds, client_name, client_description, dynamically_registered,"
    " token_endpoint_auth_method, token_endpoint_auth_signing_alg, application_type, subject_type,"
    " sector_identifier_uri, logo_uri, policy_uri, client_uri, tos_uri, jwks_uri, jwks, initiate_login_uri,"
    " request_object_signing_alg, user_info_signed_response_alg, user_info_encrypted_response_alg,"
    " user_info_encrypted_response_enc, id_token_signed_response_alg, id_token_encrypted_response_alg,"
    " id_token_encrypted_response_enc, default_max_age, require_auth_time, software_id, software_version,"
    " software_statement, code_challenge_method, created_at FROM client_details WHERE "
)
DETAILS_READ = 9
"""Leading columns of DETAILS that are used; the rest is transferred unread, as an ORM would load it."""

BY_CLIENT_ID = DETAILS + "client_id = %s"
BY_ID = DETAILS + "id = %s"

SCOPES = "SELECT scope FROM client_scope WHERE owner_id = %s"
GRANT_TYPES = "SELECT grant_type FROM client_grant_type WHERE owner_id = %s"
AUTHORITIES = "SELECT authority FROM client_authority WHERE owner_id = %s"
RESOURCES = "SELECT resource_id FROM client_resource WHERE owner_id = %s"
UNUSED_COLLECTIONS = tuple(
    f"SELECT {column} FROM {table} WHERE owner_id = %s"
    for table, column in (
        ("client_response_type", "response_type"),
        ("client_redirect_uri", "redirect_uri"),
        ("client_claims_redirect_uri", "redirect_uri"),
        ("client_post_logout_redirect_uri", "post_logout_redirect_uri"),
        ("client_request_uri", "request_uri"),
        ("client_default_acr_value", "default_acr_value"),
        ("client_contact", "contact"),
    )
)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client, as one load returns it.

    Attributes:
        id: primary key, the parent key of its tokens.
        client_id: public name.
        secret: in plain text, as INDIGO stores it (facts/iam.md 1).
        access_token_seconds: lifetime; None is no expiry.
        refresh_token_seconds: lifetime; None or 0 is no expiry.
        id_token_seconds: lifetime of ID tokens.
        reuse_refresh_token: keep the refresh token on refresh instead of rotating it.
        clear_access_tokens: delete a refresh token's access tokens on refresh.
        allow_introspection: may ask /introspect.
        scopes: what it may ask for.
        grant_types: how it may ask.
        authorities: copied to every authentication holder.
        resource_ids: likewise.
    """

    id: int
    client_id: str
    secret: str
    access_token_seconds: int | None
    refresh_token_seconds: int | None
    id_token_seconds: int | None
    reuse_refresh_token: bool
    clear_access_tokens: bool
    allow_introspection: bool
    scopes: tuple[str, ...]
    grant_types: frozenset[str]
    authorities: tuple[str, ...]
    resource_ids: tuple[str, ...]


def load(db: Statements, client_id: str) -> Client | None:
    """Load a client by its public name: 12 SELECTs, or 1 when there is none."""
    return _load(db, BY_CLIENT_ID, client_id)


def load_by_id(db: Statements, identifier: int) -> Client | None:
    """Load a client through a token's foreign key: 12 SELECTs."""
    return _load(db, BY_ID, identifier)


def look_up(db: Statements, client_id: str) -> None:
    """Ask for a client that the persistence context already holds: 1 SELECT, no collections."""
    db.select(BY_CLIENT_ID, client_id, columns=1)


def _load(db: Statements, sql: str, key: str | int) -> Client | None:
    rows = db.select(sql, key, columns=DETAILS_READ)
    if not rows:
        return None
    row = rows[0]
    identifier = int(row[0] or 0)
    scopes = first_column(db.select(SCOPES, identifier))
    grant_types = first_column(db.select(GRANT_TYPES, identifier))
    authorities = first_column(db.select(AUTHORITIES, identifier))
    resources = first_column(db.select(RESOURCES, identifier))
    for collection in UNUSED_COLLECTIONS:
        db.select(collection, identifier, columns=0)
    return Client(
        id=identifier,
        client_id=text(row[1]),
        secret=text(row[2]),
        access_token_seconds=number(row[3]),
        refresh_token_seconds=number(row[4]),
        id_token_seconds=number(row[5]),
        reuse_refresh_token=flag(row[6]),
        clear_access_tokens=flag(row[7]),
        allow_introspection=flag(row[8]),
        scopes=scopes,
        grant_types=frozenset(grant_types),
        authorities=authorities,
        resource_ids=resources,
    )

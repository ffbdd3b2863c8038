"""The write transaction that makes an access token (INDIGO's createAccessToken)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from chaos.iam.connection import Statements
from chaos.iam.errors import OAuthError, invalid_client
from chaos.iam.flows.request import FormRequest
from chaos.iam.service import Service
from chaos.iam.tokens import token_id
from chaos.iam.units import access_token as access_tokens
from chaos.iam.units import account as accounts
from chaos.iam.units import client as clients
from chaos.iam.units import holder as holders
from chaos.iam.units import refresh_token as refresh_tokens
from chaos.iam.units import scope as scope_unit
from chaos.iam.units.account import Account
from chaos.iam.units.client import Client

OFFLINE = "offline_access"
OPENID = "openid"


def issue(
    service: Service, form: FormRequest, scopes: tuple[str, ...], user: Account | None
) -> dict[str, Any]:
    """Create an access token, and with `offline_access` a refresh token, in one transaction.

    The token is signed inside the open transaction, as INDIGO does.

    Raises:
        OAuthError: the client is gone, or policy denies the scopes.
        DatabaseError: the transaction was lost; nothing was written.
    """
    with service.database.transaction() as db:
        client = clients.load(db, form.client_id)
        if client is None:
            raise invalid_client("unknown client")
        scope_unit.resolve(db, scopes)
        if user is not None:
            filter_scopes(db, user)
        user_auth_id = None if user is None else holders.insert_user(db, user.username, user.authorities)
        holder_id = holders.insert(db, client, scopes, form.stored(), user_auth_id)
        refresh_value, refresh_id = None, None
        if user is not None and OFFLINE in scopes and "refresh_token" in client.grant_types:
            refresh_value, refresh_id = new_refresh_token(service, db, client, holder_id)
        username = None if user is None else user.username
        return new_access_token(
            service, db, client, form, scopes, holder_id, username, refresh_id, refresh_value
        )


def filter_scopes(db: Statements, user: Account) -> None:
    """Apply the scope policies: account load and default policies, 11 SELECTs.

    Raises:
        OAuthError: a default policy denies.
    """
    accounts.load(db, user.username)
    if not scope_unit.default_policy_permits(db):
        raise OAuthError("invalid_scope", "denied by scope policy")


def new_refresh_token(service: Service, db: Statements, client: Client, holder_id: int) -> tuple[str, int]:
    """Create and save a refresh token; return its value and key."""
    lifetime = client.refresh_token_seconds
    expires = int(time.time()) + lifetime if lifetime else None
    claims: dict[str, Any] = {"jti": token_id()}
    if expires is not None:
        claims["exp"] = expires
    value = service.signer.unsigned(claims)
    return value, refresh_tokens.insert(db, value, expires, holder_id, client)


def new_access_token(
    service: Service,
    db: Statements,
    client: Client,
    form: FormRequest,
    scopes: Iterable[str],
    holder_id: int,
    username: str | None,
    refresh_id: int | None,
    refresh_value: str | None,
) -> dict[str, Any]:
    """Enhance, sign and save an access token; return the token response.

    The enhancer asks for the client, the account (by the client's name when there is no user, a
    miss) and the client again; an ID token asks for three collections more.
    """
    clients.look_up(db, client.client_id)
    account = accounts.load(db, username or client.client_id)
    clients.look_up(db, client.client_id)
    if username is not None and (account is None or not account.active):
        raise OAuthError("invalid_grant", "the user is unknown or suspended")
    scopes = tuple(scopes)
    now = int(time.time())
    expires = None if client.access_token_seconds is None else now + client.access_token_seconds
    subject = account.uuid if username is not None and account is not None else client.client_id
    claims: dict[str, Any] = {
        "sub": subject,
        "iss": service.issuer,
        "iat": now,
        "jti": token_id(),
        "client_id": client.client_id,
        "scope": " ".join(scopes),
    }
    if expires is not None:
        claims["exp"] = expires
    if "audience" in form.parameters:
        claims["aud"] = form.parameters["audience"]
    if "request_id" in form.parameters:
        # Lets an audit find the outcome of a request whose answer never arrived, for refreshes
        # too, which write no authentication holder.
        claims["request_id"] = form.parameters["request_id"]
    response: dict[str, Any] = {"token_type": "Bearer", "scope": " ".join(scopes)}
    if username is not None and account is not None and OPENID in scopes:
        accounts.id_token_claims(db, account)
        response["id_token"] = service.signer.sign(
            {
                "sub": subject,
                "iss": service.issuer,
                "aud": client.client_id,
                "iat": now,
                "exp": now + (client.id_token_seconds or 600),
                "jti": token_id(),
                "preferred_username": account.username,
            }
        )
    value = service.signer.sign(claims)
    access_tokens.insert(db, value, expires, scopes, client, holder_id, refresh_id)
    response["access_token"] = value
    if expires is not None:
        response["expires_in"] = expires - now
    if refresh_value is not None:
        response["refresh_token"] = refresh_value
    return response

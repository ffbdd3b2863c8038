"""Grant `refresh_token`. 4 client loads, token, account and AUP outside, then one write transaction.

The client's row decides what happens to the old tokens: `clear_access_tokens_on_refresh` deletes the
refresh token's access tokens in bulk (with the locks of units.access_token.clear), and without
`reuse_refresh_tokens` a new refresh token replaces the old one.
"""

from __future__ import annotations

import time
from typing import Any

from chaos.iam.errors import OAuthError, invalid_token
from chaos.iam.flows import users
from chaos.iam.flows.issue import new_access_token, new_refresh_token
from chaos.iam.flows.request import FormRequest
from chaos.iam.service import Service
from chaos.iam.tokens import is_jwt
from chaos.iam.units import access_token as access_tokens
from chaos.iam.units import client as clients
from chaos.iam.units import refresh_token as refresh_tokens
from chaos.iam.units.client import Client
from chaos.iam.units.refresh_token import RefreshToken


def grant(service: Service, form: FormRequest, client: Client, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Issue a new access token for a refresh token.

    Raises:
        OAuthError: `invalid_grant` for a malformed, expired or foreign token, `invalid_scope` for more
            than was granted, 401 `invalid_token` for one this database node does not know (it may
            not have arrived yet: facts/iam.md 2.2).
    """
    value = form.require("refresh_token")
    token = _find(service, form, value)
    granted = token.holder.scopes
    if not set(scopes) <= set(granted):
        raise OAuthError("invalid_scope", "more scopes asked for than were granted")
    if token.holder.username is not None:
        account = users.ensure_active(users.load(service, token.holder.username))
        users.ensure_aup_signed(service, account)
    with service.database.transaction() as db:
        fresh = refresh_tokens.find(db, value)
        if fresh is None:  # rotated or revoked a moment ago
            raise invalid_token("unknown refresh token")
        if client.clear_access_tokens:
            access_tokens.clear(db, fresh.id)
        clients.load(db, form.client_id)
        refresh_value, refresh_id = value, fresh.id
        if not client.reuse_refresh_token:
            if client.clear_access_tokens:
                refresh_tokens.reread(db, fresh.id)
            refresh_value, refresh_id = new_refresh_token(service, db, client, fresh.holder.id)
        response = new_access_token(
            service,
            db,
            client,
            form,
            scopes or granted,
            fresh.holder.id,
            fresh.holder.username,
            refresh_id,
            refresh_value,
        )
        if not client.reuse_refresh_token:
            refresh_tokens.delete(db, fresh.id)
        return response


def _find(service: Service, form: FormRequest, value: str) -> RefreshToken:
    if not is_jwt(value):
        raise OAuthError("invalid_grant", "malformed refresh token")
    with service.database.autocommit() as db:
        token = refresh_tokens.find(db, value)
    if token is None:
        raise invalid_token("unknown refresh token")
    if token.client.client_id != form.client_id:
        raise OAuthError("invalid_grant", "the refresh token was issued to another client")
    if token.expires is not None and token.expires <= time.time():
        with service.database.transaction() as db:
            refresh_tokens.delete(db, token.id)
        raise OAuthError("invalid_grant", "the refresh token has expired")
    return token

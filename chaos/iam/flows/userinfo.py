"""GET or POST /userinfo (OpenID Connect core 5.3)."""

from __future__ import annotations

from typing import Any

from werkzeug.wrappers import Request

from chaos.iam.errors import OAuthError, invalid_token
from chaos.iam.flows import users
from chaos.iam.flows.request import form_parameters
from chaos.iam.flows.tokens_at_rest import find_live
from chaos.iam.service import Service


def userinfo(service: Service, request: Request) -> dict[str, Any]:
    """Claims about the user of a bearer token.

    The token is read three times and the account twice, all autocommitted; two client loads. A later
    read that misses what the first one saw (a proxy sent it to a staler node) is a server error.

    Raises:
        OAuthError: 401 `invalid_token`; 403 `insufficient_scope` without `openid` or without a user.
    """
    value = _bearer(request)
    token = find_live(service, value)
    if token is None:
        raise invalid_token("unknown or expired token")
    username = token.holder.username
    if username is None or "openid" not in token.scopes:
        challenge = 'Bearer realm="iam", error="insufficient_scope", scope="openid"'
        raise OAuthError("insufficient_scope", "a user's token with scope openid is needed", 403, challenge)
    users.load_with_groups(service, username)
    service.client(token.client.client_id)
    service.client(token.client.client_id)
    loaded = users.load_with_groups(service, username)
    for _ in range(2):  # scope resolver
        if find_live(service, value) is None:
            raise OAuthError("server_error", "the token was lost between two reads", 500)
    if loaded is None or not loaded[0].active:
        raise invalid_token("the user is unknown or suspended")
    account, groups = loaded
    claims: dict[str, Any] = {"sub": account.uuid}
    if "profile" in token.scopes:
        claims.update(
            name=f"{account.given_name} {account.family_name}",
            given_name=account.given_name,
            family_name=account.family_name,
            preferred_username=account.username,
            groups=list(groups),
        )
    if "email" in token.scopes:
        claims.update(email=account.email, email_verified=account.email_verified)
    return claims


def _bearer(request: Request) -> str:
    header = request.headers.get("Authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    value = form_parameters(request).get("access_token") if request.method == "POST" else None
    if not value:
        raise OAuthError("invalid_request", "no bearer token", 401, 'Bearer realm="iam"')
    return value

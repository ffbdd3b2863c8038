"""POST /introspect (RFC 7662)."""

from __future__ import annotations

from typing import Any

from werkzeug.wrappers import Request

from chaos.iam.errors import OAuthError
from chaos.iam.flows import users
from chaos.iam.flows.request import authenticate, reload
from chaos.iam.flows.tokens_at_rest import find_live
from chaos.iam.service import Service
from chaos.iam.tokens import is_jwt
from chaos.iam.units import refresh_token as refresh_tokens
from chaos.iam.units import scope as scope_unit
from chaos.iam.units.access_token import AccessToken
from chaos.iam.units.refresh_token import RefreshToken

INACTIVE: dict[str, Any] = {"active": False}


def introspect(service: Service, request: Request) -> dict[str, Any]:
    """Say whether a token is alive, and whose it is.

    4 client loads, the token, its user with groups, and one read of all system scopes per scope
    of the caller. A token this node has not received yet is simply inactive (facts/iam.md 2.2).

    Raises:
        OAuthError: bad client, missing token, or a client that may not introspect (403).
    """
    form, client = authenticate(service, request)
    users.load(service, client.client_id)  # an interceptor takes the client's name for a user's: 1 SELECT
    reload(service, form)
    value = form.require("token")
    if not client.allow_introspection:
        raise OAuthError("access_denied", "this client may not introspect", 403)
    token: AccessToken | RefreshToken | None = find_live(service, value)
    if token is None and is_jwt(value):
        with service.database.autocommit() as db:
            token = refresh_tokens.find(db, value)
    if token is None:
        return INACTIVE
    reload(service, form)
    loaded = users.load_with_groups(service, token.holder.username or token.client.client_id)
    caller = reload(service, form)
    for _ in caller.scopes:
        with service.database.transaction() as db:
            scope_unit.load_all(db)
    scopes = token.scopes if isinstance(token, AccessToken) else token.holder.scopes
    answer: dict[str, Any] = {
        "active": True,
        "scope": " ".join(scopes),
        "client_id": token.client.client_id,
        "token_type": "Bearer",
        "iss": service.issuer,
    }
    if token.expires is not None:
        answer["exp"] = token.expires
    if token.holder.username is None:
        answer["sub"] = token.client.client_id
    elif loaded is not None:
        account, groups = loaded
        answer.update(sub=account.uuid, username=account.username, groups=list(groups))
    else:
        return INACTIVE
    return answer

"""POST /revoke (RFC 7009)."""

from __future__ import annotations

from werkzeug.wrappers import Request

from chaos.iam.errors import OAuthError
from chaos.iam.flows import users
from chaos.iam.flows.request import authenticate, reload
from chaos.iam.flows.tokens_at_rest import delete
from chaos.iam.service import Service
from chaos.iam.tokens import is_jwt
from chaos.iam.units import access_token as access_tokens
from chaos.iam.units import refresh_token as refresh_tokens


def revoke(service: Service, request: Request) -> None:
    """Delete an access or refresh token of this client.

    An unknown token is answered with success, as the RFC wants; on a node that has not received
    the token yet, nothing is revoked (facts/iam.md 2.2).

    Raises:
        OAuthError: bad client, missing token, or somebody else's token (403).
    """
    form, client = authenticate(service, request)
    users.load(service, client.client_id)  # an interceptor takes the client's name for a user's: 1 SELECT
    reload(service, form)
    value = form.require("token")
    with service.database.autocommit() as db:
        access = access_tokens.find(db, value)
        refresh = refresh_tokens.find(db, value) if access is None and is_jwt(value) else None
    found = access or refresh
    if found is None:
        return
    if found.client.client_id != form.client_id:
        raise OAuthError("unauthorized_client", "the token was issued to another client", 403)
    if access is not None:
        delete(service, value)
        return
    with service.database.transaction() as db:
        again = refresh_tokens.find(db, value)
        if again is not None:
            refresh_tokens.delete(db, again.id)

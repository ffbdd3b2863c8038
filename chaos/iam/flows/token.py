"""POST /token: what all grants have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.wrappers import Request

from chaos.iam.errors import OAuthError
from chaos.iam.flows import client_credentials, password, refresh, token_exchange
from chaos.iam.flows.request import FormRequest, authenticate, reload
from chaos.iam.service import Service
from chaos.iam.units.client import Client

Grant = Callable[[Service, FormRequest, Client, tuple[str, ...]], dict[str, Any]]

GRANTS: Mapping[str, Grant] = {
    "client_credentials": client_credentials.grant,
    "password": password.grant,
    "refresh_token": refresh.grant,
    "urn:ietf:params:oauth:grant-type:token-exchange": token_exchange.grant,
}


def token(service: Service, request: Request) -> dict[str, Any]:
    """Answer a token request.

    Client loads so far: secret check, endpoint, request factory (only without `scope`), granter.

    Raises:
        OAuthError: with the code of RFC 6749 5.2.
    """
    form, _ = authenticate(service, request)
    client = reload(service, form)
    grant_type = form.require("grant_type")
    grant = GRANTS.get(grant_type)
    if grant is None:
        raise OAuthError("unsupported_grant_type", f"unsupported grant type: {grant_type}")
    scopes = tuple(dict.fromkeys(form.parameters.get("scope", "").split()))
    if not scopes:
        client = reload(service, form)
    unknown = set(scopes) - service.allowed_scopes(client)
    if unknown:
        raise OAuthError("invalid_scope", f"not allowed for this client: {' '.join(sorted(unknown))}")
    if grant_type not in client.grant_types:
        raise OAuthError("unauthorized_client", f"grant type not allowed for this client: {grant_type}")
    client = reload(service, form)
    return grant(service, form, client, scopes)

"""Grant token exchange (RFC 8693): a client trades a user's token for one of its own.

4 client loads, subject token, account and AUP outside, then the write transaction of a user token.
The policy decision (everybody may exchange) is held in memory, as INDIGO holds its policies.
"""

from __future__ import annotations

from typing import Any

from chaos.iam.errors import OAuthError, invalid_token
from chaos.iam.flows import users
from chaos.iam.flows.issue import issue
from chaos.iam.flows.request import FormRequest, reload
from chaos.iam.flows.tokens_at_rest import find_live
from chaos.iam.service import Service
from chaos.iam.units.client import Client

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


def grant(service: Service, form: FormRequest, client: Client, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Issue a token to this client for the user of the subject token.

    INDIGO requires `scope`, knows no actor token, and does not insist on `subject_token_type`.

    Raises:
        OAuthError: `invalid_request` for what is missing or unsupported; 401 `invalid_token` for a subject
            token that is unknown, expired, or not here yet.
    """
    subject_value = form.require("subject_token")
    if not scopes:
        raise OAuthError("invalid_request", "missing parameter: scope")
    if "actor_token" in form.parameters:
        raise OAuthError("invalid_request", "actor_token is not supported")
    for name in ("subject_token_type", "requested_token_type"):
        if form.parameters.get(name, ACCESS_TOKEN) not in (ACCESS_TOKEN, JWT):
            raise OAuthError("invalid_request", f"{name} is not supported; use {ACCESS_TOKEN}")
    subject = find_live(service, subject_value)
    if subject is None:
        raise invalid_token("unknown or expired subject token")
    if subject.holder.username is None:
        raise OAuthError("invalid_request", "the subject token has no user behind it")
    account = users.ensure_active(users.load(service, subject.holder.username))
    users.ensure_aup_signed(service, account)
    reload(service, form)  # profile resolver
    response = issue(service, form, scopes, account)
    return {**response, "issued_token_type": ACCESS_TOKEN}

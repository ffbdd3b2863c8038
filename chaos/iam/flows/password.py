"""Grant `password`: a user's name and password.

4 client loads, 2 account loads with BCrypt between them, AUP, one write transaction.
"""

from __future__ import annotations

from typing import Any

from chaos.iam.errors import OAuthError
from chaos.iam.flows import users
from chaos.iam.flows.issue import issue
from chaos.iam.flows.request import FormRequest, reload
from chaos.iam.service import Service
from chaos.iam.units.client import Client


def grant(service: Service, form: FormRequest, client: Client, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Issue a token to the user, with a refresh token for `offline_access`.

    Raises:
        OAuthError: `invalid_grant` for wrong credentials or an unsigned AUP.
    """
    account = users.check_password(service, form.require("username"), form.require("password"))
    if account is None:
        raise OAuthError("invalid_grant", "bad credentials")
    users.ensure_aup_signed(service, account)
    reload(service, form)  # profile resolver
    return issue(service, form, scopes or client.scopes, account)

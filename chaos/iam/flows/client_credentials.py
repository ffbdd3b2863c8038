"""Grant `client_credentials`: a client acts for itself. 4 client loads and one write transaction."""

from __future__ import annotations

from typing import Any

from chaos.iam.flows.issue import issue
from chaos.iam.flows.request import FormRequest, reload
from chaos.iam.service import Service
from chaos.iam.units.client import Client


def grant(service: Service, form: FormRequest, client: Client, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Issue a token to the client; without `scope` it gets all its scopes."""
    reload(service, form)  # profile resolver
    return issue(service, form, scopes or client.scopes, user=None)

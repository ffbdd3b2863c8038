"""A form request: its parameters and the client that sent it."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from urllib.parse import unquote_plus

from werkzeug.wrappers import Request

from chaos.iam.errors import OAuthError, invalid_client
from chaos.iam.service import Service
from chaos.iam.units.client import Client

NOT_STORED = frozenset({"client_secret", "password"})
"""Parameters that must not reach the authentication holder."""


@dataclass(frozen=True, slots=True)
class FormRequest:
    """Parameters of one request by an authenticated client."""

    client_id: str
    parameters: dict[str, str]

    def require(self, name: str) -> str:
        """A parameter that must be there.

        Raises:
            OAuthError: `invalid_request` when it is missing or empty.
        """
        value = self.parameters.get(name)
        if not value:
            raise OAuthError("invalid_request", f"missing parameter: {name}")
        return value

    def stored(self) -> dict[str, str]:
        """What the authentication holder keeps of the request."""
        return {name: value for name, value in self.parameters.items() if name not in NOT_STORED}


def is_storable(value: str) -> bool:
    """Whether the latin1 tables can hold ``value``; MariaDB would refuse even to compare it."""
    try:
        value.encode("cp1252")  # what MariaDB calls latin1
    except UnicodeEncodeError:
        return False
    return True


def form_parameters(request: Request) -> dict[str, str]:
    """Body parameters, each at most once (RFC 6749 3.2).

    Raises:
        OAuthError: `invalid_request` when one is repeated, or when the latin1 tables cannot hold it.
    """
    parameters: dict[str, str] = {}
    for name, values in request.form.lists():
        if len(values) > 1:
            raise OAuthError("invalid_request", f"parameter given twice: {name}")
        if not (is_storable(name) and is_storable(values[0])):
            raise OAuthError("invalid_request", f"character outside of latin1 in parameter: {name}")
        parameters[name] = values[0]
    return parameters


def credentials(request: Request, parameters: dict[str, str]) -> tuple[str, str]:
    """Client id and secret from the Authorization header or the body (RFC 6749 2.3.1).

    Raises:
        OAuthError: `invalid_client` when there are none, `invalid_request` when there are two.
    """
    header = request.headers.get("Authorization", "")
    if header[:6].lower() == "basic ":
        if "client_secret" in parameters:
            raise OAuthError("invalid_request", "client authenticated twice: by header and in the body")
        try:
            user, separator, password = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise invalid_client("malformed Authorization header") from None
        if not separator or not is_storable(user):
            raise invalid_client("malformed Authorization header")
        return unquote_plus(user), unquote_plus(password)
    if "client_id" in parameters and "client_secret" in parameters:
        return parameters["client_id"], parameters["client_secret"]
    raise invalid_client("client authentication is required")


def authenticate(service: Service, request: Request) -> tuple[FormRequest, Client]:
    """Check the client's secret against the database: one client load.

    Raises:
        OAuthError: `invalid_client` for an unknown client or a wrong secret.
    """
    parameters = form_parameters(request)
    client_id, secret = credentials(request, parameters)
    client = service.client(client_id)
    if client is None or not hmac.compare_digest(client.secret.encode(), secret.encode()):
        raise invalid_client("unknown client or wrong secret")
    return FormRequest(client_id, parameters), client


def reload(service: Service, request: FormRequest) -> Client:
    """Load the client once more, as every layer of INDIGO IAM does.

    Raises:
        OAuthError: `invalid_client` when it was deleted since (or this node has not seen it yet).
    """
    client = service.client(request.client_id)
    if client is None:
        raise invalid_client("unknown client")
    return client

"""The HTTP requests of the flows, as users and probes send them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import urlencode

from chaos.load.plan import Credentials
from experiments.workload import Request

EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"


@dataclass
class Tokens:
    """What an iteration has been given so far."""

    access: str = ""
    refresh: str = ""

    def update(self, response: dict[str, object]) -> None:
        """Keep the tokens of a successful response; a missing refresh token leaves the old one valid."""
        self.access = str(response.get("access_token", self.access))
        self.refresh = str(response.get("refresh_token", self.refresh))


def form_of(
    request: Request, credentials: Credentials, account: str, tokens: Tokens, request_id: str
) -> dict[str, str]:
    """The form of a token request (RFC 6749 sections 4.3, 4.4 and 6; RFC 8693 section 2.1)."""
    match request:
        case "access-token":
            form = {"grant_type": "client_credentials"}
        case "password":
            form = {"grant_type": "password", "username": account, "password": credentials.password}
        case "refresh":
            form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
        case "token-exchange":
            form = {
                "grant_type": EXCHANGE_GRANT,
                "subject_token": tokens.access,
                "subject_token_type": ACCESS_TOKEN_TYPE,
            }
        case _:
            raise ValueError(f"{request!r} is not a token request")
    scope = credentials.scopes.get(request)
    return form | ({"scope": scope} if scope else {}) | {"request_id": request_id}


def authorization(credentials: Credentials) -> str:
    """The client's HTTP Basic credentials."""
    return "Basic " + b64encode(f"{credentials.client_id}:{credentials.client_secret}".encode()).decode()


def message(
    request: Request, host: str, credentials: Credentials, account: str = "", request_id: str = ""
) -> bytes:
    """A whole HTTP/1.1 request as bytes, for the probes: a new connection each, closed afterwards."""
    common = f"Host: {host}\r\nConnection: close\r\nUser-Agent: faultline-probe\r\n"
    if request == "health":
        return f"GET /actuator/health HTTP/1.1\r\n{common}\r\n".encode()
    body = urlencode(form_of(request, credentials, account, Tokens(), request_id)).encode()
    head = (
        f"POST /token HTTP/1.1\r\n{common}Authorization: {authorization(credentials)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

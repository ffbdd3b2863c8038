"""The WSGI application: routes, answers, and what every error looks like from outside."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import bcrypt
from werkzeug.wrappers import Request, Response

from chaos.iam.config import Config
from chaos.iam.connection import Connection, DatabaseAddress
from chaos.iam.database import Database
from chaos.iam.errors import DatabaseError, OAuthError
from chaos.iam.flows.discovery import metadata, scopes_supported
from chaos.iam.flows.introspect import introspect
from chaos.iam.flows.login import login
from chaos.iam.flows.request import form_parameters
from chaos.iam.flows.revoke import revoke
from chaos.iam.flows.token import token
from chaos.iam.flows.userinfo import userinfo
from chaos.iam.pool import Pool
from chaos.iam.service import Service
from chaos.iam.sessions import RedisSessions, SessionStoreError
from chaos.iam.tokens import Signer, load_or_create_key

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COOKIE = "SESSION"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
JWKS_CACHE = {"Cache-Control": "public, max-age=21600"}
"""INDIGO's JWKS cache-control (facts/iam.md section 4)."""

WELL_KNOWN_SECONDS = 300.0
"""INDIGO evicts its cached discovery document every 300 s."""

LONGEST_BODY = 1 << 20

Handler = Callable[[Request], Response]


def answer(body: dict[str, Any], status: int = 200, headers: dict[str, str] = NO_STORE) -> Response:
    """A JSON response."""
    return Response(json.dumps(body), status, headers, content_type="application/json")


class Application:
    """One replica behind WSGI.

    Attributes:
        service: what its requests share.
    """

    def __init__(self, service: Service, site: str, instance: str) -> None:
        self.service = service
        self._instance = instance
        self._identity = {"X-Iam-Site": site, "X-Iam-Instance": instance}
        self._well_known: tuple[float, dict[str, Any]] | None = None
        get, post = frozenset({"GET", "HEAD"}), frozenset({"POST"})
        self._routes: dict[str, tuple[frozenset[str], Handler]] = {
            "/token": (post, lambda request: answer(token(service, request))),
            "/introspect": (post, lambda request: answer(introspect(service, request))),
            "/userinfo": (get | post, lambda request: answer(userinfo(service, request))),
            "/revoke": (post, self._revoke),
            "/jwk": (get, lambda request: answer(service.signer.jwks, headers=JWKS_CACHE)),
            "/.well-known/openid-configuration": (get, self._discovery),
            "/.well-known/oauth-authorization-server": (get, self._discovery),
            "/actuator/health": (get, self._health),
            "/login": (post, self._login),
            "/session": (get, self._session),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        request.max_content_length = LONGEST_BODY
        response = self._respond(request)
        response.headers.update(self._identity)
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        path = request.path
        route = self._routes.get(path) or self._routes.get(path.rstrip("/"))
        if route is None:
            return answer({"error": "not_found", "error_description": path}, 404)
        methods, handler = route
        if request.method not in methods:
            allow = {"Allow": ", ".join(sorted(methods))}
            return answer({"error": "method_not_allowed", "error_description": request.method}, 405, allow)
        try:
            self._touch_session(request)
            return handler(request)
        except OAuthError as error:
            return self._refuse(error)
        except DatabaseError as error:
            # No retry and no special status: INDIGO's token endpoint answers 500 to whatever the
            # database throws at it. The description says which case it was.
            self._log("database", path, error.kind, error)
            return self._fail(f"{error.kind}: {error}")
        except SessionStoreError as error:
            self._log("sessions", path, "unavailable", error)
            return self._fail(f"sessions: {error}")
        except Exception as error:
            self._log("internal", path, type(error).__name__, error)
            return self._fail("internal error")

    def _touch_session(self, request: Request) -> str | None:
        """Read the session of a request that carries one, wherever it goes: one HGETALL."""
        session_id = request.cookies.get(COOKIE)
        if not session_id or self.service.sessions is None:
            return None
        return self.service.sessions.read(session_id)

    def _revoke(self, request: Request) -> Response:
        revoke(self.service, request)
        return Response(status=200, headers=NO_STORE)

    def _discovery(self, request: Request) -> Response:
        cached = self._well_known
        if cached is None or time.monotonic() - cached[0] > WELL_KNOWN_SECONDS:
            cached = time.monotonic(), metadata(self.service, scopes_supported(self.service))
            self._well_known = cached
        return answer(cached[1], headers={})

    def _health(self, request: Request) -> Response:
        try:
            with self.service.database.autocommit() as db:
                db.select("SELECT 1")
        except DatabaseError as error:
            self._log("health", request.path, error.kind, error)
            return answer({"status": "DOWN"}, 503)
        return answer({"status": "UP"})

    def _login(self, request: Request) -> Response:
        form = form_parameters(request)
        session_id = login(self.service, form.get("username", ""), form.get("password", ""))
        response = Response(status=302, headers={**NO_STORE, "Location": "/session"})
        response.set_cookie(COOKIE, session_id, httponly=True, samesite="Lax")
        return response

    def _session(self, request: Request) -> Response:
        username = self._touch_session(request)
        if username is None:
            raise OAuthError("access_denied", "no session", 401, 'FormBased realm="iam"')
        return answer({"username": username})

    def _refuse(self, error: OAuthError) -> Response:
        headers = dict(NO_STORE)
        if error.challenge is not None:
            headers["WWW-Authenticate"] = error.challenge
        return answer({"error": error.code, "error_description": error.description}, error.status, headers)

    def _fail(self, description: str) -> Response:
        return answer({"error": "server_error", "error_description": description}, 500)

    def _log(self, what: str, path: str, kind: str, error: Exception) -> None:
        line = {
            "time": round(time.time(), 3),
            "level": "error",
            "instance": self._instance,
            "where": what,
            "path": path,
            "kind": kind,
            "error": f"{type(error).__name__}: {error}",
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def create(config: Config) -> Application:
    """Build a replica. Does not wait for the database, but starts connecting to it."""
    address = DatabaseAddress(
        host=config.database.host,
        port=config.database.port,
        user=config.database.user,
        password=config.database.password,
        name=config.database.name,
        connect_timeout=config.pool_timeout,
    )
    pool = Pool(
        lambda: Connection(address),
        size=config.pool,
        minimum_idle=min(config.minimum_idle, config.pool),
        timeout=config.pool_timeout,
    )
    pool.fill()
    service = Service(
        database=Database(pool),
        signer=Signer(load_or_create_key(config.key_file)),
        issuer=config.issuer.rstrip("/") + "/",
        sessions=RedisSessions(config.redis) if config.redis else None,
        decoy_hash=bcrypt.hashpw(b"nobody", bcrypt.gensalt(config.bcrypt_cost)),
    )
    return Application(service, config.site, config.instance)

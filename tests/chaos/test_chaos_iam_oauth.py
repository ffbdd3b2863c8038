"""The service seen from outside: a library, a command-line client, and the error codes of the RFCs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.jwk import KeySet

from chaos.iam.sandbox import DatabaseSandbox, ReplicaSandbox, database, replica, stop
from chaos.iam.schema import PASSWORD, TOKEN_EXCHANGE, Seed

pytestmark = pytest.mark.lab

USER_SCOPES = "openid profile email offline_access"


@dataclass
class Server:
    """A replica, its database and a few ways to talk to it."""

    db: DatabaseSandbox
    iam: ReplicaSandbox

    def url(self, path: str) -> str:
        """Address of an endpoint."""
        return self.iam.url + path

    def session(self, client: str = "loadtest", method: str = "client_secret_basic") -> Any:
        """Authlib's client."""
        return OAuth2Session(client, f"{client}-secret", token_endpoint_auth_method=method)

    def post(self, path: str, client: str = "loadtest", **form: str) -> requests.Response:
        """Send a plain form."""
        return requests.post(self.url(path), data=form, auth=(client, f"{client}-secret"), timeout=30)

    def user_tokens(self, client: str = "loadtest") -> dict[str, Any]:
        """A user's tokens by the password grant."""
        answer = self.post(
            "token", client, grant_type="password", username="test1", password=PASSWORD, scope=USER_SCOPES
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def active(self, token: str, client: str = "loadtest") -> bool:
        """What introspection says."""
        return bool(self.post("introspect", client, token=token).json()["active"])

    def claims(self, token: str) -> dict[str, Any]:
        """Claims of a token whose signature the published keys verify."""
        keys = KeySet.import_key_set(requests.get(self.url("jwk"), timeout=30).json())
        return dict(jwt.decode(token, keys, algorithms=["RS256"]).claims)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One replica on one database."""
    with database(Seed(users=3, bcrypt_cost=4)) as db, replica(db.directory, db.port, bcrypt_cost=4) as iam:
        yield Server(db, iam)


@pytest.fixture(autouse=True)
def _plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authlib refuses plain HTTP unless told that this is a laboratory."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


class TestLibrary:
    """Authlib obtains, refreshes, exchanges, introspects and revokes."""

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_client_credentials(self, server: Server, method: str) -> None:
        """A client gets a signed token for itself with either way of authentication."""
        token = server.session(method=method).fetch_token(
            server.url("token"), grant_type="client_credentials", scope="scim:read scim:write"
        )
        claims = server.claims(token["access_token"])
        assert (claims["sub"], claims["scope"], claims["iss"]) == (
            "loadtest",
            "scim:read scim:write",
            server.iam.url,
        )
        assert claims["exp"] - claims["iat"] == token["expires_in"] == 3600
        assert "refresh_token" not in token

    def test_life_of_a_user_token(self, server: Server) -> None:
        """Password, introspection, userinfo, exchange, refresh, revocation: each sees the one before."""
        session = server.session()
        token = session.fetch_token(
            server.url("token"), username="test1", password=PASSWORD, scope=USER_SCOPES
        )
        first, refresh_token = token["access_token"], token["refresh_token"]
        identity = server.claims(token["id_token"])
        assert (identity["aud"], identity["preferred_username"]) == ("loadtest", "test1")
        assert identity["sub"] == server.claims(first)["sub"]

        seen = session.introspect_token(server.url("introspect"), token=first).json()
        assert (seen["active"], seen["username"], seen["scope"]) == (True, "test1", USER_SCOPES)
        info = session.get(server.url("userinfo")).json()
        assert (info["sub"], info["email"]) == (identity["sub"], "test1@faultline.test")

        exchanged = server.session("exchange").fetch_token(
            server.url("token"), grant_type=TOKEN_EXCHANGE, subject_token=first, scope="profile email"
        )
        assert exchanged["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        assert server.claims(exchanged["access_token"])["client_id"] == "exchange"
        assert server.active(exchanged["access_token"])

        second = session.refresh_token(server.url("token"), refresh_token=refresh_token)
        assert second["access_token"] != first
        assert session.revoke_token(server.url("revoke"), token=second["access_token"]).status_code == 200
        assert not server.active(second["access_token"])
        assert session.revoke_token(server.url("revoke"), token=refresh_token).status_code == 200
        assert (
            server.post("token", grant_type="refresh_token", refresh_token=refresh_token).status_code == 401
        )

    def test_refresh_token_introspects_too(self, server: Server) -> None:
        """RFC 7662 allows any kind of token."""
        tokens = server.user_tokens()
        assert server.active(tokens["refresh_token"])


class TestRefreshPolicy:
    """The client's row decides what a refresh does to the old tokens."""

    @pytest.mark.parametrize(
        ("client", "clears", "rotates"),
        [
            ("loadtest", True, False),
            ("keep", False, False),
            ("rotate", False, True),
            ("rotate-clear", True, True),
        ],
    )
    def test_policies(self, server: Server, client: str, clears: bool, rotates: bool) -> None:
        """Clearing kills the old access token; rotating replaces the refresh token and cascades."""
        old = server.user_tokens(client)
        answer = server.post("token", client, grant_type="refresh_token", refresh_token=old["refresh_token"])
        new = answer.json()
        assert answer.status_code == 200, answer.text
        # A deleted refresh token takes its access tokens along, so rotation also ends the old one.
        assert server.active(old["access_token"], client) is not (clears or rotates)
        assert server.active(new["access_token"], client)
        assert (new["refresh_token"] != old["refresh_token"]) is rotates
        again = server.post("token", client, grant_type="refresh_token", refresh_token=old["refresh_token"])
        assert again.status_code == (401 if rotates else 200)

    def test_scope_may_shrink_but_not_grow(self, server: Server) -> None:
        """RFC 6749 section 6."""
        token = server.user_tokens("keep")["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": token}
        assert server.post("token", "keep", **form, scope="openid").json()["scope"] == "openid"
        refused = server.post("token", "keep", **form, scope="openid phone")
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


REFUSALS: list[tuple[str, str, dict[str, str], int, str]] = [
    ("no grant type", "loadtest", {}, 400, "invalid_request"),
    ("unknown grant type", "loadtest", {"grant_type": "magic"}, 400, "unsupported_grant_type"),
    ("grant not allowed", "plain", {"grant_type": "password"}, 400, "unauthorized_client"),
    (
        "unknown scope",
        "loadtest",
        {"grant_type": "client_credentials", "scope": "root"},
        400,
        "invalid_scope",
    ),
    ("no user name", "loadtest", {"grant_type": "password", "password": "x"}, 400, "invalid_request"),
    (
        "wrong password",
        "loadtest",
        {"grant_type": "password", "username": "test1", "password": "x"},
        400,
        "invalid_grant",
    ),
    (
        "unknown user",
        "loadtest",
        {"grant_type": "password", "username": "nobody", "password": "x"},
        400,
        "invalid_grant",
    ),
    ("no refresh token", "loadtest", {"grant_type": "refresh_token"}, 400, "invalid_request"),
    (
        "malformed refresh token",
        "loadtest",
        {"grant_type": "refresh_token", "refresh_token": "x"},
        400,
        "invalid_grant",
    ),
    # A well-formed token that this node does not know may only not have arrived yet: INDIGO says 401.
    (
        "unknown refresh token",
        "loadtest",
        {"grant_type": "refresh_token", "refresh_token": "eyJhbGciOiJub25lIn0.e30."},
        401,
        "invalid_token",
    ),
    (
        "no subject token",
        "loadtest",
        {"grant_type": TOKEN_EXCHANGE, "scope": "openid"},
        400,
        "invalid_request",
    ),
    (
        "unknown subject token",
        "loadtest",
        {"grant_type": TOKEN_EXCHANGE, "scope": "openid", "subject_token": "x"},
        401,
        "invalid_token",
    ),
]


class TestRefusals:
    """RFC 6749 5.2, 6750 3.1, 7009, 7662, 8693."""

    @pytest.mark.parametrize(
        ("client", "form", "status", "error"),
        [case[1:] for case in REFUSALS],
        ids=[case[0] for case in REFUSALS],
    )
    def test_token_endpoint(
        self, server: Server, client: str, form: dict[str, str], status: int, error: str
    ) -> None:
        """Each mistake has its own code."""
        answer = server.post("token", client, **form)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert answer.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", ["token", "introspect", "revoke"])
    @pytest.mark.parametrize("auth", [("loadtest", "wrong"), ("nobody", "x"), None])
    def test_client_authentication(self, server: Server, path: str, auth: tuple[str, str] | None) -> None:
        """A wrong secret, an unknown client and no client at all: 401 with a challenge."""
        form = {"grant_type": "client_credentials", "token": "x"}
        answer = requests.post(server.url(path), data=form, auth=auth, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")

    def test_repeated_parameter(self, server: Server) -> None:
        """Parameters must not be given twice (RFC 6749 3.2)."""
        form = [("grant_type", "client_credentials"), ("grant_type", "password")]
        answer = requests.post(
            server.url("token"), data=form, auth=("loadtest", "loadtest-secret"), timeout=30
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    def test_exchange_needs_scope_and_knows_no_actor(self, server: Server) -> None:
        """INDIGO insists on `scope` and refuses `actor_token`."""
        form = {"grant_type": TOKEN_EXCHANGE, "subject_token": server.user_tokens()["access_token"]}
        for extra in ({}, {"scope": "openid", "actor_token": "x"}):
            answer = server.post("token", **form, **extra)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    def test_expired_access_token(self, server: Server) -> None:
        """It is inactive, refused as bearer, and deleted by the reader that met it."""
        tokens = server.user_tokens("short-lived")
        time.sleep(1.2)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        answer = requests.get(server.url("userinfo"), headers=bearer, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        with server.db.admin() as admin, admin.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM access_token WHERE token_value = %s", (tokens["access_token"],)
            )
            assert cursor.fetchone() == (0,)
        assert not server.active(tokens["access_token"])
        time.sleep(1.0)
        expired = server.post(
            "token", "short-lived", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )
        assert (expired.status_code, expired.json()["error"]) == (400, "invalid_grant")

    def test_refresh_token_of_another_client(self, server: Server) -> None:
        """Refresh tokens are bound to their client."""
        token = server.user_tokens()["refresh_token"]
        answer = server.post("token", "keep", grant_type="refresh_token", refresh_token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    def test_introspection_is_a_right(self, server: Server) -> None:
        """A client without the right gets 403; a missing token is a bad request."""
        token = server.user_tokens()["access_token"]
        assert server.post("introspect", "plain", token=token).status_code == 403
        assert server.post("introspect").json()["error"] == "invalid_request"

    def test_revocation(self, server: Server) -> None:
        """Unknown tokens are revoked with success; somebody else's are refused and live on."""
        token = server.user_tokens()["access_token"]
        assert server.post("revoke", token="unknown").status_code == 200
        assert server.post("revoke", "keep", token=token).status_code == 403
        assert server.active(token)

    def test_userinfo_needs_a_user_with_openid(self, server: Server) -> None:
        """No bearer 401; a client's own token 403 insufficient_scope."""
        assert requests.get(server.url("userinfo"), timeout=30).status_code == 401
        own = server.post("token", grant_type="client_credentials", scope="scim:read").json()["access_token"]
        bearer = {"Authorization": f"Bearer {own}"}
        answer = requests.get(server.url("userinfo"), headers=bearer, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")

    def test_wrong_method_and_unknown_page(self, server: Server) -> None:
        """405 names what is allowed; 404 otherwise."""
        answer = requests.get(server.url("token"), timeout=30)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
        assert requests.get(server.url("nothing"), timeout=30).status_code == 404

    @pytest.mark.parametrize(
        "value", ["'; DROP TABLE access_token; --", "\\", "100%s", "naïve €", "snow \u2603", "\x00", "\x81"]
    )
    def test_hostile_values_are_only_values(self, server: Server, value: str) -> None:
        """Quotes, percent signs and foreign letters neither break the SQL nor the answer."""
        answer = server.post("token", grant_type="password", username=value, password="x")
        assert (answer.status_code, answer.json()["error"]) in [
            (400, "invalid_grant"),
            (400, "invalid_request"),
        ]
        assert server.active(server.user_tokens()["access_token"])


class TestDiscovery:
    """Discovery is consistent with what the server does."""

    def test_both_documents_agree_and_every_endpoint_exists(self, server: Server) -> None:
        """Endpoints lie under the issuer and answer something else than 404."""
        document = requests.get(server.url(".well-known/openid-configuration"), timeout=30).json()
        other = requests.get(server.url(".well-known/oauth-authorization-server"), timeout=30).json()
        assert document == other
        assert document["issuer"] == server.iam.url
        for name, address in document.items():
            if name.endswith("_endpoint") or name == "jwks_uri":
                assert address.startswith(document["issuer"])
                assert requests.get(address, timeout=30).status_code != 404

    def test_every_advertised_grant_is_supported(self, server: Server) -> None:
        """None of them is answered with `unsupported_grant_type`."""
        document = requests.get(server.url(".well-known/openid-configuration"), timeout=30).json()
        for grant in document["grant_types_supported"]:
            answer = server.post("token", grant_type=grant, scope="openid").json()
            assert answer.get("error") != "unsupported_grant_type"

    def test_request_id_is_kept_where_an_audit_finds_it(self, server: Server) -> None:
        """In the holder's request parameters for new authorisations, in the token's claims always."""
        answer = server.post(
            "token", grant_type="client_credentials", scope="scim:read", request_id="audit-me"
        )
        assert server.claims(answer.json()["access_token"])["request_id"] == "audit-me"
        with server.db.admin() as admin, admin.cursor() as cursor:
            cursor.execute(
                "SELECT t.token_value FROM authentication_holder_request_parameter p, access_token t"
                " WHERE p.param = 'request_id' AND p.val = 'audit-me' AND t.auth_holder_id = p.owner_id"
            )
            assert cursor.fetchall() == ((answer.json()["access_token"],),)
            cursor.execute("SELECT COUNT(*) FROM issued_request WHERE request_id = 'audit-me'")
            assert cursor.fetchone() == (1,)


class TestCommandLine:
    """oidc-agent, the command-line client that INDIGO IAM's users run."""

    def test_oidc_agent_registers_an_account_and_gets_tokens(self, server: Server, tmp_path: Path) -> None:
        """`oidc-gen` by the password flow, two fresh tokens by the refresh flow, a wrong password."""
        (tmp_path / "config").mkdir()
        # The agent insists on a directory of its own for its socket, and on short socket paths.
        socket = Path(f"/tmp/fl-agent-{os.getpid()}/agent")
        socket.parent.mkdir(mode=0o700)
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "OIDC_CONFIG_DIR": str(tmp_path / "config"),
            "OIDC_SOCK": str(socket),
            "OIDC_ENCRYPTION_PW": "secret",
        }

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

        def generate(name: str, password: str) -> subprocess.CompletedProcess[str]:
            return run(
                "oidc-gen", name, "--manual", "--flow=password", "--prompt=none", f"--iss={server.iam.url}",
                "--client-id=loadtest", "--client-secret=loadtest-secret", "--op-username=test2",
                f"--op-password={password}", "--scope=openid profile offline_access", "--pw-env",
                "--confirm-default", "--redirect-uri=http://localhost:4242",
            )  # fmt: skip

        command = ["oidc-agent", "--console", "-a", str(socket), "--no-webserver", "--no-scheme"]
        agent = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 10
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            made = generate("lab", PASSWORD)
            assert made.returncode == 0, made.stdout + made.stderr
            tokens = [run("oidc-token", "lab", "--force-new").stdout.strip() for _ in range(2)]
            assert len(set(tokens)) == 2
            # This client clears access tokens on refresh: only the last one lives.
            assert [server.active(token) for token in tokens] == [False, True]
            refused = generate("other", "wrong")
            assert refused.returncode != 0
            assert "bad credentials" in refused.stdout + refused.stderr
        finally:
            stop(agent)
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()

"""GET /.well-known/openid-configuration and /.well-known/oauth-authorization-server."""

from __future__ import annotations

from typing import Any

from chaos.iam.flows.token import GRANTS
from chaos.iam.service import Service
from chaos.iam.units.decode import first_column
from chaos.iam.units.scope import ALL


def scopes_supported(service: Service) -> list[str]:
    """Names of all system scopes: 1 SELECT."""
    with service.database.autocommit() as db:
        return sorted(first_column(db.select(ALL, columns=1)))


def metadata(service: Service, scopes: list[str]) -> dict[str, Any]:
    """The server's description (OpenID Connect discovery, RFC 8414)."""
    base = service.issuer
    methods = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": base,
        "token_endpoint": base + "token",
        "introspection_endpoint": base + "introspect",
        "revocation_endpoint": base + "revoke",
        "userinfo_endpoint": base + "userinfo",
        "jwks_uri": base + "jwk",
        "scopes_supported": scopes,
        "grant_types_supported": list(GRANTS),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "claims_supported": [
            "sub",
            "iss",
            "name",
            "given_name",
            "family_name",
            "preferred_username",
            "email",
            "email_verified",
            "groups",
        ],
    }

"""Finding access tokens by value, and what happens to expired ones."""

from __future__ import annotations

import time

from chaos.iam.service import Service
from chaos.iam.units import access_token as access_tokens
from chaos.iam.units.access_token import AccessToken


def find_live(service: Service, value: str) -> AccessToken | None:
    """Find a token outside of any transaction; an expired one is deleted in passing.

    That makes a read path write: INDIGO's clearExpiredAccessToken (facts/iam.md 2 (e)).
    """
    with service.database.autocommit() as db:
        token = access_tokens.find(db, value)
    if token is not None and token.expired(time.time()):
        delete(service, value)
        return None
    return token


def delete(service: Service, value: str) -> None:
    """Delete a token in its own transaction: find it again (26 SELECTs), 3 deletes."""
    with service.database.transaction() as db:
        token = access_tokens.find(db, value)
        if token is not None:
            access_tokens.delete(db, token.id)

"""What all requests of a replica share."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.iam.database import Database
from chaos.iam.sessions import Sessions
from chaos.iam.tokens import Signer
from chaos.iam.units import client as clients
from chaos.iam.units import scope as scopes
from chaos.iam.units.client import Client


@dataclass
class Service:
    """One replica's database, key, sessions and caches.

    Attributes:
        database: transactions and single statements.
        signer: makes tokens.
        issuer: base URL, with a slash at its end.
        sessions: None when the replica has no session store.
        decoy_hash: BCrypt hash compared when a user does not exist.
    """

    database: Database
    signer: Signer
    issuer: str
    sessions: Sessions | None
    decoy_hash: bytes
    _matchers: dict[str, frozenset[str]] = field(default_factory=dict)

    def client(self, client_id: str) -> Client | None:
        """Load a client in a read-only transaction of its own: 12 SELECTs, 3 frames."""
        with self.database.transaction() as db:
            return clients.load(db, client_id)

    def allowed_scopes(self, client: Client) -> frozenset[str]:
        """Scope matchers of a client, cached per replica without expiry, as INDIGO's are.

        On a miss every scope of the client reads all of system_scope in its own transaction.
        """
        cached = self._matchers.get(client.client_id)
        if cached is None:
            for _ in client.scopes:
                with self.database.transaction() as db:
                    scopes.load_all(db)
            cached = self._matchers[client.client_id] = frozenset(client.scopes)
        return cached

"""Passwords and keys of one lab, made anew for each."""

from __future__ import annotations

import secrets as randomness
import uuid
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chaos.iam.tokens import KEY_BITS

PLACEHOLDER = "REPLACED-AT-RUN-TIME"


@dataclass(frozen=True, repr=False)
class Secrets:
    """What nobody outside the lab may know, and what tells two labs apart.

    Attributes:
        iam_password: of the identity service's database account.
        replication_password: of the database account that replicas use.
        observer_password: of the database account that measures: it may read, nothing else.
        signing_key: PEM of the key all replicas of the identity service sign with.
        cluster: UUID of the Galera cluster's history. Not secret, but another one for each lab, so
            that members of two labs can never take each other's data for their own.
    """

    iam_password: str
    replication_password: str
    observer_password: str
    signing_key: str
    cluster: str

    @classmethod
    def generate(cls, signing_key: str | None = None) -> Secrets:
        """Fresh secrets.

        Args:
            signing_key: PEM to use instead of making a key, which takes up to a second.
        """
        if signing_key is None:
            key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
            signing_key = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        return cls(
            iam_password=randomness.token_urlsafe(18),
            replication_password=randomness.token_urlsafe(18),
            observer_password=randomness.token_urlsafe(18),
            signing_key=signing_key,
            # Version 1, as Galera's own are.
            cluster=str(uuid.UUID(bytes=randomness.token_bytes(16), version=1)),
        )

    @classmethod
    def placeholders(cls) -> Secrets:
        """Stand-ins for showing manifests to people: not one secret in them."""
        return cls(PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, str(uuid.UUID(int=0x1000 << 64)))

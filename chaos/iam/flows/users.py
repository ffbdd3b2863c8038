"""Checks on the user behind a request."""

from __future__ import annotations

import bcrypt

from chaos.iam.errors import OAuthError
from chaos.iam.service import Service
from chaos.iam.units import account as accounts
from chaos.iam.units.account import Account


def load(service: Service, username: str) -> Account | None:
    """Load an account outside of any transaction: 10 autocommitted SELECTs."""
    with service.database.autocommit() as db:
        return accounts.load(db, username)


def load_with_groups(service: Service, username: str) -> tuple[Account, tuple[str, ...]] | None:
    """Load an account and its groups: 10 SELECTs, 1 and 1 per group, autocommitted."""
    with service.database.autocommit() as db:
        account = accounts.load(db, username)
        return None if account is None else (account, accounts.groups(db, account))


def check_password(service: Service, username: str, password: str) -> Account | None:
    """Authenticate by password: account load, BCrypt, account load. None when refused.

    An unknown user costs a BCrypt too, so that timing does not tell who exists.
    """
    account = load(service, username)
    stored = account.password.encode() if account is not None else service.decoy_hash
    # bcrypt knows 72 bytes and refuses more; Spring's encoder cuts silently.
    if not bcrypt.checkpw(password.encode()[:72], stored) or account is None or not account.active:
        return None
    return load(service, username)


def ensure_aup_signed(service: Service, account: Account) -> None:
    """Refuse users who have not signed the acceptable use policy: 1 autocommitted SELECT.

    Raises:
        OAuthError: `invalid_grant` (facts/iam.md 2.2, "sign AUP").
    """
    with service.database.autocommit() as db:
        if accounts.unsigned_aup(db, account):
            raise OAuthError("invalid_grant", "the acceptable use policy is not signed")


def ensure_active(account: Account | None) -> Account:
    """Refuse unknown and suspended users.

    Raises:
        OAuthError: `invalid_grant`.
    """
    if account is None or not account.active:
        raise OAuthError("invalid_grant", "the user is unknown or suspended")
    return account

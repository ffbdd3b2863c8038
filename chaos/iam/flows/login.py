"""POST /login: a browser's login form. Touches the account row and creates a session."""

from __future__ import annotations

from chaos.iam.errors import OAuthError
from chaos.iam.flows import users
from chaos.iam.service import Service
from chaos.iam.units import account as accounts


def login(service: Service, username: str, password: str) -> str:
    """Check the password, note the time, create a session; return its id.

    The time of the last login is written in a transaction of its own, so the same account logging
    in at two sites is a certification conflict (T6, facts/iam.md 2.1).

    Raises:
        OAuthError: 401 for wrong credentials, 403 with a second factor, 501 without a session store.
        DatabaseError: the update was lost.
        SessionStoreError: Redis did not answer.
    """
    if service.sessions is None:
        raise OAuthError("server_error", "this replica has no session store", 501)
    account = users.check_password(service, username, password)
    if account is None:
        raise OAuthError("access_denied", "bad credentials", 401, 'FormBased realm="iam"')
    with service.database.autocommit() as db:
        if accounts.totp_active(db, account):
            raise OAuthError("access_denied", "a second factor is needed and not supported", 403)
    users.load(service, username)
    with service.database.transaction() as db:
        accounts.load(db, username)  # merge into the persistence context
        db.execute(accounts.TOUCH_LAST_LOGIN, account.id)
    return service.sessions.create(username)

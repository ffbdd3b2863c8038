"""What can go wrong in a request, and the answer each case gets.

Two families meet here: protocol errors, whose codes the RFCs fix, and database errors, which
INDIGO IAM neither retries nor hides (facts/iam.md 1: no retry anywhere; 2.1: a lost
certification reaches the client as HTTP 500 `server_error`).
"""

from __future__ import annotations


class OAuthError(Exception):
    """A refusal in the words of RFC 6749 (5.2), 6750 (3.1), 7009, 7662 or 8693.

    Args:
        code: the `error` value of the response.
        description: for people.
        status: HTTP status.
        challenge: value of `WWW-Authenticate`, when the RFC wants one.
    """

    def __init__(self, code: str, description: str, status: int = 400, challenge: str | None = None) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.status = status
        self.challenge = challenge


def invalid_client(description: str) -> OAuthError:
    """Client authentication failed: 401 with a Basic challenge (RFC 6749 5.2)."""
    return OAuthError("invalid_client", description, 401, 'Basic realm="iam"')


def invalid_token(description: str) -> OAuthError:
    """A bearer or subject token is unknown, expired or revoked: 401 (RFC 6750 3.1; facts/iam.md 2.2)."""
    challenge = f'Bearer realm="iam", error="invalid_token", error_description="{description}"'
    return OAuthError("invalid_token", description, 401, challenge)


class DatabaseError(Exception):
    """The database refused or lost a statement.

    Attributes:
        number: MariaDB error number, or a client error number (2003, 2006, 2013).
        sqlstate: five characters; class 08 means that the connection is gone.
    """

    def __init__(self, number: int, sqlstate: str, message: str) -> None:
        super().__init__(f"({number}, {sqlstate}) {message}")
        self.number = number
        self.sqlstate = sqlstate

    @property
    def fatal(self) -> bool:
        """Whether a pool must throw the connection away.

        HikariCP evicts on SQLSTATE class 08, which includes Galera's 1047 "node not prepared".
        """
        return self.sqlstate.startswith("08")

    @property
    def kind(self) -> str:
        """One word for logs and `error_description`: `conflict`, `unavailable` or `database`."""
        if self.number in CONFLICTS:
            return "conflict"
        return "unavailable" if self.fatal or self.number in UNAVAILABLE else "database"


CONFLICTS = frozenset({1205, 1213, 1020})
"""Lock wait timeout, deadlock (which is also a lost Galera certification), record changed since read."""

UNAVAILABLE = frozenset({1040, 1047, 1053, 1129, 1130, 1180, 1203, 1290, 1836, 1927, 2002, 2003, 2006, 2013})
"""Too many connections, not prepared, shutdown, blocked host, commit error, read-only, killed, lost."""


class PoolTimeoutError(DatabaseError):
    """No connection became free in time (HikariCP connection-timeout, 30 s)."""

    def __init__(self, seconds: float, cause: str) -> None:
        super().__init__(2003, "08001", f"no database connection within {seconds:g} s{cause}")

"""Transactions and single statements, framed the way Spring and Connector/J frame them.

A transaction is `SET autocommit=0`, its statements, `COMMIT`, `SET autocommit=1`: three round trips
more than its statements, also when it only reads. Outside of a transaction every SELECT commits on
its own. Nothing is retried (facts/iam.md section 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chaos.iam.connection import Connection
from chaos.iam.errors import DatabaseError
from chaos.iam.pool import Pool


class Database:
    """The two ways a request reaches the database."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction on one connection, rolled back when the block raises.

        Raises:
            DatabaseError: a statement or the commit failed; the transaction is gone.
        """
        with self.pool.connection() as connection:
            connection.execute("SET autocommit=0")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if not (isinstance(error, DatabaseError) and error.fatal):
                    connection.execute("ROLLBACK")
                    connection.execute("SET autocommit=1")
                raise
            connection.execute("SET autocommit=1")

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection on which every statement stands alone."""
        with self.pool.connection() as connection:
            yield connection

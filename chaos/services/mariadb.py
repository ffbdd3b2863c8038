"""What MariaDB servers of both kinds (Galera members, replication servers) have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import pymysql

from chaos.errors import LabError
from chaos.lab.layout import MARIADB_PORT
from chaos.services.daemon import Condition, Daemon
from topologies.model import Isolation

USER = "mysql"
"""Account the server runs as: the rsync state transfer refuses to work as root (facts/lab.md)."""

DATABASE = "iam"
IAM_USER = "iam"
IAM_PASSWORD = "iam"
REPLICATION_USER = "repl"
REPLICATION_PASSWORD = "repl"

INNODB_LOG_SIZE = "32M"
"""Also used when the data template is made: a different size would make each member resize its log."""

_ANSWER_WITHIN = 2.0


def settings(
    home: PurePath, address: str, connections: int, flush: int, isolation: Isolation
) -> dict[str, object]:
    """The settings every server has.

    Args:
        home: directory of the server.
        address: to listen on.
        connections: client connections to allow.
        flush: innodb_flush_log_at_trx_commit.
        isolation: of transactions that ask for none, as the identity service's.
    """
    return {
        "datadir": home / "data",
        "socket": home / "mariadb.sock",
        "pid-file": home / "mariadb.pid",
        "tmpdir": home / "tmp",
        "bind-address": address,
        "port": MARIADB_PORT,
        "skip-name-resolve": "ON",
        "character-set-server": "latin1",
        "max-connections": connections + 20,
        "back-log": 512,
        "open-files-limit": 8192,
        "performance-schema": "OFF",
        "default-storage-engine": "InnoDB",
        "binlog-format": "ROW",
        "innodb-autoinc-lock-mode": 2,
        "innodb-flush-log-at-trx-commit": flush,
        "transaction-isolation": isolation.upper(),
        # Small: the whole data set fits, and the machine holds one server per site.
        "innodb-buffer-pool-size": "64M",
        "innodb-log-file-size": INNODB_LOG_SIZE,
        "innodb-buffer-pool-dump-at-shutdown": "OFF",
        "innodb-buffer-pool-load-at-startup": "OFF",
        "key-buffer-size": "1M",
        "aria-pagecache-buffer-size": "4M",
    }


def option_file(options: Mapping[str, object]) -> str:
    """The text of a MariaDB option file. `[mysqld]`, because the state transfer scripts read that group."""
    return "[mysqld]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())


def connect(daemon: Daemon, database: str | None = None, timeout: float = _ANSWER_WITHIN) -> Any:
    """A connection to the server as its administrator, through its socket file.

    It needs no network, so it works whatever is cut and from any namespace.

    Raises:
        pymysql.err.OperationalError: the server does not answer.
    """
    return pymysql.connect(
        unix_socket=str(daemon.home / "mariadb.sock"),
        user="root",
        database=database,
        charset="latin1",
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
    )


def variables(daemon: Daemon, pattern: str) -> dict[str, str]:
    """Status variables whose name matches the SQL ``pattern``, lower-case names.

    Raises:
        pymysql.err.MySQLError, OSError: the server does not answer.
    """
    connection = connect(daemon)
    try:
        return status(connection, pattern)
    finally:
        connection.close()


def status(connection: Any, pattern: str) -> dict[str, str]:
    """As `variables`, over a connection that is there."""
    with connection.cursor() as cursor:
        # SHOW is answered by a member that refuses everything else (components.md 1.6).
        cursor.execute("SHOW GLOBAL STATUS LIKE %s", (pattern,))
        return {str(name).lower(): str(value) for name, value in cursor.fetchall()}


def unanswered(daemon: Daemon, error: Exception) -> Condition:
    """What it means that the server could not be asked."""
    refused = isinstance(error, pymysql.err.OperationalError) and error.args and error.args[0] in (2002, 2003)
    timed_out = "timed out" in str(error)
    return Condition("unknown" if timed_out or not refused else "down", f"no answer: {_short(error)}")


def _short(error: Exception) -> str:
    return str(error.args[-1] if error.args else error).splitlines()[0][:120]


def check_provider(path: Path) -> None:
    """Raise if the Galera library is not installed.

    Raises:
        LabError: with the package that has it.
    """
    if not path.exists():
        raise LabError(f"{path} is missing: install the package galera-4")

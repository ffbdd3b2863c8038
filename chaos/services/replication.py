"""A MariaDB primary with replicas, by GTID (components.md section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import pymysql

from chaos.lab.layout import MARIADB_PORT, Layout
from chaos.services import mariadb
from chaos.services.daemon import Condition, Daemon, milliseconds
from topologies.model import MariadbReplication


def daemons(name: str, model: MariadbReplication, layout: Layout, connections: int) -> list[Daemon]:
    """The servers of the replication service ``name``: the primary first, then the replicas."""
    return [_server(name, model, layout, site, connections) for site in (model.primary, *model.replicas)]


def _server(name: str, model: MariadbReplication, layout: Layout, site: str, connections: int) -> Daemon:
    home = layout.home(name, site)
    address = layout.overlay(site)
    files = {"tmp/.keep": ""}
    init_file = None
    if site != model.primary:
        init_file = home / "follow.sql"
        files["follow.sql"] = follow(layout.overlay(model.primary))
    settings = options(model, home, connections, layout.index(site), address, init_file)
    return Daemon(
        component=f"{name}@{site}",
        role="mariadb",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}",
        home=home,
        argv=("mariadbd", f"--defaults-file={home / 'my.cnf'}"),
        files={"my.cnf": mariadb.option_file(settings), **files},
        address=address,
        port=MARIADB_PORT,
        user=mariadb.USER,
    )


def options(
    model: MariadbReplication,
    home: PurePath,
    connections: int,
    number: int,
    address: str,
    init_file: PurePath | None,
) -> dict[str, object]:
    """The settings of a server.

    Args:
        model: of the service.
        home: its directory.
        connections: client connections to allow.
        number: of its site, from 1; its server id.
        address: to listen on.
        init_file: a replica's script that makes it follow its primary; None makes it the primary.
    """
    found: dict[str, object] = {
        **mariadb.settings(home, address, connections, model.flush_log_at_trx_commit, model.isolation),
        "server-id": number,
        "log-bin": "binlog",
        "log-slave-updates": "ON",
        "gtid-strict-mode": "ON",
        "relay-log": "relay",
        "slave-parallel-threads": model.slave_parallel_threads,
    }
    if init_file is None:
        if model.semi_sync:
            found |= {
                "rpl-semi-sync-master-enabled": "ON",
                "rpl-semi-sync-master-timeout": milliseconds(model.semi_sync_timeout),
            }
        return found
    found |= {
        "read-only": "ON",
        # Started by the init file: a replica must be told its primary at its first start.
        "skip-slave-start": "ON",
        "init-file": init_file,
    }
    if model.semi_sync:
        found["rpl-semi-sync-slave-enabled"] = "ON"
    return found


def follow(primary: str, password: str = mariadb.REPLICATION_PASSWORD) -> str:
    """SQL that makes a server follow ``primary`` from its own GTID position; one statement per line."""
    return (
        f"CHANGE MASTER TO master_host='{primary}', master_port={MARIADB_PORT}, "
        f"master_user='{mariadb.REPLICATION_USER}', master_password='{password}', "
        "master_use_gtid=slave_pos, master_connect_retry=60;\n"
        "START SLAVE;\n"
    )


def condition(daemon: Daemon, primary: bool) -> Condition:
    """Whether the server serves; a replica that does not follow its primary still serves reads."""
    try:
        status = mariadb.variables(daemon, "Uptime")
        followed = {} if primary else _slave_status(daemon)
    except (pymysql.err.MySQLError, OSError) as error:
        return mariadb.unanswered(daemon, error)
    return condition_of(status, followed, primary)


def condition_of(status: Mapping[str, str], followed: Mapping[str, object], primary: bool) -> Condition:
    """Read the condition from a server's status and its `SHOW SLAVE STATUS`."""
    if "uptime" not in status:
        return Condition("unknown", "no status")
    if primary:
        return Condition("up", "primary")
    behind = followed.get("Seconds_Behind_Master")
    return Condition(
        "up",
        f"replica, IO {followed.get('Slave_IO_Running', 'No')}, "
        f"SQL {followed.get('Slave_SQL_Running', 'No')}, "
        f"{'?' if behind is None else behind} s behind",
    )


def follows(daemon: Daemon) -> bool:
    """Whether both replication threads of a replica run."""
    try:
        status = _slave_status(daemon)
    except (pymysql.err.MySQLError, OSError):
        return False
    return status.get("Slave_IO_Running") == "Yes" and status.get("Slave_SQL_Running") == "Yes"


def _slave_status(daemon: Daemon) -> dict[str, object]:
    connection = mariadb.connect(daemon)
    try:
        with connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            row = cursor.fetchone()
            return dict(row) if row else {}
    finally:
        connection.close()

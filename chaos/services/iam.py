"""Replicas of the identity service (`chaos.iam`), each with the database a real one would be given."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from chaos.errors import LabError
from chaos.iam.schema import Seed, script
from chaos.lab.layout import IAM_PORT, MARIADB_PORT, SENTINEL_PORT, SERVICE_NAME, Layout
from chaos.services import http, mariadb
from chaos.services.daemon import Condition, Daemon
from chaos.services.haproxy import HEALTH_PATH
from topologies.model import Galera, IndigoIam, MariadbReplication, RedisSentinel

KEY_FILE = "signing-key.pem"
"""One key for all replicas, in the lab's directory (INDIGO: the same JWKS file everywhere)."""


def ensure_buildable(name: str, model: IndigoIam) -> None:
    """Check that the lab's service can be what ``model`` asks for.

    Raises:
        LabError: it cannot; the message says what to change.
    """
    if not model.store_access_tokens:
        raise LabError(
            "the lab's identity service stores its access tokens: "
            f"set services.{name}.store_access_tokens=true (`faultline predict` knows both)"
        )


def daemons(
    name: str,
    model: IndigoIam,
    database: Galera | MariadbReplication,
    sessions: RedisSentinel | None,
    layout: Layout,
    distance: dict[tuple[str, str], float],
) -> list[Daemon]:
    """The replicas of service ``name``, by site in the topology's order.

    Args:
        distance: round trip in seconds between sites, to find the nearest database member.
    """
    found = []
    for site in layout.sites:
        count = model.replicas.get(site, 0)
        for index in range(count):
            component = f"{name}@{site}" if count == 1 else f"{name}@{site}/{index}"
            home = layout.home(name, site) / str(index)
            member = layout.overlay(database_site(site, database, layout.sites, distance))
            found.append(
                Daemon(
                    component=component,
                    role="iam",
                    service=name,
                    site=site,
                    namespace=layout.namespace(site),
                    group=f"{site}/{name}.{index}",
                    home=home,
                    argv=(sys.executable, "-m", "chaos.iam", "--config", str(home / "config.json")),
                    files={"config.json": config(name, model, sessions, layout, site, index, member)},
                    address=layout.overlay(site),
                    port=IAM_PORT + index,
                    index=index,
                )
            )
    return found


def database_site(
    site: str,
    database: Galera | MariadbReplication,
    sites: Sequence[str],
    distance: Mapping[tuple[str, str], float],
) -> str:
    """The site whose database server a replica at ``site`` uses.

    The primary with replication (IAM knows one endpoint and no read replicas, facts/iam.md section 6); the
    member at its own site with Galera, else the nearest, of equally near ones the first in the topology.
    """
    if isinstance(database, MariadbReplication):
        return database.primary
    members = [other for other in sites if other in database.members]
    return site if site in members else min(members, key=lambda other: distance[site, other])


def config(
    name: str,
    model: IndigoIam,
    sessions: RedisSentinel | None,
    layout: Layout,
    site: str,
    index: int,
    database: str,
) -> str:
    """The configuration file of one replica, see `chaos.iam.config`."""
    return document(
        model,
        listen=f"{layout.overlay(site)}:{IAM_PORT + index}",
        site=site,
        instance=f"{name}-{site}-{index}",
        database=database,
        password=mariadb.IAM_PASSWORD,
        sentinels=[layout.overlay(other) for other in sessions.sentinels] if sessions else [],
        key_file=layout.directory / KEY_FILE,
    )


def document(
    model: IndigoIam,
    *,
    listen: str,
    site: str,
    instance: str,
    database: str,
    password: str,
    sentinels: Sequence[str],
    key_file: PurePath,
) -> str:
    """The JSON text of a configuration file.

    Args:
        model: of the service.
        listen: `address:port` to serve on.
        site: where the replica is.
        instance: its name.
        database: host name or address of its database server.
        password: of its database account.
        sentinels: hosts of the sentinels that know where the sessions are; none without sessions.
        key_file: the signing key.
    """
    settings: dict[str, object] = {
        "listen": listen,
        "site": site,
        "instance": instance,
        "issuer": f"http://{SERVICE_NAME}/",
        "database": {
            "host": database,
            "port": MARIADB_PORT,
            "user": mariadb.IAM_USER,
            "password": password,
            "name": mariadb.DATABASE,
        },
        "pool": model.pool,
        "pool_timeout": f"{model.pool_timeout:g}s",
        "minimum_idle": min(8, model.pool),
        "threads": model.threads,
        "key_file": str(key_file),
    }
    if sentinels:
        settings["redis"] = {
            "sentinels": [[host, SENTINEL_PORT] for host in sentinels],
            "master": model.sessions,
        }
    return json.dumps(settings, indent=2) + "\n"


def seed_script(model: IndigoIam) -> str:
    """The SQL script with schema, clients, users and the service's own account."""
    seed = Seed(reuse=model.reuse_refresh_token, clear=model.clear_access_tokens_on_refresh)
    return script(seed, mariadb.DATABASE, mariadb.IAM_USER, mariadb.IAM_PASSWORD)


def condition(daemon: Daemon) -> Condition:
    """Whether the replica's own health check (which asks its database) answers 200."""
    return http.condition(daemon.namespace, daemon.address, daemon.port, HEALTH_PATH)

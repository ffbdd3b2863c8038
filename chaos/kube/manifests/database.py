"""Database members: a StatefulSet per site, each pod with a volume and a configuration file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from chaos.kube.addresses import DATABASE_HEALTH_PORT
from chaos.kube.manifests.objects import (
    CONFIG_PATH,
    HOME_PATH,
    SECRETS_PATH,
    Object,
    Site,
    Workload,
    config_map,
    digest,
    secret,
    services,
    stateful_set,
)
from chaos.kube.manifests.template import SCRATCH, Container, files, http, pod_template
from chaos.lab.layout import GALERA_PORT, IST_PORT, MARIADB_PORT, SST_PORT
from chaos.services import galera, mariadb, replication
from chaos.services.deployment import SPARE_CONNECTIONS
from topologies.model import Galera, IndigoIam, MariadbReplication, Topology

VOLUME_SIZE = "2Gi"
OBSERVER_USER = "observer"
LISTEN = "0.0.0.0"

INSTALL_OPTIONS = (f"--innodb-log-file-size={mariadb.INNODB_LOG_SIZE}", "--character-set-server=latin1")
"""What decides how the data files look: as for the lab without Kubernetes."""


def objects(
    site: Site, workload: Workload, model: Galera | MariadbReplication, replicas: int
) -> list[Object]:
    """Everything of the database service at one site."""
    labels = workload.labels(site.name)
    config: dict[str, str] = {}
    for number in range(replicas):
        pod = f"{workload.name}-{number}"
        if isinstance(model, Galera):
            options, cluster, start = _galera(site, workload, model, number)
            config[f"{pod}.json"] = _settings(site, pod, cluster, start)
        else:
            options = _replication(site, model)
            config[f"{pod}.json"] = _settings(site, pod, None, None)
        config[f"{pod}.cnf"] = mariadb.option_file(options)
    config_objects = config_map(workload.name, labels, config)
    secrets = secret(workload.name, labels, _secrets(site, workload, model))
    ports = {"mysql": MARIADB_PORT, "health": DATABASE_HEALTH_PORT}
    if isinstance(model, Galera):
        ports |= {"galera": GALERA_PORT, "galera-ist": IST_PORT, "galera-sst": SST_PORT}
    container = Container(
        command=["python3", "-m", "chaos.kube.entry", "database", f"{CONFIG_PATH}/$(POD_NAME).json"],
        environment=[{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        ports=ports,
        probe=http("/ready", "health"),
        live=http("/live", "health"),
        mounts={"data": HOME_PATH, "config": CONFIG_PATH, "secrets": SECRETS_PATH, "scratch": "/tmp"},
        writable=frozenset({"data", "scratch"}),
        volumes={
            "config": files("ConfigMap", workload.name),
            "secrets": files("Secret", workload.name),
            "scratch": SCRATCH,
        },
        claims={"data": VOLUME_SIZE},
    )
    template = pod_template(site, workload, container, digest(config_objects, secrets))
    return [
        config_objects,
        secrets,
        *services(site, workload, ports),
        stateful_set(site, workload, replicas, template, container.claims),
    ]


def connections(topology: Topology) -> int:
    """Client connections that each server must allow."""
    pools: list[int] = [
        count * service.pool
        for service in topology.services_of(IndigoIam).values()
        for count in service.replicas.values()
    ]
    return SPARE_CONNECTIONS + sum(pools)


def members(topology: Topology, model: Galera) -> list[tuple[str, int]]:
    """Site and number within it of every member, in the order of their priority: sites in file order."""
    return [(site, number) for site in topology.sites for number in range(model.members.get(site, 0))]


def _galera(
    site: Site, workload: Workload, model: Galera, number: int
) -> tuple[Mapping[str, object], Mapping[str, Any], Mapping[str, str]]:
    everyone = members(site.topology, model)
    own = (site.name, number)
    others = [one for one in everyone if one != own]

    def address(member: tuple[str, int]) -> str:
        return site.address(f"{workload.name}-{member[1]}", member[0])

    options = galera.options(
        model,
        PurePosixPath(HOME_PATH),
        connections(site.topology),
        # The name of a member tells its site in the others' logs, as in the lab without Kubernetes.
        site.name if model.members[site.name] == 1 else f"{site.name}-{number}",
        address(own),
        [address(one) for one in others],
        LISTEN,
    )
    cluster = {
        "number": everyone.index(own) + 1,
        "address": address(own),
        "peers": {str(everyone.index(one) + 1): f"{address(one)}:{DATABASE_HEALTH_PORT}" for one in others},
    }
    # The state after a power cut of everything, see chaos.services.galera: nobody serves until all members
    # of the view are there. An ordered StatefulSet starts the second member of a site when the first one
    # is ready, so only the first ones can be in it.
    ordered = site.topology.kubernetes.pod_management == "OrderedReady"
    founders = [one for one in everyone if one[1] == 0 or not ordered]
    start = {
        "provider": str(galera.PROVIDER),
        "state": galera.saved_state(site.secrets.cluster, 0),
        "view": galera.saved_view(founders.index(own) + 1, len(founders)) if own in founders else "",
    }
    return options, cluster, start


def _replication(site: Site, model: MariadbReplication) -> Mapping[str, object]:
    init_file = None if site.name == model.primary else PurePosixPath(SECRETS_PATH) / "follow.sql"
    return replication.options(
        model,
        PurePosixPath(HOME_PATH),
        connections(site.topology),
        site.addresses.index(site.name),
        LISTEN,
        init_file,
    )


def _settings(
    site: Site, pod: str, cluster: Mapping[str, Any] | None, start: Mapping[str, str] | None
) -> str:
    identity = next(iter(site.topology.services_of(IndigoIam).values()), None)
    seed = None
    if identity is not None:
        seed = {
            "reuse": identity.reuse_refresh_token,
            "clear": identity.clear_access_tokens_on_refresh,
        }
    settings = {
        "home": HOME_PATH,
        "options": f"{CONFIG_PATH}/{pod}.cnf",
        "health_port": DATABASE_HEALTH_PORT,
        "install": {
            "options": INSTALL_OPTIONS,
            "database": mariadb.DATABASE,
            "seed": seed,
            "accounts": f"{SECRETS_PATH}/accounts.sql",
            "galera": start,
        },
        "galera": cluster,
    }
    return json.dumps(settings, indent=2) + "\n"


def _secrets(site: Site, workload: Workload, model: Galera | MariadbReplication) -> dict[str, str]:
    secrets = site.secrets
    found = {"accounts.sql": "".join(f"{statement};\n" for statement in _accounts(site))}
    found["observer.cnf"] = f"[client]\nuser = {OBSERVER_USER}\npassword = {secrets.observer_password}\n"
    if isinstance(model, MariadbReplication) and site.name != model.primary:
        primary = site.address(f"{workload.name}-0", model.primary)
        found["follow.sql"] = replication.follow(primary, secrets.replication_password)
    return found


def _accounts(site: Site) -> Sequence[str]:
    secrets, everywhere = site.secrets, "@'%'"
    return [
        # Only the one of the socket file stays.
        "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost'",
        "FLUSH PRIVILEGES",
        f"CREATE DATABASE IF NOT EXISTS `{mariadb.DATABASE}`",
        f"CREATE OR REPLACE USER '{mariadb.IAM_USER}'{everywhere} IDENTIFIED BY '{secrets.iam_password}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{mariadb.DATABASE}`.* TO '{mariadb.IAM_USER}'{everywhere}",
        f"CREATE OR REPLACE USER '{mariadb.REPLICATION_USER}'{everywhere} "
        f"IDENTIFIED BY '{secrets.replication_password}'",
        f"GRANT REPLICATION SLAVE ON *.* TO '{mariadb.REPLICATION_USER}'{everywhere}",
        f"CREATE OR REPLACE USER '{OBSERVER_USER}'{everywhere} IDENTIFIED BY '{secrets.observer_password}'",
        f"GRANT SELECT ON `{mariadb.DATABASE}`.* TO '{OBSERVER_USER}'{everywhere}",
        f"GRANT PROCESS, SLAVE MONITOR ON *.* TO '{OBSERVER_USER}'{everywhere}",
    ]

"""Replicas of the identity service: a Deployment per site."""

from __future__ import annotations

from pathlib import PurePosixPath

from chaos.kube.addresses import sentinel_name
from chaos.kube.manifests.objects import (
    SECRETS_PATH,
    Object,
    Site,
    Workload,
    deployment,
    digest,
    secret,
    services,
)
from chaos.kube.manifests.template import SCRATCH, Container, files, http, pod_template
from chaos.lab.layout import IAM_PORT
from chaos.services import iam
from chaos.services.deployment import distances
from chaos.services.haproxy import HEALTH_PATH
from topologies.model import Galera, IndigoIam, MariadbReplication, RedisSentinel


def objects(site: Site, workload: Workload, model: IndigoIam, replicas: int) -> list[Object]:
    """Everything of the identity service at one site.

    A replica finds its database and the sentinels by name, at each new connection.
    """
    labels = workload.labels(site.name)
    everything = site.topology.services
    database = everything[model.database]
    assert isinstance(database, Galera | MariadbReplication)
    sentinels = []
    if model.sessions is not None:
        store = everything[model.sessions]
        assert isinstance(store, RedisSentinel)
        sentinels = [site.host(f"{sentinel_name(model.sessions)}-0", other) for other in store.sentinels]
    where = iam.database_site(site.name, database, site.addresses.sites, distances(site.topology))
    config = secret(
        workload.name,
        labels,
        {
            "config.json": iam.document(
                model,
                listen=f"0.0.0.0:{IAM_PORT}",
                site=site.name,
                instance=workload.name,
                database=site.host(model.database, where),
                password=site.secrets.iam_password,
                sentinels=sentinels,
                key_file=PurePosixPath(iam.KEY_FILE),
            ),
            iam.KEY_FILE: site.secrets.signing_key,
        },
    )
    container = Container(
        command=[
            "python3",
            "-m",
            "chaos.iam",
            "--config",
            f"{SECRETS_PATH}/config.json",
            "--instance",
            "$(POD_NAME)",
        ],
        environment=[{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        ports={"http": IAM_PORT},
        probe=http(HEALTH_PATH, "http"),
        mounts={"config": SECRETS_PATH, "scratch": "/tmp"},
        writable=frozenset({"scratch"}),
        volumes={"config": files("Secret", workload.name), "scratch": SCRATCH},
    )
    template = pod_template(site, workload, container, digest(config))
    return [
        config,
        *services(site, workload, container.ports),
        deployment(site, workload, replicas, template),
    ]

"""What stands in front of the identity service: nginx and HAProxy, a Deployment of each per site."""

from __future__ import annotations

from chaos.kube.addresses import FRONTEND_PORT, HAPROXY_STATS_PORT
from chaos.kube.manifests.objects import (
    CONFIG_PATH,
    HOME_PATH,
    Object,
    Site,
    Workload,
    config_map,
    deployment,
    digest,
    services,
)
from chaos.kube.manifests.template import SCRATCH, Container, files, http, pod_template
from chaos.lab.layout import IAM_PORT, NGINX_PORT
from chaos.services import haproxy, nginx
from chaos.services.haproxy import Server
from topologies.model import Haproxy, IndigoIam, Nginx


def reverse_proxy(site: Site, workload: Workload, model: Nginx) -> list[Object]:
    """The nginx of one site.

    Its upstream is the Service of the site's own replicas: kube-proxy chooses among those that are ready,
    so nginx knows a single server, and its `max_fails` has no effect (components.md 4.3).
    """
    labels = workload.labels(site.name)
    upstream = f"{site.host(model.upstream, site.name)}:{IAM_PORT}"
    text = nginx.config(model, "0.0.0.0", [upstream], HOME_PATH)
    config = config_map(workload.name, labels, {"nginx.conf": text})
    container = Container(
        # -e: before it has read its configuration nginx would log to a file of the image.
        command=[
            "/bin/sh",
            "-c",
            f"mkdir -p {HOME_PATH}/tmp && exec nginx -p {HOME_PATH} -c {CONFIG_PATH}/nginx.conf -e stderr",
        ],
        ports={"http": NGINX_PORT},
        probe=http(nginx.OWN_PATH, "http"),
        mounts={"home": HOME_PATH, "config": CONFIG_PATH},
        writable=frozenset({"home"}),
        volumes={"home": SCRATCH, "config": files("ConfigMap", workload.name)},
    )
    template = pod_template(site, workload, container, digest(config))
    return [config, *services(site, workload, container.ports), deployment(site, workload, 1, template)]


def servers(site: Site, backend_name: str, backend: Nginx | IndigoIam) -> list[Server]:
    """What a front end balances over: one Service per site that has the backend."""
    here = backend.sites if isinstance(backend, Nginx) else list(backend.replicas)
    port = NGINX_PORT if isinstance(backend, Nginx) else IAM_PORT
    return [
        Server(other, other, site.host(backend_name, other), port)
        for other in site.addresses.sites
        if other in here
    ]


def front_end(site: Site, workload: Workload, model: Haproxy) -> list[Object]:
    """The HAProxy of one site. It resolves its servers' names once, at its start."""
    labels = workload.labels(site.name)
    backend = site.topology.services[model.backend]
    assert isinstance(backend, Nginx | IndigoIam)
    text = haproxy.config(
        model,
        servers(site, model.backend, backend),
        site.name,
        "0.0.0.0",
        f"{HOME_PATH}/admin.sock",
        FRONTEND_PORT,
        HAPROXY_STATS_PORT,
    )
    config = config_map(workload.name, labels, {"haproxy.cfg": text})
    container = Container(
        command=["haproxy", "-db", "-f", f"{CONFIG_PATH}/haproxy.cfg"],
        ports={"http": FRONTEND_PORT, "stats": HAPROXY_STATS_PORT},
        probe=http(haproxy.OWN_PATH, "http"),
        mounts={"home": HOME_PATH, "config": CONFIG_PATH},
        writable=frozenset({"home"}),
        volumes={"home": SCRATCH, "config": files("ConfigMap", workload.name)},
    )
    template = pod_template(site, workload, container, digest(config))
    return [config, *services(site, workload, container.ports), deployment(site, workload, 1, template)]

"""Session stores: a Redis StatefulSet and a sentinel StatefulSet per site."""

from __future__ import annotations

import json
from collections.abc import Callable

from chaos.kube.addresses import sentinel_name
from chaos.kube.manifests.objects import (
    CONFIG_PATH,
    HOME_PATH,
    Object,
    Site,
    Workload,
    config_map,
    digest,
    services,
    stateful_set,
)
from chaos.kube.manifests.template import SCRATCH, Container, files, pod_template, tcp
from chaos.lab.layout import REDIS_PORT, SENTINEL_PORT
from chaos.services import redis, sentinel
from topologies.model import RedisSentinel

LISTEN = "0.0.0.0"


def _server_address(site: Site, service: str) -> Callable[[str], str]:
    return lambda other: site.address(f"{service}-0", other)


def _sentinel_address(site: Site, service: str) -> Callable[[str], str]:
    return lambda other: site.address(f"{sentinel_name(service)}-0", other)


def servers(site: Site, workload: Workload, model: RedisSentinel) -> list[Object]:
    """The Redis server of one site.

    Its data is nothing but memory (sessions are lost with the server), so it needs no volume; the file
    that Sentinel rewrites lives as long as the pod.
    """
    labels = workload.labels(site.name)
    address = _server_address(site, workload.service)
    sentinels = [_sentinel_address(site, workload.service)(other) for other in model.sentinels]
    settings = {
        "home": HOME_PATH,
        "template": f"{CONFIG_PATH}/redis.conf",
        "address": address(site.name),
        "master": workload.service,
        "sentinels": [[one, SENTINEL_PORT] for one in sentinels],
        "primary": address(model.primary),
        "port": REDIS_PORT,
    }
    config = config_map(
        workload.name,
        labels,
        {
            "redis.conf": redis.config(address(site.name), HOME_PATH, None, LISTEN),
            "redis.json": json.dumps(settings, indent=2) + "\n",
        },
    )
    container = Container(
        command=["python3", "-m", "chaos.kube.entry", "redis", f"{CONFIG_PATH}/redis.json"],
        ports={"redis": REDIS_PORT},
        probe=tcp("redis"),
        mounts={"home": HOME_PATH, "config": CONFIG_PATH},
        writable=frozenset({"home"}),
        volumes={"home": SCRATCH, "config": files("ConfigMap", workload.name)},
    )
    template = pod_template(site, workload, container, digest(config))
    return [
        config,
        *services(site, workload, container.ports),
        stateful_set(site, workload, 1, template, {}),
    ]


_FILE = f"{HOME_PATH}/sentinel.conf"
_START = (
    f"[ -s {_FILE} ] || {{ cp {CONFIG_PATH}/sentinel.conf {_FILE}.new && mv {_FILE}.new {_FILE}; }}; "
    f"chmod 600 {_FILE} && exec redis-server {_FILE} --sentinel"
)
"""Sentinel keeps what it learns in its configuration file, so the file is copied once, to its volume."""


def sentinels(site: Site, workload: Workload, model: RedisSentinel) -> list[Object]:
    """The sentinel of one site."""
    labels = workload.labels(site.name)
    config = config_map(
        workload.name,
        labels,
        {
            "sentinel.conf": sentinel.config(
                workload.service,
                model,
                site.name,
                _server_address(site, workload.service),
                _sentinel_address(site, workload.service),
                HOME_PATH,
                LISTEN,
            )
        },
    )
    container = Container(
        command=["/bin/sh", "-c", _START],
        ports={"sentinel": SENTINEL_PORT},
        probe=tcp("sentinel"),
        mounts={"home": HOME_PATH, "config": CONFIG_PATH},
        writable=frozenset({"home"}),
        volumes={"config": files("ConfigMap", workload.name)},
        claims={"home": "16Mi"},
    )
    template = pod_template(site, workload, container, digest(config))
    return [
        config,
        *services(site, workload, container.ports),
        stateful_set(site, workload, 1, template, container.claims),
    ]

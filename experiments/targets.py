"""Which components a topology has, by the names that faults use for them."""

from __future__ import annotations

from experiments.faults import Partition
from topologies.grudge import grudge_of
from topologies.model import (
    Galera,
    Haproxy,
    IndigoIam,
    MariadbReplication,
    Nginx,
    RedisSentinel,
    Topology,
)


def placement(topology: Topology) -> dict[str, dict[str, int]]:
    """How many processes each service has at each site, in file order.

    The DNS balancer is left out: it stands at no site and cannot be a fault's target. A Redis
    service counts its servers, not its sentinels.
    """
    places: dict[str, dict[str, int]] = {}
    for name, service in topology.services.items():
        if isinstance(service, IndigoIam):
            places[name] = dict(service.replicas)
        elif isinstance(service, Galera):
            places[name] = dict(service.members)
        elif isinstance(service, MariadbReplication | RedisSentinel):
            places[name] = dict.fromkeys([service.primary, *service.replicas], 1)
        elif isinstance(service, Nginx | Haproxy):
            places[name] = dict.fromkeys(service.sites, 1)
    return places


def components(topology: Topology) -> list[str]:
    """Names of all components: `service@site`, or `service@site/index` where a site has several."""
    return [
        f"{service}@{site}" if count == 1 else f"{service}@{site}/{index}"
        for service, sites in placement(topology).items()
        for site, count in sites.items()
        for index in range(count)
    ]


def grudge(partition: Partition, topology: Topology) -> dict[str, frozenset[str]]:
    """Who no longer hears whom: site -> sites whose packets it no longer receives.

    Raises:
        topologies.errors.MisfitError: a site is unknown, or nothing would be cut.
    """
    return grudge_of(
        topology.sites, isolate=partition.isolate, between=partition.between, grudge=partition.grudge
    )

"""All objects of all sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.errors import LabError
from chaos.kube.addresses import Addresses, counts
from chaos.kube.manifests import cache, database, identity, proxies
from chaos.kube.manifests.foundation import namespace, network_policies
from chaos.kube.manifests.objects import Object, Site, Workload, disruption_budget, service_account
from chaos.kube.manifests.secrets import Secrets
from chaos.lab.layout import HTTP_PORT
from topologies.model import (
    Galera,
    Haproxy,
    IndigoIam,
    MariadbReplication,
    Nginx,
    RedisSentinel,
    Topology,
)

LAB_IMAGE = "faultline-lab:1"
"""The image that all pods run, unless told otherwise."""


def render(
    topology: Topology,
    *,
    image: str = LAB_IMAGE,
    secrets: Secrets | None = None,
    overlapping: bool = False,
    host_names: bool = False,
    extra: Mapping[str, Sequence[Object]] | None = None,
    addresses: Addresses | None = None,
    node_port: int = HTTP_PORT,
) -> dict[str, list[Object]]:
    """The objects of every site, in an order in which they can be applied.

    Args:
        topology: in the size that is to run.
        image: of the lab.
        secrets: of this lab; placeholders when not given.
        overlapping: whether all clusters use the same address ranges.
        host_names: write the names of Services into every pod, for clusters whose DNS may not be changed;
            else it has to know them (`chaos.kube.manifests.names`).
        extra: further objects per site, such as those of the gateways; they come before the workloads.
        addresses: of the Services, where they are not the lab's own.
        node_port: port of the nodes on which front ends are reached. A lab's own clusters allow 80, others
            only 30000 to 32767 unless told otherwise.

    Raises:
        LabError: the topology has something that does not fit; the message says what to change.
    """
    if len(topology.services_of(IndigoIam)) > 1 or len(topology.services_of(Galera, MariadbReplication)) > 1:
        raise LabError(
            "a lab on Kubernetes runs one identity service on one database: remove the others from `services`"
        )
    addresses = addresses or Addresses.of(topology, overlapping=overlapping)
    secrets = secrets or Secrets.placeholders()
    found = {}
    for name in topology.sites:
        site = Site(topology, name, addresses, image, secrets, host_names, node_port)
        found[name] = [*_site_objects(site, (extra or {}).get(name, ()))]
    return found


def workloads(topology: Topology, site: str) -> list[tuple[Workload, int]]:
    """The workloads of a site and how many pods each has, in file order."""
    return [(Workload(name, service, role), count) for name, service, role, count in counts(topology, site)]


def _site_objects(site: Site, extra: Sequence[Object]) -> list[Object]:
    planned = workloads(site.topology, site.name)
    parts = [_workload_objects(site, workload, count) for workload, count in planned]
    running = ("Deployment", "StatefulSet")
    return [
        namespace(site),
        *network_policies(site, [workload.role for workload, _ in planned]),
        *(service_account(site, workload) for workload, _ in planned),
        *(disruption_budget(site, workload) for workload, _ in planned),
        *(one for part in parts for one in part if one["kind"] not in running),
        *extra,
        *(one for part in parts for one in part if one["kind"] in running),
    ]


def _workload_objects(site: Site, workload: Workload, count: int) -> list[Object]:
    match site.topology.services[workload.service]:
        case (Galera() | MariadbReplication()) as model:
            return database.objects(site, workload, model, count)
        case RedisSentinel() as model:
            return (cache.servers if workload.role == "redis" else cache.sentinels)(site, workload, model)
        case IndigoIam() as model:
            return identity.objects(site, workload, model, count)
        case Nginx() as model:
            return proxies.reverse_proxy(site, workload, model)
        case Haproxy() as model:
            return proxies.front_end(site, workload, model)
    raise AssertionError(workload.service)  # the DNS balancer has no workload

"""Where everything of a lab on Kubernetes lives: address ranges, Services, names, ports.

A pure function of the topology: each Service has a fixed ClusterIP, so that every configuration
file of every cluster can be written before any cluster exists, and a peer keeps its address when
its pod is replaced.

Usually the clusters have ranges of their own and route to each other. With ``overlapping`` ranges
all clusters use the same ones, as clusters do that were made without knowing of each other; then a
Service has a second address (`externalIPs`), unique among the sites, by which everybody reaches it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from chaos.errors import LabError
from chaos.lab.layout import HTTP_PORT, IAM_PORT, MARIADB_PORT, NGINX_PORT, REDIS_PORT, SENTINEL_PORT, ZONE
from topologies.kubernetes import Role
from topologies.model import (
    Galera,
    Haproxy,
    IndigoIam,
    MariadbReplication,
    Nginx,
    RedisSentinel,
    Topology,
)

NAMESPACE = "faultline"
"""Namespace of everything of the lab in every cluster."""

GATEWAY = "gateway"
"""Name of the workload at the end of the links between the clusters."""

FRONTEND_PORT = 8080
"""Port of HAProxy inside its pod: one that needs no privilege. Its Service listens on HTTP_PORT."""

HAPROXY_STATS_PORT = 9101
"""HAProxy's statistics socket over TCP, reading only, inside its pod."""

DATABASE_HEALTH_PORT = 9104
"""Where a database pod says over HTTP whether its server serves."""

MOST_SITES = 54
"""Sites of one lab: the service ranges 10.201/16 ... 10.254/16."""

FIRST_SERVICE = 32
LAST_SERVICE = 255
"""Offsets of fixed ClusterIPs in a service range. A /16 keeps 1 ... 255 free of ClusterIPs that
Kubernetes picks by itself (service-cluster-ip-range, static band), and uses 1 and 10."""


@dataclass(frozen=True)
class Endpoint:
    """A Service of the lab: a name and an address that outlive pods.

    Attributes:
        name: of the Kubernetes Service, such as `db-0` or `iam`.
        site: whose cluster has it.
        service: the topology's service that it belongs to.
        role: what the pods behind it do.
        pod: name of the one pod behind it; None when all pods of the service at the site are.
        port: where its clients connect.
        cluster_ip: inside its own cluster.
        address: from anywhere in the lab; differs from `cluster_ip` with overlapping ranges only.
    """

    name: str
    site: str
    service: str
    role: Role
    pod: str | None
    port: int
    cluster_ip: str
    address: str

    @property
    def host(self) -> str:
        """Its name in the DNS of every cluster: `<name>.<site>.faultline.test`."""
        return f"{self.name}.{self.site}.{ZONE}"


@dataclass(frozen=True)
class Addresses:
    """Ranges and Services of the sites of one topology, in file order.

    Attributes:
        sites: names of the sites; the first has index 1.
        overlapping: whether all clusters use the same ranges.
        endpoints: all Services, by site and then in order of their addresses.
        ranges: site -> ranges of pods and Services, of clusters that somebody else has made.
    """

    sites: tuple[str, ...]
    overlapping: bool
    endpoints: tuple[Endpoint, ...]
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, topology: Topology, *, overlapping: bool = False) -> Addresses:
        """The addresses of ``topology``.

        Raises:
            LabError: it has more sites, or more Services at a site, than there are addresses; or two
                Services would have the same name, or one that Kubernetes refuses.
        """
        if len(topology.sites) > MOST_SITES:
            raise LabError(
                f"a lab on Kubernetes holds at most {MOST_SITES} sites, "
                f"the topology has {len(topology.sites)}"
            )
        bare = cls(tuple(topology.sites), overlapping, ())
        found = tuple(bare._endpoints(topology))
        _ensure_names_fit(found)
        return replace(bare, endpoints=found)

    def within(self, ranges: Mapping[str, tuple[str, str]]) -> Addresses:
        """The same Services, at the same offsets of the ranges that existing clusters have.

        Args:
            ranges: site -> ranges of pods and of Services.

        Raises:
            LabError: a range of Services is too small.
        """
        moved = []
        for one in self.endpoints:
            old = ipaddress.ip_network(self.service_range(one.site))
            new = ipaddress.ip_network(ranges[one.site][1])
            offset = int(ipaddress.ip_address(one.cluster_ip)) - int(old.network_address)
            if offset >= new.num_addresses - 1:
                raise LabError(f"the range of Services of {one.site} ({new}) has no room for {one.name}")
            address = str(new[offset])
            moved.append(replace(one, cluster_ip=address, address=address))
        return replace(self, endpoints=tuple(moved), ranges=dict(ranges))

    def index(self, site: str) -> int:
        """Number of the site, from 1."""
        return self.sites.index(site) + 1

    def pod_range(self, site: str) -> str:
        """Addresses of the pods, as the site's own cluster has them (podSubnet)."""
        if site in self.ranges:
            return self.ranges[site][0]
        return f"10.{100 + self._own(site)}.0.0/16"

    def service_range(self, site: str) -> str:
        """Addresses of the Services, as the site's own cluster has them (serviceSubnet)."""
        if site in self.ranges:
            return self.ranges[site][1]
        return f"10.{200 + self._own(site)}.0.0/16"

    def seen_pod_range(self, site: str) -> str:
        """Addresses under which the other sites see the site's pods."""
        if site in self.ranges:
            return self.ranges[site][0]
        return f"10.{100 + self.index(site)}.0.0/16"

    def seen_service_range(self, site: str) -> str:
        """Addresses under which the other sites reach the site's Services."""
        if site in self.ranges:
            return self.ranges[site][1]
        return f"10.{200 + self.index(site)}.0.0/16"

    def at(self, site: str) -> tuple[Endpoint, ...]:
        """The Services of one site."""
        return tuple(one for one in self.endpoints if one.site == site)

    def endpoint(self, name: str, site: str) -> Endpoint:
        """The Service ``name`` at ``site``.

        Raises:
            KeyError: there is none.
        """
        for one in self.endpoints:
            if (one.name, one.site) == (name, site):
                return one
        raise KeyError(f"{name}.{site}")

    def hosts(self) -> tuple[tuple[str, str], ...]:
        """Address and name of every Service of every site."""
        return tuple((one.address, one.host) for one in self.endpoints)

    def _own(self, site: str) -> int:
        return 0 if self.overlapping else self.index(site)

    def _endpoints(self, topology: Topology) -> Iterator[Endpoint]:
        for site in self.sites:
            own = ipaddress.ip_network(self.service_range(site))
            seen = ipaddress.ip_network(self.seen_service_range(site))
            for offset, (name, service, role, pod) in enumerate(_services(topology, site), FIRST_SERVICE):
                if offset > LAST_SERVICE:
                    raise LabError(
                        f"site {site} has more than {LAST_SERVICE - FIRST_SERVICE + 1} Services: "
                        "use fewer database members or services"
                    )
                yield Endpoint(
                    name, site, service, role, pod, PORTS[role], str(own[offset]), str(seen[offset])
                )


PORTS: dict[Role, int] = {
    "iam": IAM_PORT,
    "db": MARIADB_PORT,
    "redis": REDIS_PORT,
    "sentinel": SENTINEL_PORT,
    "nginx": NGINX_PORT,
    "haproxy": HTTP_PORT,
}
"""Where the clients of a role connect."""


def sentinel_name(service: str) -> str:
    """Name of the StatefulSet of a Redis service's sentinels."""
    return f"{service}-sentinel"


def counts(topology: Topology, site: str) -> list[tuple[str, str, Role, int]]:
    """The workloads of ``site`` in file order: name, topology's service, role, number of pods."""
    found: list[tuple[str, str, Role, int]] = []
    for name, service in topology.services.items():
        match service:
            case IndigoIam(replicas=replicas):
                found.append((name, name, "iam", replicas.get(site, 0)))
            case Galera(members=members):
                found.append((name, name, "db", members.get(site, 0)))
            case MariadbReplication(primary=primary, replicas=others):
                found.append((name, name, "db", int(site in (primary, *others))))
            case RedisSentinel(primary=primary, replicas=others, sentinels=sentinels):
                found.append((name, name, "redis", int(site in (primary, *others))))
                found.append((sentinel_name(name), name, "sentinel", int(site in sentinels)))
            case Nginx(sites=sites):
                found.append((name, name, "nginx", int(site in sites)))
            case Haproxy(sites=sites):
                found.append((name, name, "haproxy", int(site in sites)))
    return [one for one in found if one[-1]]


STATEFUL: frozenset[Role] = frozenset(("db", "redis", "sentinel"))
"""Roles whose pods have names and addresses of their own."""


def _services(topology: Topology, site: str) -> Iterator[tuple[str, str, Role, str | None]]:
    for name, service, role, count in counts(topology, site):
        if role in STATEFUL:
            for number in range(count):
                yield f"{name}-{number}", service, role, f"{name}-{number}"
        yield name, service, role, None


def _ensure_names_fit(endpoints: tuple[Endpoint, ...]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for one in endpoints:
        if one.name.endswith("-") or one.site.endswith("-"):
            ill = one.name if one.name.endswith("-") else one.site
            raise LabError(
                f"Kubernetes takes no name that ends with a hyphen: rename {ill!r} in the topology"
            )
        other = GATEWAY if one.name == GATEWAY else taken.get((one.name, one.site))
        if other is not None:
            raise LabError(
                f"services {other!r} and {one.service!r} would both be called {one.name!r} at {one.site}: "
                f"rename {one.service!r} in the topology"
            )
        taken[one.name, one.site] = one.service

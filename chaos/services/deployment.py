"""All daemons of a topology, in the stages in which they are started, and how to ask each how it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.errors import LabError
from chaos.lab.layout import Layout
from chaos.services import galera, gdnsd, haproxy, iam, nginx, redis, replication, sentinel
from chaos.services.daemon import Condition, Daemon
from topologies.graph import routes
from topologies.model import (
    DnsBalancer,
    Galera,
    Haproxy,
    IndigoIam,
    Link,
    MariadbReplication,
    Nginx,
    RedisSentinel,
    Topology,
)

SPARE_CONNECTIONS = 30
"""Database connections for the lab's own questions and for replicas."""


@dataclass(frozen=True)
class Deployment:
    """The daemons of a topology.

    Attributes:
        databases, caches, sentinels, services, proxies, front_ends, balancers: by stage of the start:
            each needs the ones before it to come up at once.
    """

    databases: tuple[Daemon, ...]
    caches: tuple[Daemon, ...]
    sentinels: tuple[Daemon, ...]
    services: tuple[Daemon, ...]
    proxies: tuple[Daemon, ...]
    front_ends: tuple[Daemon, ...]
    balancers: tuple[Daemon, ...]

    @property
    def all(self) -> tuple[Daemon, ...]:
        """All of them, in order of their start."""
        return (
            *self.databases,
            *self.caches,
            *self.sentinels,
            *self.services,
            *self.proxies,
            *self.front_ends,
            *self.balancers,
        )


def plan(topology: Topology, layout: Layout) -> Deployment:
    """The daemons of ``topology``.

    Raises:
        LabError: it has something that does not fit the local lab; the message says what to change.
    """
    services = topology.services
    identity = topology.services_of(IndigoIam)
    if len(identity) > 1 or len(topology.services_of(Galera, MariadbReplication)) > 1:
        raise LabError(
            "the local lab runs one identity service on one database: remove the others from `services`"
        )
    if len(topology.services_of(DnsBalancer)) != 1:
        raise LabError(
            "the local lab needs exactly one service of kind dns-balancer, by which users find the front ends"
        )
    for link in topology.links:
        _ensure_buildable(link)
    connections = SPARE_CONNECTIONS + sum(
        count * service.pool for service in identity.values() for count in service.replicas.values()
    )
    databases: list[Daemon] = []
    caches: list[Daemon] = []
    sentinels: list[Daemon] = []
    replicas: list[Daemon] = []
    proxies: list[Daemon] = []
    front_ends: list[Daemon] = []
    balancers: list[Daemon] = []
    distance = distances(topology)
    for name, service in services.items():
        match service:
            case Galera():
                databases += galera.daemons(name, service, layout, connections)
            case MariadbReplication():
                databases += replication.daemons(name, service, layout, connections)
            case RedisSentinel():
                caches += redis.daemons(name, service, layout)
                sentinels += sentinel.daemons(name, service, layout)
            case IndigoIam(database=database, sessions=sessions):
                iam.ensure_buildable(name, service)
                members = services[database]
                store = services[sessions] if sessions is not None else None
                assert isinstance(members, Galera | MariadbReplication)
                assert store is None or isinstance(store, RedisSentinel)
                replicas += iam.daemons(name, service, members, store, layout, distance)
            case Nginx(upstream=upstream):
                behind = services[upstream]
                assert isinstance(behind, IndigoIam)
                proxies += nginx.daemons(name, service, behind, layout)
            case Haproxy(backend=backend):
                servers = services[backend]
                assert isinstance(servers, Nginx | IndigoIam)
                front_ends += haproxy.daemons(name, service, servers, layout)
            case DnsBalancer(targets=targets):
                balanced = services[targets]
                assert isinstance(balanced, Haproxy)
                balancers += gdnsd.daemons(name, service, balanced, layout)
    return Deployment(
        *(tuple(stage) for stage in (databases, caches, sentinels, replicas, proxies, front_ends, balancers))
    )


def _ensure_buildable(link: Link) -> None:
    """Refuse a link that takes clusters.

    Raises:
        LabError: it does.
    """
    between = "-".join(link.between)
    if link.vpn == "liqo":
        raise LabError(f"the link {between} has `vpn: liqo`, which joins clusters: set `vpn: wireguard`")
    if link.nat:
        raise LabError(
            f"the link {between} has `nat: true`, but the local lab has no clusters whose addresses could "
            "overlap: use `--backend kind`, or leave it out"
        )


def distances(topology: Topology) -> dict[tuple[str, str], float]:
    """Round trip in seconds between any two sites, over the shortest route."""
    return {pair: way.rtt for pair, way in routes(topology).items()}


def is_primary(topology: Topology, daemon: Daemon) -> bool:
    """Whether a database server is the primary of a replication service."""
    service = topology.services.get(daemon.service)
    return isinstance(service, MariadbReplication) and service.primary == daemon.site


def condition(topology: Topology, daemon: Daemon) -> Condition:
    """Ask a daemon how it is."""
    if daemon.role == "mariadb":
        if isinstance(topology.services[daemon.service], Galera):
            return galera.condition(daemon)
        return replication.condition(daemon, is_primary(topology, daemon))
    ask: dict[str, Callable[[Daemon], Condition]] = {
        "redis": redis.condition,
        "sentinel": sentinel.condition,
        "iam": iam.condition,
        "nginx": nginx.condition,
        "haproxy": haproxy.condition,
        "gdnsd": gdnsd.condition,
    }
    return ask[daemon.role](daemon)


def is_settled(topology: Topology, daemon: Daemon) -> bool:
    """Whether a daemon is not only up but in the state a fault-free system has.

    A database member is synced with all others, a replica follows, a sentinel sees its primary, a front
    end has all its servers, the balancer has all front ends.
    """
    service = topology.services[daemon.service]
    match daemon.role:
        case "mariadb" if isinstance(service, Galera):
            return galera.is_synced(daemon, sum(service.members.values()))
        case "mariadb" if not is_primary(topology, daemon):
            return replication.follows(daemon)
        case "redis":
            return redis.is_following(daemon)
        case "sentinel":
            return sentinel.sees_primary_up(daemon)
        case "haproxy":
            try:
                states = haproxy.states(daemon)
            except OSError:
                return False
            return bool(states) and all(state in ("UP", "no check") for state in states.values())
        case "gdnsd":
            try:
                monitored = gdnsd.monitored(daemon)
            except (OSError, ValueError, KeyError):
                return False
            return bool(monitored) and set(monitored.values()) == {"UP"}
    return condition(topology, daemon).state == "up"

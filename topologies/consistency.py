"""What a topology's parts must agree on: every name leads somewhere, every timer fits the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import networkx as nx

from topologies.errors import Misfit, MisfitError, Path, suggestion

if TYPE_CHECKING:
    from topologies import model
    from topologies.model import Topology


def ensure_topology_is_consistent(topology: Topology) -> None:
    """Check that the parts of ``topology`` fit together.

    Raises:
        MisfitError: every part that does not fit, with its path and what to write instead.
    """
    misfits = [*_links(topology), *_services(topology), *_clients(topology)]
    if not misfits:  # with an unknown site in a link the components mean nothing
        misfits = list(_connected(topology))
    if misfits:
        raise MisfitError(misfits)


def _unknown_site(topology: Topology, name: str, path: Path, *, on_key: bool = False) -> Misfit:
    hint = suggestion(name, topology.sites, what="sites")
    return Misfit(path, f"unknown site {name!r}", hint=hint, on_key=on_key)


def _links(topology: Topology) -> Iterator[Misfit]:
    seen: dict[frozenset[str], int] = {}
    for number, link in enumerate(topology.links):
        path: Path = ("links", number, "between")
        unknown = [name for name in link.between if name not in topology.sites]
        for name in unknown:
            yield _unknown_site(topology, name, path)
        pair = frozenset(link.between)
        if len(pair) == 1 and not unknown:
            yield Misfit(path, f"site {link.between[0]!r} is linked to itself", "two different sites")
        elif pair in seen:
            yield Misfit(
                path,
                f"{link.between[0]} and {link.between[1]} are already linked by links[{seen[pair]}]",
                "one link per pair of sites",
                "remove one of the two",
            )
        seen.setdefault(pair, number)


def _connected(topology: Topology) -> Iterator[Misfit]:
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(topology.sites)
    graph.add_edges_from(link.between for link in topology.links)
    parts = [sorted(part) for part in nx.connected_components(graph)]
    if len(parts) > 1:
        named = " and ".join("{" + ", ".join(part) + "}" for part in parts)
        yield Misfit(
            ("links",),
            f"no link joins the sites {named}",
            "a path between every two sites",
            f"add for example {{between: [{parts[0][0]}, {parts[1][0]}], rtt: 30ms}}",
        )


def _services(topology: Topology) -> Iterator[Misfit]:
    from topologies import model

    for name, service in topology.services.items():
        path: Path = ("services", name)
        match service:
            case model.IndigoIam():
                yield from _indigo_iam(topology, service, path)
            case model.Galera():
                yield from _placed(topology, service.members, (*path, "members"))
                yield from _galera_timers(service, path)
            case model.MariadbReplication():
                yield from _primary_and_replicas(topology, service, path)
            case model.RedisSentinel():
                yield from _primary_and_replicas(topology, service, path)
                yield from _redis_sentinel(topology, service, path)
            case model.Nginx():
                yield from _nginx(topology, service, path)
            case model.Haproxy():
                yield from _haproxy(topology, service, path)
            case model.DnsBalancer():
                yield from _refers(topology, service.targets, ("haproxy",), (*path, "targets"))


def _placed(topology: Topology, sites: Iterable[str], path: Path) -> Iterator[Misfit]:
    """Keys or list entries under ``path`` are known sites, at least one, none twice."""
    names = list(sites)
    on_key = not isinstance(sites, list)
    if not names:
        yield Misfit(path, "nothing is placed anywhere", "at least one site")
    for place, name in enumerate(names):
        where: Path = (*path, name if on_key else place)
        if name not in topology.sites:
            yield _unknown_site(topology, name, where, on_key=on_key)
        elif name in names[:place]:
            yield Misfit(where, f"site {name!r} is listed twice", hint="remove one of the two")


def _refers(topology: Topology, name: str, kinds: Sequence[str], path: Path) -> Iterator[Misfit]:
    """``name`` is a service of one of ``kinds``."""
    fitting = [other for other, service in topology.services.items() if service.kind in kinds]
    wanted = f"a service of kind {' or '.join(kinds)}"
    if name not in topology.services:
        hint = suggestion(name, fitting) if fitting else f"add {wanted}"
        yield Misfit(path, f"there is no service {name!r}", wanted, hint)
    elif name not in fitting:
        hint = suggestion(name, fitting) if fitting else f"add {wanted}"
        yield Misfit(path, f"service {name!r} is of kind {topology.services[name].kind}", wanted, hint)


def _indigo_iam(topology: Topology, service: model.IndigoIam, path: Path) -> Iterator[Misfit]:
    yield from _placed(topology, service.replicas, (*path, "replicas"))
    databases = ("galera", "mariadb-replication")
    yield from _refers(topology, service.database, databases, (*path, "database"))
    if service.sessions is not None:
        yield from _refers(topology, service.sessions, ("redis-sentinel",), (*path, "sessions"))


def _galera_timers(service: model.Galera, path: Path) -> Iterator[Misfit]:
    """The provider refuses these orders of its timers (components.md 1.9, read in gcomm)."""
    for low, factor, high in (
        ("inactive_check_period", 2, "suspect_timeout"),
        ("keepalive_period", 3, "suspect_timeout"),
        ("install_timeout", 1, "inactive_timeout"),
    ):
        value, bound = getattr(service, low), getattr(service, high) / factor
        if value > bound:
            share = high if factor == 1 else f"{high}/{factor}"
            set_here = low in service.model_fields_set
            yield Misfit(
                (*path, low if set_here else high),
                f"{low} is {value:g}s" + ("" if set_here else " (its default)"),
                f"{low} <= {share} = {bound:g}s",
                f"set {low}: {bound:g}s or less, or raise {high}",
            )


def _primary_and_replicas(
    topology: Topology, service: model.MariadbReplication | model.RedisSentinel, path: Path
) -> Iterator[Misfit]:
    if service.primary not in topology.sites:
        yield _unknown_site(topology, service.primary, (*path, "primary"))
    if service.replicas:
        yield from _placed(topology, service.replicas, (*path, "replicas"))
    if service.primary in service.replicas:
        place = service.replicas.index(service.primary)
        yield Misfit(
            (*path, "replicas", place),
            f"site {service.primary!r} already has the primary",
            hint=f"remove {service.primary!r} from the replicas",
        )


def _redis_sentinel(topology: Topology, service: model.RedisSentinel, path: Path) -> Iterator[Misfit]:
    yield from _placed(topology, service.sentinels, (*path, "sentinels"))
    count = len(service.sentinels)
    if service.quorum is not None and service.quorum > count:
        yield Misfit(
            (*path, "quorum"),
            f"a quorum of {service.quorum} can never agree with {count} sentinel{'s'[: count != 1]}",
            f"at most {count}",
            "lower it, or leave it out for a majority",
        )


def _without_backend(
    topology: Topology, sites: Sequence[str], backend: str, path: Path, why: str
) -> Iterator[Misfit]:
    """Listed sites at which ``backend`` has no replica."""
    at = sites_of(topology, backend)
    for place, site in enumerate(sites):
        if site in topology.sites and at and site not in at:
            yield Misfit(
                (*path, place),
                f"{backend!r} has no replica at {site!r}, {why}",
                hint=f"add one there, or remove {site!r} here",
            )


def _nginx(topology: Topology, service: model.Nginx, path: Path) -> Iterator[Misfit]:
    yield from _placed(topology, service.sites, (*path, "sites"))
    yield from _refers(topology, service.upstream, ("indigo-iam",), (*path, "upstream"))
    why = "and nginx only serves the replicas of its own site"
    yield from _without_backend(topology, service.sites, service.upstream, (*path, "sites"), why)


def _haproxy(topology: Topology, service: model.Haproxy, path: Path) -> Iterator[Misfit]:
    yield from _placed(topology, service.sites, (*path, "sites"))
    yield from _refers(topology, service.backend, ("nginx", "indigo-iam"), (*path, "backend"))
    if service.reach == "local":
        why = "and `reach: local` leaves this front end without a server"
        yield from _without_backend(topology, service.sites, service.backend, (*path, "sites"), why)


def _clients(topology: Topology) -> Iterator[Misfit]:
    for name, clients in topology.clients.items():
        if clients.site not in topology.sites:
            yield _unknown_site(topology, clients.site, ("clients", name, "site"))


def sites_of(topology: Topology, name: str) -> Counter[str]:
    """How many processes of the service ``name`` run at each site, in the topology's site order.

    Redis counts data nodes, not sentinels; a DNS balancer stands outside the sites. An unknown
    name has none.
    """
    from topologies import model

    counts: Counter[str] = Counter()
    match topology.services.get(name):
        case model.IndigoIam(replicas=replicas):
            counts.update(replicas)
        case model.Galera(members=members):
            counts.update(members)
        case model.MariadbReplication() | model.RedisSentinel() as service:
            counts.update([service.primary, *service.replicas])
        case model.Nginx(sites=sites) | model.Haproxy(sites=sites):
            counts.update(sites)
    return Counter({site: counts[site] for site in topology.sites if counts[site]})

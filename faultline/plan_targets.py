"""What a fault on a component touches and how far that reaches, as far as the topology alone tells."""

from __future__ import annotations

from experiments.targets import components
from topologies.model import Galera, IndigoIam, RedisSentinel, Topology


def touched(target: str, topology: Topology) -> list[str]:
    """The components that ``target`` names: one, or all of a service at a site."""
    return [name for name in components(topology) if name == target or name.startswith(f"{target}/")]


def reach(target: str, topology: Topology) -> list[str]:
    """What it means for the services that these components are not there, or not heard."""
    service, site = place(target)
    count = len(touched(target, topology))
    model = topology.services[service]
    told = []
    if isinstance(model, IndigoIam):
        told.append(f"{service}: {count} of {model.replicas.get(site, 0)} replicas at {site}")
    if isinstance(model, Galera):
        total = sum(model.members.values())
        state = "keep" if total - count > total / 2 else "lose"
        told.append(f"{service}: {total - count} of {total} members stay and {state} the majority")
    if isinstance(model, RedisSentinel) and model.primary == site:
        told.append(f"{service}: its primary, so the sentinels must elect another")
    told += [
        f"users at {clients.site} ({name}) have it nearest"
        for name, clients in topology.clients.items()
        if clients.site == site
    ]
    return told


def place(target: str) -> tuple[str, str]:
    """Service and site of a target."""
    service, _, rest = target.partition("@")
    return service, rest.partition("/")[0]

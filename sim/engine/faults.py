"""Faults in the model: what changes when one is put in force, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from experiments.kubernetes_faults import KubernetesFault
from sim.engine import kubernetes_faults
from sim.engine.database import is_member
from sim.engine.world import Daemon
from sim.program import PUBLIC, VPN

if TYPE_CHECKING:
    from sim.engine.deployment import Deployment

Undo = Callable[[], None]


def inject(deployment: Deployment, fault: Fault) -> Undo:
    """Put ``fault`` in force now and return its inverse.

    Raises:
        ValueError: it names something that is not there.
    """
    if deployment.clusters is not None:
        undo = kubernetes_faults.inject(deployment.clusters, fault)
        if undo is not None:
            return undo
    if isinstance(fault, Kill):
        return _kill(deployment, fault)
    if isinstance(fault, Pause):
        return _pause(deployment, fault)
    if isinstance(fault, Partition):
        return _partition(deployment, fault)
    if isinstance(fault, KubernetesFault):
        raise ValueError(f"{fault.fault} takes a Kubernetes platform, and this model has plain processes")
    return _degrade(deployment, fault)


def targets(deployment: Deployment, target: str) -> list[Daemon]:
    """The processes that a fault's target names.

    Raises:
        ValueError: none; the message lists what there is.
    """
    daemons = deployment.world.daemons
    if target in daemons:
        return [daemons[target]]
    found = [daemon for name, daemon in daemons.items() if name.rpartition("/")[0] == target]
    if not found and target.endswith("/0") and target[:-2] in daemons:
        return [daemons[target[:-2]]]
    if not found:
        raise ValueError(f"there is no {target}; there are {', '.join(daemons)}")
    return found


def _kill(deployment: Deployment, fault: Kill) -> Undo:
    world = deployment.world
    killed = [daemon for daemon in targets(deployment, fault.target) if daemon.up]
    for daemon in killed:
        if is_member(daemon):
            daemon.database.kill(daemon, graceful=fault.signal == "TERM")
        else:
            daemon.kill()

    def start(daemon: Daemon) -> None:
        if is_member(daemon):
            daemon.database.started(daemon)
        else:
            daemon.start()

    def undo() -> None:
        for daemon in killed:
            if is_member(daemon):
                delay = daemon.database.start_time(daemon)
            else:
                kind = daemon.component.kind
                cost = f"start_{'redis' if kind == 'sentinel' else kind}"
                delay = world.cost(cost, "start", daemon.name)
            world.at(delay, lambda daemon=daemon: start(daemon))  # type: ignore[misc]

    return undo


def _pause(deployment: Deployment, fault: Pause) -> Undo:
    paused = [daemon for daemon in targets(deployment, fault.target) if daemon.answering]
    for daemon in paused:
        daemon.pause()

    def undo() -> None:
        for daemon in paused:
            daemon.resume()

    return undo


def _partition(deployment: Deployment, fault: Partition) -> Undo:
    network = deployment.world.network
    paths = (VPN,) if fault.path == "vpn" else (VPN, PUBLIC)
    directions = grudges(deployment, fault)
    for path in paths:
        for source, target in directions:
            network.cut(path, source, target)
    network.apply()
    links = [(a, b) for a, b in deployment.links if {(a, b), (b, a)} & set(directions)]
    sites = deployment.world.program.sites
    for a, b in links:
        deployment.world.recorder.event(f"{sites[a]}-{sites[b]}", "link.cut", fault.path)

    def undo() -> None:
        for path in paths:
            for source, target in directions:
                network.repair(path, source, target)
        network.apply()
        for a, b in links:
            deployment.world.recorder.event(f"{sites[a]}-{sites[b]}", "link.healed", fault.path)

    return undo


def grudges(deployment: Deployment, fault: Partition) -> list[tuple[int, int]]:
    """Directions (from, to) in which nothing passes any more.

    Raises:
        ValueError: an unknown site, or not exactly one way of saying who.
    """
    sites = list(range(len(deployment.world.program.sites)))
    if sum(part is not None for part in (fault.isolate, fault.between, fault.grudge)) != 1:
        raise ValueError("a partition needs exactly one of isolate, between and grudge")
    if fault.isolate is not None:
        inside = {deployment.site(name) for name in fault.isolate}
        return [(a, b) for a in sites for b in sites if (a in inside) != (b in inside)]
    if fault.between is not None:
        a, b = (deployment.site(name) for name in fault.between)
        return [(a, b), (b, a)]
    assert fault.grudge is not None
    return [
        (deployment.site(source), deployment.site(name))
        for name, sources in fault.grudge.items()
        for source in sources
    ]


def _degrade(deployment: Deployment, fault: Degrade) -> Undo:
    a, b = (deployment.site(name) for name in fault.between)
    if not {(a, b), (b, a)} & set(deployment.links):
        raise ValueError(f"there is no link between {fault.between[0]} and {fault.between[1]}")
    values = {
        "delay": None if fault.rtt is None else fault.rtt / 2,
        "jitter": fault.jitter,
        "loss": fault.loss,
        "bandwidth": fault.bandwidth,
    }
    given = {name: value for name, value in values.items() if value is not None}
    network = deployment.world.network
    network.degrade(a, b, {**given})
    return lambda: network.degrade(a, b, dict.fromkeys(given))

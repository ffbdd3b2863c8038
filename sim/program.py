"""Compile a topology, a workload and a timeline into one flat value.

A Program is all that an engine needs: arrays and plain data, no object of the topology. It can
be written down, sent to another process and hashed; its hash stands in every prediction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.faults import ScheduledFault
from experiments.workload import Workload
from sim import profile as profiles
from sim.calibration import Calibration, Estimate
from sim.jobs import JobTables, with_jobs
from sim.machine import Sharing, sharing
from sim.protocols import gaps
from sim.steps import StepTables, compile_steps, refusal
from topologies.model import (
    Galera,
    Haproxy,
    IndigoIam,
    MariadbReplication,
    Nginx,
    RedisSentinel,
    Topology,
)

VPN, PUBLIC = 0, 1
"""The two paths between sites: service to service, and the public network."""

VPN_OVERHEAD = 60
"""Bytes that WireGuard adds to a packet over IPv4 (components.md 7.1)."""

UNREACHABLE = float("inf")

Size = Literal["lab", "production"]

Platform = Literal["kubernetes"]
"""What carries the processes: nothing but nodes when not given, or a Kubernetes cluster per site."""


@dataclass(frozen=True)
class Component:
    """One process that can be killed or paused.

    Attributes:
        name: `service@site`, or `service@site/index` where a site has several.
        service: name of its service.
        kind: `iam`, `db`, `redis`, `sentinel`, `nginx` or `haproxy`.
        site: index of its site.
        index: counts from 0 at that site.
        cpu: index of its CPU station.
    """

    name: str
    service: str
    kind: str
    site: int
    index: int
    cpu: int


@dataclass(frozen=True)
class Program:
    """The compiled value.

    Attributes:
        sites: names, in file order; every site index refers to it.
        components: all processes, in file order.
        links: the two sites of each link, as indices, in file order.
        services: parameters of each service as plain data.
        clients: populations as plain data.
        workload: as plain data.
        faults: the timeline as plain data.
        costs: mean and coefficient of variation of calibrated costs, by name.
        demand_cv: per request kind, variation of (app CPU, DB CPU).
        machine: settings of the machine's kernel.
        arrays: named arrays: `cpu_cores`, `cpu_quota`, `cpu_period` and `cpu_set` of every CPU station, the
            last an index into `set_cores`, cores that stations share (-1: none); per path `delay`, `jitter`,
            `loss`, `bandwidth` as [path, from, to] matrices (one way; infinite delay where no route is);
            `next_hop` [path, from, to]; `page_rows`, access tokens in a page of the database;
            the step tables; and those of background jobs.
        platform: of a program on Kubernetes: its settings, nodes and pods (sim.pods).
    """

    sites: tuple[str, ...]
    components: tuple[Component, ...]
    links: tuple[tuple[int, int], ...]
    services: dict[str, dict[str, Any]]
    clients: dict[str, dict[str, Any]]
    workload: dict[str, Any]
    faults: tuple[dict[str, Any], ...]
    costs: dict[str, tuple[float, float]]
    demand_cv: dict[str, tuple[float, float]]
    machine: dict[str, float]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    platform: dict[str, Any] | None = None

    @property
    def steps(self) -> StepTables:
        """The step tables."""
        return StepTables(**{name: self.arrays[f"step_{name}"] for name in StepTables.__annotations__})

    @property
    def jobs(self) -> JobTables | None:
        """The background jobs of the identity service; None where it has none."""
        return JobTables.of(self.arrays)

    def to_json(self) -> str:
        """Canonical text: equal programs give equal bytes, on every machine and Python."""
        data: dict[str, Any] = {
            "sites": self.sites,
            "components": [vars(component) for component in self.components],
            "links": self.links,
            "services": self.services,
            "clients": self.clients,
            "workload": self.workload,
            "faults": self.faults,
            "costs": self.costs,
            "demand_cv": self.demand_cv,
            "machine": self.machine,
            "arrays": {
                name: {"dtype": array.dtype.str, "shape": array.shape, "values": array.ravel().tolist()}
                for name, array in self.arrays.items()
            },
        }
        if self.platform is not None:
            data["platform"] = self.platform
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Program:
        """The inverse of `to_json`."""
        data = json.loads(text)
        return cls(
            sites=tuple(data["sites"]),
            components=tuple(Component(**component) for component in data["components"]),
            links=tuple((a, b) for a, b in data["links"]),
            services=data["services"],
            clients=data["clients"],
            workload=data["workload"],
            faults=tuple(data["faults"]),
            costs={name: (mean, cv) for name, (mean, cv) in data["costs"].items()},
            demand_cv={name: (app, db) for name, (app, db) in data["demand_cv"].items()},
            machine=data["machine"],
            arrays={
                name: np.array(array["values"], dtype=array["dtype"]).reshape(array["shape"])
                for name, array in data["arrays"].items()
            },
            platform=data.get("platform"),
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def compile_program(
    topology: Topology,
    workload: Workload,
    timeline: Sequence[ScheduledFault] = (),
    calibration: Calibration | None = None,
    *,
    size: Size = "lab",
    platform: Platform | None = None,
) -> Program:
    """Compile what exists, what is done and what breaks into a Program.

    Args:
        topology: the deployment.
        workload: users and probes.
        timeline: faults over time.
        calibration: demands of the machine; the shipped ones by default.
        size: `lab` puts every node under a CPU quota of `cpu` cores on the one calibrated machine;
            `production` gives it `cpu` whole cores.
        platform: `kubernetes` puts every process into a pod of its own with a CPU limit.

    Raises:
        ValueError: the topology has no identity service or front end, so there is nothing to ask, or
            the service profile lacks what the workload asks for.
    """
    calibration = calibration or Calibration.default()
    services = topology.services
    iams = [service for service in services.values() if isinstance(service, IndigoIam)]
    if len(iams) != 1:
        raise ValueError(f"a prediction needs exactly one indigo-iam service, the topology has {len(iams)}")
    if not any(isinstance(service, Haproxy) for service in services.values()):
        raise ValueError("a prediction needs a haproxy service in front of the identity service")
    refused = refusal(workload, calibration, iams[0])
    if refused:
        raise ValueError(refused)
    sites = tuple(topology.sites)
    clusters = len(sites) if platform is not None else 0
    shared = sharing(topology, workload, calibration, clusters) if size == "lab" else None
    stations, cpus = _stations(topology, calibration, shared)
    components = tuple(_components(topology, sites, stations))
    carried: dict[str, Any] | None = None
    costs = _costs(calibration)
    if platform is not None:
        from sim import pods

        carried = pods.compile_platform(topology, components, size)
        components, cpus = pods.pod_stations(topology, components, calibration, shared)
        costs |= pods.pod_costs(calibration)
    arrays = cpus | _paths(topology, sites, calibration)
    database = services[iams[0].database]
    assert isinstance(database, Galera | MariadbReplication)
    steps, jobs = with_jobs(compile_steps(iams[0], calibration, database.isolation), iams[0], calibration)
    arrays["page_rows"] = np.array([gaps.page_rows((calibration.profile or profiles.load()).token_row)])
    arrays |= {f"step_{name}": array for name, array in vars(steps).items()}
    if jobs is not None:
        arrays |= jobs.arrays()
    requests = calibration.requests
    machine = {"tcp_syn_linear_timeouts": float(calibration.machine.tcp_syn_linear_timeouts)}
    return Program(
        sites=sites,
        components=components,
        links=tuple((sites.index(link.between[0]), sites.index(link.between[1])) for link in topology.links),
        services={name: service.model_dump() for name, service in services.items()},
        clients={name: clients.model_dump() for name, clients in topology.clients.items()},
        workload=workload.model_dump(),
        faults=tuple(fault.model_dump() for fault in timeline),
        costs=costs,
        demand_cv={kind: (requests[kind].app_cpu.cv, requests[kind].db_cpu.cv) for kind in requests},
        machine=machine,
        arrays=arrays,
        platform=carried,
    )


def _stations(
    topology: Topology, calibration: Calibration, shared: Sharing | None
) -> tuple[list[list[int]], dict[str, NDArray[Any]]]:
    """One CPU station per node, or per node of a host that sites share; stations by site, and the arrays."""
    stations: list[list[int]] = []
    hosts: dict[tuple[str, int], int] = {}
    cores: list[float] = []
    quota: list[float] = []
    sets: list[int] = []
    most = 1.0 if shared is not None and shared.tied else float(calibration.machine.cores)
    for place, site in enumerate(topology.sites.values()):
        mine: list[int] = []
        for node in range(site.nodes):
            host = None if site.host is None or shared is not None else (site.host, node)
            station = hosts.get(host, -1) if host is not None else -1
            if station < 0:
                station = len(cores)
                cores.append(0.0)
                quota.append(0.0)
                sets.append(-1 if shared is None else shared.sets[place])
                if host is not None:
                    hosts[host] = station
            own = site.cpu if shared is None else max(most, site.cpu)
            cores[station] = max(cores[station], own)
            quota[station] = max(quota[station], site.cpu)
            mine.append(station)
        stations.append(mine)
    return stations, {
        "cpu_cores": np.array(cores),
        "cpu_quota": np.array(quota),
        "cpu_period": np.full(len(cores), calibration.machine.quota_period),
        "cpu_set": np.array(sets),
        "set_cores": np.array([] if shared is None else shared.cores),
    }


def _components(topology: Topology, sites: tuple[str, ...], stations: list[list[int]]) -> list[Component]:
    found: list[Component] = []
    for name, service in topology.services.items():
        if isinstance(service, IndigoIam):
            places = [("iam", dict(service.replicas))]
        elif isinstance(service, Galera):
            places = [("db", dict(service.members))]
        elif isinstance(service, MariadbReplication):
            places = [("db", dict.fromkeys([service.primary, *service.replicas], 1))]
        elif isinstance(service, RedisSentinel):
            places = [
                ("redis", dict.fromkeys([service.primary, *service.replicas], 1)),
                ("sentinel", dict.fromkeys(service.sentinels, 1)),
            ]
        elif isinstance(service, Nginx):
            places = [("nginx", dict.fromkeys(service.sites, 1))]
        elif isinstance(service, Haproxy):
            places = [("haproxy", dict.fromkeys(service.sites, 1))]
        else:
            continue
        for kind, counts in places:
            for site_name, count in counts.items():
                site = sites.index(site_name)
                for index in range(count):
                    label = name if kind != "sentinel" else f"{name}-sentinel"
                    found.append(
                        Component(
                            name=f"{label}@{site_name}" + (f"/{index}" if count > 1 else ""),
                            service=name,
                            kind=kind,
                            site=site,
                            index=index,
                            cpu=stations[site][index % len(stations[site])],
                        )
                    )
    return found


def _paths(topology: Topology, sites: tuple[str, ...], calibration: Calibration) -> dict[str, NDArray[Any]]:
    """Routes for both paths: the link where there is one, else the shortest way over links."""
    count = len(sites)
    shape = (2, count, count)
    delay = np.full(shape, UNREACHABLE)
    jitter, loss = np.zeros(shape), np.zeros(shape)
    bandwidth = np.full(shape, np.inf)
    next_hop = np.full(shape, -1, dtype=np.int64)
    for path in (VPN, PUBLIC):
        for i in range(count):
            delay[path, i, i] = 0.0
            next_hop[path, i, i] = i
        for link in topology.links:
            a, b = (sites.index(name) for name in link.between)
            for i, j in ((a, b), (b, a)):
                one_way = link.one_way(sites[i])
                if one_way < delay[path, i, j]:
                    delay[path, i, j] = one_way
                    jitter[path, i, j], loss[path, i, j] = link.jitter, link.loss
                    bandwidth[path, i, j], next_hop[path, i, j] = link.bandwidth, j
        for k in range(count):
            for i in range(count):
                for j in range(count):
                    detour = delay[path, i, k] + delay[path, k, j]
                    # Two sites with a link talk over it, whatever a detour would cost.
                    if next_hop[path, i, j] != j and detour < delay[path, i, j] - 1e-12:
                        delay[path, i, j] = detour
                        jitter[path, i, j] = jitter[path, i, k] + jitter[path, k, j]
                        loss[path, i, j] = 1 - (1 - loss[path, i, k]) * (1 - loss[path, k, j])
                        bandwidth[path, i, j] = min(bandwidth[path, i, k], bandwidth[path, k, j])
                        next_hop[path, i, j] = next_hop[path, i, k]
    extra = _extra_delays(topology, sites, next_hop, calibration)
    delay += extra
    bandwidth[~np.isfinite(bandwidth)] = 1e12
    return {
        "delay": delay,
        "jitter": jitter,
        "loss": loss,
        "bandwidth": bandwidth,
        "next_hop": next_hop,
        "extra_delay": extra,
    }


def _extra_delays(
    topology: Topology, sites: tuple[str, ...], next_hop: NDArray[np.int64], calibration: Calibration
) -> NDArray[np.float64]:
    """What a way costs beyond its links' delays, once: the VPN's price if any hop has one."""
    count = len(sites)
    extra = np.zeros((2, count, count))
    tunnels = {
        frozenset(sites.index(name) for name in link.between) for link in topology.links if link.vpn != "none"
    }
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            extra[PUBLIC, i, j] = extra[VPN, i, j] = calibration.public_delay.mean
            here = i
            while here != j and next_hop[VPN, here, j] >= 0:
                following = int(next_hop[VPN, here, j])
                if frozenset((here, following)) in tunnels:
                    extra[VPN, i, j] = calibration.vpn_delay.mean
                here = following
    return extra


def _costs(calibration: Calibration) -> dict[str, tuple[float, float]]:
    found = {
        name: getattr(calibration, name)
        for name in ("proxy_cpu", "apply_cpu", "local_commit", "statement_rtt", "load_cpu")
    }
    start, refill = calibration.start, calibration.refill
    found["group_message"] = calibration.group_message or Estimate(mean=0.0)
    found["refill_app"] = refill.app if refill else Estimate(mean=0.0)
    found["refill_db"] = refill.db if refill else Estimate(mean=0.0)
    found |= {f"start_{name}": getattr(start, name) for name in type(start).model_fields}
    return {name: (estimate.mean, estimate.cv) for name, estimate in found.items()}

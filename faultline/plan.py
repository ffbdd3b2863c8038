"""What an experiment would do, without doing any of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from experiments.faults import Degrade, Fault, Kill, Partition, Pause, ScheduledFault
from experiments.kubernetes_faults import KubernetesFault
from experiments.targets import grudge
from faultline import plan_kubernetes, plan_targets
from faultline.inputs import Inputs
from topologies.grudge import components as islands
from topologies.model import Galera, RedisSentinel, Topology
from topologies.quantities import BANDWIDTH_UNITS, DURATION_UNITS, RATIO_UNITS, spell

OVERHEAD = 75.0
"""Seconds for bringing the local lab up and down and for the audit, on two cores."""

CLUSTER_OVERHEAD = 180.0
"""The same for a lab of two kind clusters whose images are there."""


@dataclass(frozen=True)
class Step:
    """One fault of the plan.

    Attributes:
        at: seconds since the load started.
        until: likewise; None: the end of the load.
        what: what is broken, in words.
        touches: components and links it acts on.
        reach: what it means for the services, as far as it follows from the topology alone.
        undo: what takes it back.
    """

    name: str
    at: float
    until: float | None
    what: str
    touches: list[str]
    reach: list[str]
    undo: str


@dataclass(frozen=True)
class Plan:
    """All of them, and how long a run takes.

    Attributes:
        load: seconds of load.
        expected: seconds of the whole run.
        safety: what keeps it from doing harm.
        objects: site -> what is put into an existing cluster, as `kind/name`.
        rights: that this takes, as a manifest.
    """

    title: str
    steps: list[Step]
    load: float
    expected: float
    safety: list[str]
    objects: dict[str, list[str]] = field(default_factory=dict)
    rights: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def make_plan(inputs: Inputs) -> Plan:
    """Say what running ``inputs`` would do."""
    duration = inputs.experiment.workload.duration
    touched = "namespaces (fl-*), control group (faultline) and directory"
    if inputs.platform is not None:
        touched = f"clusters (fl-*), {touched}"
    return Plan(
        inputs.experiment.title,
        [_step(scheduled, inputs.topology) for scheduled in inputs.timeline],
        duration,
        duration + (OVERHEAD if inputs.platform is None else CLUSTER_OVERHEAD),
        [
            f"only the lab's own {touched} are touched",
            "each inverse is on disk before its fault is applied",
            "after a crash or power cut: faultline heal",
        ],
    )


def _step(scheduled: ScheduledFault, topology: Topology) -> Step:
    fault = scheduled.fault
    return Step(
        scheduled.name,
        scheduled.at,
        None if scheduled.duration is None else scheduled.at + scheduled.duration,
        _what(fault),
        _touches(fault, topology),
        list(dict.fromkeys(_reach(fault, topology))),
        _undo(fault),
    )


def _what(fault: Fault) -> str:
    if isinstance(fault, Kill):
        return f"{fault.target}: SIG{fault.signal} to its processes"
    if isinstance(fault, Pause):
        return f"{fault.target}: SIGSTOP to its processes"
    if isinstance(fault, Degrade):
        return f"link {fault.between[0]}-{fault.between[1]}: {', '.join(_degraded(fault))}"
    if isinstance(fault, KubernetesFault):
        return plan_kubernetes.what(fault)
    path = "VPN packets" if fault.path == "vpn" else "all packets"
    if fault.isolate is not None:
        return f"{path} between {', '.join(fault.isolate)} and every other site are dropped"
    if fault.between is not None:
        return f"{path} between {fault.between[0]} and {fault.between[1]} are dropped"
    refused = "; ".join(
        f"{who} hears nothing from {', '.join(whom)}" for who, whom in (fault.grudge or {}).items()
    )
    return f"{path} are dropped: {refused}"


def _degraded(fault: Degrade) -> list[str]:
    values = {
        "RTT": (fault.rtt, DURATION_UNITS),
        "jitter": (fault.jitter, DURATION_UNITS),
        "loss": (fault.loss, RATIO_UNITS),
        "bandwidth": (fault.bandwidth, BANDWIDTH_UNITS),
    }
    return [f"{name} {spell(value, units)}" for name, (value, units) in values.items() if value is not None]


def _undo(fault: Fault) -> str:
    if isinstance(fault, Kill):
        return f"start {fault.target} again, with its crash recovery"
    if isinstance(fault, Pause):
        return f"SIGCONT to {fault.target}"
    if isinstance(fault, Degrade):
        return f"restore the topology's values of {fault.between[0]}-{fault.between[1]} in the relay"
    if isinstance(fault, KubernetesFault):
        return plan_kubernetes.undo(fault)
    return "remove the cuts from the relay"


def _touches(fault: Fault, topology: Topology) -> list[str]:
    if isinstance(fault, Kill | Pause):
        return plan_targets.touched(fault.target, topology)
    if isinstance(fault, Degrade):
        return [f"{fault.between[0]}-{fault.between[1]}"]
    if isinstance(fault, KubernetesFault):
        return plan_kubernetes.touches(fault, topology)
    return [
        f"{other}->{who}" for who, unheard in grudge(fault, topology).items() for other in sorted(unheard)
    ]


def _reach(fault: Fault, topology: Topology) -> list[str]:
    if isinstance(fault, Degrade):
        return ["every request or replication message that crosses this link"]
    if isinstance(fault, Kill | Pause):
        return plan_targets.reach(fault.target, topology)
    if isinstance(fault, KubernetesFault):
        return plan_kubernetes.reach(fault, topology)
    return _reach_of_partition(fault, topology)


def _reach_of_partition(fault: Partition, topology: Topology) -> list[str]:
    groups = islands(list(topology.sites), grudge(fault, topology))
    told = [f"sites that still hear one another: {' | '.join(', '.join(sorted(group)) for group in groups)}"]
    for name, service in topology.services.items():
        if isinstance(service, Galera):
            total = sum(service.members.values())
            for group in groups:
                here = sum(count for site, count in service.members.items() if site in group)
                if here:
                    state = "keep" if here > total / 2 else "lose"
                    told.append(
                        f"{name}: {here} of {total} members ({', '.join(sorted(group))}) {state} the majority"
                    )
        if isinstance(service, RedisSentinel):
            quorum = len(service.sentinels) // 2 + 1
            for group in groups:
                votes = sum(site in group for site in service.sentinels)
                if service.primary not in group and votes >= max(quorum, service.quorum or quorum):
                    told.append(
                        f"{name}: {votes} sentinels ({', '.join(sorted(group))}) can elect a new primary"
                    )
    return told

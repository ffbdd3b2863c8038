"""Which pod is which component of a topology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chaos.errors import LabError
from chaos.kube.addresses import NAMESPACE, STATEFUL, Addresses, Endpoint, counts
from chaos.kube.manifests.objects import Workload
from topologies.kubernetes import Role
from topologies.model import Topology


@dataclass(frozen=True)
class PodReference:
    """How to find the pod of a component, and how to reach what runs in it.

    Attributes:
        component: `service@site`, with `/index` where the site has several; `<service>-sentinel@site`.
        site: whose cluster has it.
        service: of the topology.
        role: what it does; also the name of its container.
        kind: of its workload.
        workload: name of its Deployment or StatefulSet.
        replicas: pods of the workload.
        index: its number among them. Pods of a Deployment have no numbers: counted in the order of their
            creation.
        pod: its name, where it has one for good.
        endpoint: the Service by which it is reached; for pods of a Deployment, that of all of them.
    """

    component: str
    site: str
    service: str
    role: Role
    kind: Literal["Deployment", "StatefulSet"]
    workload: str
    replicas: int
    index: int
    pod: str | None
    endpoint: Endpoint
    namespace: str = NAMESPACE

    @property
    def container(self) -> str:
        """Name of its container."""
        return self.role

    @property
    def selector(self) -> str:
        """Label selector of all pods of its workload."""
        labels = Workload(self.workload, self.service, self.role).selector
        return ",".join(f"{key}={value}" for key, value in labels.items())


def pods(topology: Topology, *, overlapping: bool = False) -> dict[str, PodReference]:
    """All components that are pods, by name: those of `experiments.targets`, and the sentinels."""
    addresses = Addresses.of(topology, overlapping=overlapping)
    found = {}
    for site in topology.sites:
        for name, service, role, count in counts(topology, site):
            for index in range(count):
                component = f"{name}@{site}" if count == 1 else f"{name}@{site}/{index}"
                pod = f"{name}-{index}" if role in STATEFUL else None
                found[component] = PodReference(
                    component=component,
                    site=site,
                    service=service,
                    role=role,
                    kind="StatefulSet" if pod else "Deployment",
                    workload=name,
                    replicas=count,
                    index=index,
                    pod=pod,
                    endpoint=addresses.endpoint(pod or name, site),
                )
    return found


def pod_of(topology: Topology, component: str) -> PodReference:
    """The pod of one component.

    Raises:
        LabError: the topology has no such component.
    """
    known = pods(topology)
    if component not in known:
        raise LabError(f"no pod is {component!r}: there are {', '.join(known)}")
    return known[component]

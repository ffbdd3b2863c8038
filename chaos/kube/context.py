"""What Kubernetes faults need of a lab, in the narrowest form: the lab implements it, tests imitate it.

Two ways lead to a cluster. `Actions` go through its API server and work on any cluster where the
caller has the rights; `Machines` go behind its back, to nodes that are containers of this machine.
A lab that does not own its nodes has machines that refuse.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaos.faults.context import Component, FaultContext
from chaos.host.processes import Process

ALLOWED_LABEL = "faultline.io/chaos-allowed"
"""A namespace without this label set to `true` is never touched."""

SYSTEM_NAMESPACE = "kube-system"


@dataclass(frozen=True, order=True)
class Workload:
    """A Deployment or StatefulSet.

    Attributes:
        site: whose cluster has it.
        namespace: where it is.
        kind: `Deployment` or `StatefulSet`.
        name: of the object.
    """

    site: str
    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        """As kubectl names it, with the site."""
        return f"{self.kind.lower()}/{self.name} at {self.site}"


@dataclass(frozen=True)
class Pod:
    """A pod as faults see it.

    Attributes:
        name: of the object.
        namespace: where it is.
        uid: never given twice.
        node: where it runs; empty before it is scheduled.
        ready: whether Services send it anything.
        deleting: whether it has been told to end.
        containers: ids of its running containers, without the pause container.
        owner: kind of its controller; empty when it has none.
        static: made by a node from a file, not by the API.
        labels: of the object.
        trouble: why a container is not running, such as `ErrImageNeverPull`; empty when it is.
    """

    name: str
    namespace: str
    uid: str
    node: str = ""
    ready: bool = True
    deleting: bool = False
    containers: tuple[str, ...] = ()
    owner: str = "ReplicaSet"
    static: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


class Actions(Protocol):
    """What faults ask of one cluster's API server.

    Every method raises `chaos.errors.InjectionError` when the API server refuses (with the right that
    is missing when it is one), and `chaos.kube.api.Unreachable` when it does not answer in time.
    """

    def ensure_allowed(self, namespace: str) -> None:
        """Refuse a namespace that is not labelled for chaos."""

    def pods(self, namespace: str | None, selector: str = "", node: str = "") -> list[Pod]:
        """Pods of a namespace (of all of them when None), oldest first."""

    def delete_pods(self, pods: Sequence[Pod], grace: int | None) -> None:
        """Delete pods; ``grace`` seconds until SIGKILL, their own when None, 0 without asking."""

    def evict(self, pod: Pod, grace: int | None) -> bool:
        """Ask for a pod's eviction; False when a PodDisruptionBudget does not allow it now."""

    def replicas(self, workload: Workload) -> int:
        """How many pods the workload is asked to have."""

    def scale(self, workload: Workload, replicas: int) -> None:
        """Ask for another number of pods."""

    def prefer_to_delete(self, pod: Pod) -> None:
        """Let the next scaling down of its Deployment take this pod."""

    def restart(self, workload: Workload) -> None:
        """Replace all pods by the workload's own update strategy."""

    def schedulable(self, node: str) -> bool:
        """Whether new pods may come to the node."""

    def cordon(self, node: str) -> None:
        """Let no new pods come to the node."""

    def uncordon(self, node: str) -> None:
        """Let new pods come to the node again."""

    def policy_enforcer(self) -> str:
        """Who enforces NetworkPolicies in the cluster; empty when nobody does."""

    def isolate(self, namespace: str, pods: Sequence[str]) -> None:
        """Let nothing in to ``pods`` and nothing out, by the lab's isolating NetworkPolicy."""

    def release(self, namespace: str, pods: Sequence[str]) -> None:
        """Take ``pods`` out of that policy; harmless for those that are gone or not in it."""


class Machines(Protocol):
    """What faults do to nodes behind the API server's back.

    Nodes have the names that Kubernetes gives them. Every method raises
    `chaos.errors.InjectionError` when it cannot be done.
    """

    def nodes(self, site: str) -> Sequence[str]:
        """Names of a site's nodes by number; the first is the control plane."""

    def state(self, node: str) -> str:
        """`running`, `paused`, `exited` ..., or empty when it is gone."""

    def kill(self, nodes: Sequence[str]) -> None:
        """Take the power from nodes."""

    def start(self, nodes: Sequence[str]) -> None:
        """Give nodes their power back; harmless for those that run. Their links come back too."""

    def pause(self, nodes: Sequence[str]) -> None:
        """Freeze every process of nodes."""

    def unpause(self, nodes: Sequence[str]) -> None:
        """Let frozen nodes go on; harmless for those that are not frozen."""

    def run(self, node: str, *argv: str, check: bool = True) -> str:
        """Run a command on a node and return what it says."""

    def processes(self, containers: Collection[str]) -> list[Process]:
        """Live processes of containers, by their ids."""


class KubernetesContext(FaultContext, Protocol):
    """A lab whose sites are clusters."""

    @property
    def machines(self) -> Machines:
        """The nodes."""

    @property
    def namespace(self) -> str:
        """Where the lab's workloads are, in every cluster."""

    def actions(self, site: str) -> Actions:
        """The API server of a site.

        Raises:
            chaos.errors.InjectionError: there is no such site.
        """

    def workload(self, component: Component) -> Workload:
        """What keeps the component's pods."""

    def pods(self, component: Component) -> list[Pod]:
        """The pods of the component that are not on their way out; usually one."""

    def gateway(self, site: str) -> list[Pod]:
        """The pod at the end of the site's VPN links; empty when it has none."""

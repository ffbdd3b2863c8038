"""Faults that only a Kubernetes cluster can have, as data.

A site is a cluster. Targets are the components of `experiments.faults`, each of which is a pod
there; a node is written `site/index` (`ral/0` is the control plane of ral, which is also its VPN
gateway). Where Kubernetes itself puts a thing right (a deleted pod is replaced), taking the fault
back does nothing but end its window: such a fault `is_momentary`.

Mechanisms and their timers: shared facts, components.md section 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from experiments.names import NodeName, Target, Workload, node_parts
from topologies.model import Model, Name
from topologies.quantities import Duration


class KubernetesFault(Model):
    """Base of all of them.

    Attributes:
        is_momentary: over as soon as it is injected; the cluster repairs it by itself.
        needs_api: injecting it, or taking it back, takes the cluster's API server.
    """

    is_momentary: ClassVar[bool] = False
    needs_api: ClassVar[bool] = True

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        raise NotImplementedError


class TargetFault(KubernetesFault):
    """Acts on pods of a service.

    Attributes:
        target: `service@site` (every pod there) or `service@site/index`.
    """

    target: Target

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        return self.target.partition("@")[2].partition("/")[0]


class NodeFault(KubernetesFault):
    """Acts on a node.

    Attributes:
        node: `site/index`, counted from 0.
    """

    node: NodeName

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        return node_parts(self.node)[0]


class PodDelete(TargetFault):
    """Delete pods, as `kubectl delete pod` does; their controller makes new ones.

    Endpoints are withdrawn and SIGTERM is sent at the same time (components.md 6.2), so requests
    still arrive while the process ends.

    Attributes:
        grace: seconds until SIGKILL; the pod's own terminationGracePeriodSeconds when not given, 0
            removes the pod from the API at once and kills without asking (`--force`).
    """

    fault: Literal["pod-delete"] = "pod-delete"
    grace: Duration | None = None
    is_momentary: ClassVar[bool] = True


class ContainerKill(TargetFault):
    """SIGKILL to the container's processes (exit code 137); the kubelet restarts it in its pod.

    The first restart is immediate, further ones back off 10 s, 20 s, 40 s ... 300 s (components.md 6.1).
    """

    fault: Literal["container-kill"] = "container-kill"
    is_momentary: ClassVar[bool] = True


class ScaleToZero(KubernetesFault):
    """Scale a Deployment or StatefulSet to no pods; undone by the number it had.

    Attributes:
        target: `service@site`.
    """

    fault: Literal["scale-to-zero"] = "scale-to-zero"
    target: Workload

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        return self.target.partition("@")[2]


class RollingRestart(KubernetesFault):
    """Replace all pods of a workload by its own update strategy, as `kubectl rollout restart` does.

    Attributes:
        target: `service@site`.
    """

    fault: Literal["rolling-restart"] = "rolling-restart"
    target: Workload
    is_momentary: ClassVar[bool] = True

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        return self.target.partition("@")[2]


class NodeCordon(NodeFault):
    """Mark a node unschedulable: what runs there stays, nothing new comes. Undone by uncordoning."""

    fault: Literal["node-cordon"] = "node-cordon"


class NodeDrain(NodeFault):
    """Cordon a node and evict its pods, PodDisruptionBudgets respected; undone by uncordoning.

    Pods of DaemonSets stay, as with `kubectl drain --ignore-daemonsets`. Evicted pods come up on
    other nodes of the site, or wait for the node where nothing else fits.

    Attributes:
        grace: seconds until SIGKILL of an evicted pod; its own when not given.
    """

    fault: Literal["node-drain"] = "node-drain"
    grace: Duration | None = None


class NodeStop(NodeFault):
    """Stop a node's container: a machine that lost its power. Undone by starting it again."""

    fault: Literal["node-stop"] = "node-stop"
    needs_api: ClassVar[bool] = False


class NodePause(NodeFault):
    """Freeze every process of a node: a machine that hangs, connections stay open. Undone by going on."""

    fault: Literal["node-pause"] = "node-pause"
    needs_api: ClassVar[bool] = False


class KubeletStop(NodeFault):
    """Stop a node's kubelet: its pods go on, its lease is no longer renewed. Undone by starting it.

    After the node monitor's grace period the node counts as not ready and its pods leave the
    Services though they still answer (components.md 6.3).
    """

    fault: Literal["kubelet-stop"] = "kubelet-stop"
    needs_api: ClassVar[bool] = False


class SiteFault(KubernetesFault):
    """Acts on the cluster of a site.

    Attributes:
        site: its name.
    """

    site: Name

    @property
    def cluster(self) -> str:
        """The site whose cluster it hits."""
        return self.site


class ClusterStop(SiteFault):
    """Stop all nodes of a site at once: the whole place lost its power. Undone by starting them."""

    fault: Literal["cluster-stop"] = "cluster-stop"
    needs_api: ClassVar[bool] = False


class ApiServerDown(SiteFault):
    """Take the API server of a site away; running pods and programmed Services go on.

    Nothing is rescheduled and no endpoint changes meanwhile (components.md 6.3).
    """

    fault: Literal["api-server-down"] = "api-server-down"
    needs_api: ClassVar[bool] = False


class GatewayKill(SiteFault):
    """Delete the site's VPN gateway pod without grace; its controller makes a new one."""

    fault: Literal["gateway-kill"] = "gateway-kill"
    is_momentary: ClassVar[bool] = True


class NetworkIsolation(TargetFault):
    """A NetworkPolicy lets nothing in to the target's pods and nothing out; undone by lifting it.

    Refused on a cluster whose network plugin does not enforce policies: there it would change nothing.
    A pod that replaces an isolated one is not isolated.
    """

    fault: Literal["network-isolation"] = "network-isolation"


class CorednsDown(SiteFault):
    """Scale the cluster's CoreDNS to no pods: names no longer resolve. Undone by the number it had."""

    fault: Literal["coredns-down"] = "coredns-down"


AnyKubernetesFault = (
    PodDelete
    | ContainerKill
    | ScaleToZero
    | RollingRestart
    | NodeCordon
    | NodeDrain
    | NodeStop
    | NodePause
    | KubeletStop
    | ClusterStop
    | ApiServerDown
    | GatewayKill
    | NetworkIsolation
    | CorednsDown
)


def takes_the_api(fault: KubernetesFault) -> bool:
    """Whether the API server of the fault's cluster is gone while the fault is in force."""
    if isinstance(fault, NodeStop | NodePause):
        return node_parts(fault.node)[1] == 0
    return isinstance(fault, ClusterStop | ApiServerDown)


def takes_clusters(faults: Iterable[object]) -> bool:
    """Whether any of ``faults`` needs sites that are Kubernetes clusters."""
    return any(isinstance(fault, KubernetesFault) for fault in faults)

"""A lab of clusters that exists in memory only: what faults ask of it is what they get, at once.

It stands in for API servers and nodes where a test is about the faults' own logic: order, checks,
undo. What real clusters make of the same calls is tested with the marker `kind`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from chaos.errors import InjectionError
from chaos.faults.context import Component
from chaos.host.processes import Process
from chaos.kube.api import Unreachable
from chaos.kube.context import Pod, Workload

NAMESPACE = "faultline"


@dataclass
class FakeCluster:
    """One cluster: Deployments and StatefulSets make and remove pods in no time.

    Attributes:
        workloads: replicas and labels by workload.
        allowed: namespaces released for chaos.
        budget: evictions that are allowed before the next ones must wait.
        reachable: whether the API server answers.
        log: what was asked of it, in order.
    """

    site: str
    workloads: dict[Workload, int] = field(default_factory=dict)
    found: list[Pod] = field(default_factory=list)
    allowed: set[str] = field(default_factory=lambda: {NAMESPACE, "kube-system"})
    budget: int = 100
    enforcer: str = ""
    reachable: bool = True
    cordoned: set[str] = field(default_factory=set)
    isolated: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    made: int = 0

    def _ask(self, what: str) -> None:
        if not self.reachable:
            raise Unreachable(f"the API server of {self.site} does not answer")
        self.log.append(what)

    def reconcile(self) -> None:
        """Do what the controllers would do."""
        for workload, wanted in self.workloads.items():
            have = [pod for pod in self.found if pod.labels.get("app") == workload.name]
            for pod in have[wanted:]:
                self.found.remove(pod)
            names = {pod.name for pod in have}
            for number in range(wanted):
                if len([pod for pod in self.found if pod.labels.get("app") == workload.name]) >= wanted:
                    break
                self.made += 1
                stateful = workload.kind == "StatefulSet"
                name = f"{workload.name}-{number if stateful else self.made}"
                if stateful and name in names:
                    continue
                self.found.append(
                    Pod(
                        name,
                        workload.namespace,
                        f"uid-{self.made}",
                        node=f"{self.site}-node",
                        containers=(f"container-{self.site}-{self.made}",),
                        owner="StatefulSet" if stateful else "ReplicaSet",
                        labels={"app": workload.name},
                    )
                )

    def ensure_allowed(self, namespace: str) -> None:
        """Look the namespace up."""
        self._ask(f"allowed {namespace}")
        if namespace not in self.allowed:
            raise InjectionError(f"the namespace {namespace} of {self.site} is not released for chaos")

    def pods(self, namespace: str | None, selector: str = "", node: str = "") -> list[Pod]:
        """By `app`, the only label that there is."""
        self._ask("pods")
        app = selector.rpartition("=")[2]
        return [
            pod
            for pod in self.found
            if (namespace is None or pod.namespace == namespace)
            and (not app or pod.labels.get("app") == app)
            and (not node or pod.node == node)
        ]

    def delete_pods(self, pods: Sequence[Pod], grace: int | None) -> None:
        """They are gone, and replaced."""
        self._ask(f"delete {','.join(sorted(pod.name for pod in pods))} grace={grace}")
        gone = {pod.uid for pod in pods}
        self.found = [pod for pod in self.found if pod.uid not in gone]
        self.reconcile()

    def evict(self, pod: Pod, grace: int | None) -> bool:
        """As long as the budget lasts."""
        self._ask(f"evict {pod.name} grace={grace}")
        if self.budget <= 0:
            return False
        self.budget -= 1
        self.found = [one for one in self.found if one.uid != pod.uid]
        return True

    def replicas(self, workload: Workload) -> int:
        """As asked for."""
        self._ask(f"replicas {workload.name}")
        if workload not in self.workloads:
            raise InjectionError(f"there is no {workload}")
        return self.workloads[workload]

    def scale(self, workload: Workload, replicas: int) -> None:
        """At once."""
        self._ask(f"scale {workload.name} {replicas}")
        self.workloads[workload] = replicas
        self.reconcile()

    def prefer_to_delete(self, pod: Pod) -> None:
        """It goes to the end of the list, from where pods are taken."""
        self._ask(f"prefer {pod.name}")
        self.found = [one for one in self.found if one.uid != pod.uid] + [pod]

    def restart(self, workload: Workload) -> None:
        """Only noted."""
        self._ask(f"restart {workload.name}")

    def schedulable(self, node: str) -> bool:
        """Unless cordoned."""
        self._ask(f"schedulable {node}")
        return node not in self.cordoned

    def cordon(self, node: str) -> None:
        """At once."""
        self._ask(f"cordon {node}")
        self.cordoned.add(node)

    def uncordon(self, node: str) -> None:
        """At once."""
        self._ask(f"uncordon {node}")
        self.cordoned.discard(node)

    def policy_enforcer(self) -> str:
        """As the test says."""
        return self.enforcer

    def isolate(self, namespace: str, pods: Sequence[str]) -> None:
        """Note them."""
        self._ask(f"isolate {','.join(pods)}")
        self.isolated |= set(pods)

    def release(self, namespace: str, pods: Sequence[str]) -> None:
        """Forget them."""
        self._ask(f"release {','.join(pods)}")
        self.isolated -= set(pods)


class FakeMachines:
    """Nodes as words, and processes that the test provides."""

    def __init__(self, nodes: dict[str, list[str]]) -> None:
        self._nodes = nodes
        self.states = {node: "running" for names in nodes.values() for node in names}
        self.log: list[str] = []
        self.living: dict[str, list[Process]] = {}
        self.answers: dict[str, str] = {}

    def nodes(self, site: str) -> Sequence[str]:
        """By site."""
        return self._nodes[site]

    def state(self, node: str) -> str:
        """As changed below."""
        return self.states.get(node, "")

    def kill(self, nodes: Sequence[str]) -> None:
        """At once."""
        self._become("exited", nodes)

    def start(self, nodes: Sequence[str]) -> None:
        """At once."""
        self._become("running", nodes)

    def pause(self, nodes: Sequence[str]) -> None:
        """At once."""
        self._become("paused", nodes)

    def unpause(self, nodes: Sequence[str]) -> None:
        """At once."""
        self._become("running", nodes)

    def _become(self, state: str, nodes: Sequence[str]) -> None:
        self.log.append(f"{state} {','.join(nodes)}")
        self.states |= dict.fromkeys(nodes, state)

    def run(self, node: str, *argv: str, check: bool = True) -> str:
        """The answer that the test has prepared for the command."""
        line = " ".join(argv)
        self.log.append(f"{node}: {line}")
        return next((answer for part, answer in self.answers.items() if part in line), "")

    def processes(self, containers: Collection[str]) -> list[Process]:
        """Those of the test that live."""
        from chaos.host.processes import is_alive

        return [one for name in containers for one in self.living.get(name, []) if is_alive(one)]


class FakeNetwork:
    """No links at all."""


class FakeClusters:
    """A `chaos.kube.context.KubernetesContext`.

    Two sites: at ral two pods of the Deployment `iam` and two of the StatefulSet `db`, at cam one each;
    ral has three nodes, cam one.
    """

    namespace = NAMESPACE

    def __init__(self) -> None:
        self.clusters = {"ral": FakeCluster("ral"), "cam": FakeCluster("cam")}
        for site, count in (("ral", 2), ("cam", 1)):
            cluster = self.clusters[site]
            cluster.workloads = {
                Workload(site, NAMESPACE, "Deployment", "iam"): count,
                Workload(site, NAMESPACE, "StatefulSet", "db"): count,
                Workload(site, NAMESPACE, "Deployment", "gateway"): 1,
                Workload(site, "kube-system", "Deployment", "coredns"): 2,
            }
            cluster.reconcile()
        self.machines = FakeMachines(
            {
                "ral": ["ral-control-plane", "ral-worker", "ral-worker2"],
                "cam": ["cam-control-plane"],
            }
        )

    @property
    def wan(self) -> FakeNetwork:
        """Nothing."""
        return FakeNetwork()

    def components(self) -> Sequence[Component]:
        """All pods of `iam` and `db`."""
        counts = {"ral": 2, "cam": 1}
        return [
            Component(service, site, index)
            for service in ("iam", "db")
            for site, count in counts.items()
            for index in range(count)
        ]

    def actions(self, site: str) -> FakeCluster:
        """By site."""
        if site not in self.clusters:
            raise InjectionError(f"there is no site {site}")
        return self.clusters[site]

    def workload(self, component: Component) -> Workload:
        """By name."""
        kind = "Deployment" if component.service == "iam" else "StatefulSet"
        return Workload(component.site, NAMESPACE, kind, component.service)

    def pods(self, component: Component) -> list[Pod]:
        """By number."""
        found = self.clusters[component.site].pods(NAMESPACE, f"app={component.service}")
        return found[component.index : component.index + 1]

    def gateway(self, site: str) -> list[Pod]:
        """One."""
        return self.clusters[site].pods(NAMESPACE, "app=gateway")

    def processes(self, component: Component) -> Sequence[Process]:
        """Of its containers."""
        return self.machines.processes([one for pod in self.pods(component) for one in pod.containers])

    def restart(self, component: Component) -> None:
        """Nothing calls it."""
        raise AssertionError("a cluster starts its pods itself")

    def ill(self, site: str, name: str, trouble: str) -> None:
        """Let a pod have no running container."""
        cluster = self.clusters[site]
        cluster.found = [
            replace(pod, containers=(), trouble=trouble) if pod.name == name else pod for pod in cluster.found
        ]

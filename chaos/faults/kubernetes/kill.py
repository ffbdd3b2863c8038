"""A component's pods end at once and stay away; the inverse has their workload make them again.

On Kubernetes something always starts a killed process again: the kubelet its container, a controller
its pod. To be down until the undo, as the fault says, the workload is scaled down in the same breath;
a container that the kubelet started before it heard of that is killed too.
"""

from __future__ import annotations

from chaos.errors import InjectionError
from chaos.faults.context import Component, Inverse
from chaos.faults.kubernetes import checks, scaling
from chaos.faults.kubernetes.container_kill import end, kill
from chaos.faults.kubernetes.guard import guard
from chaos.kube.context import KubernetesContext, Pod, Workload
from experiments.faults import Kill


class KubernetesKillDriver(scaling.Scaling):
    """SIGKILL to the containers first, so that it is a crash, then to the pods' existence."""

    def plan(self, context: KubernetesContext, fault: Kill, name: str) -> Inverse:
        """Scale the workloads to what they have now."""
        found = checks.components_at(context, fault.target)
        checks.running_pods(context, found)
        return scaling.inverse(
            (workload, scaling.replicas_of(context, workload)) for workload, _, _ in _parts(context, found)
        )

    def inject(self, context: KubernetesContext, fault: Kill, name: str) -> None:
        """End the pods of the target; after a crash no process is left when this returns.

        A graceful stop (SIGTERM) takes its own time, at most the pods' grace period.
        """
        found = checks.components_at(context, fault.target)
        parts = _parts(context, found)
        pods = checks.running_pods(context, found)
        if fault.signal == "KILL":
            kill(context, [one for pod in pods for one in pod.containers])
        for workload, left, doomed in parts:
            actions = context.actions(workload.site)
            if left:
                for pod in doomed:
                    actions.prefer_to_delete(pod)
            actions.scale(workload, left)
            if fault.signal == "KILL":
                actions.delete_pods(doomed, 0)
        if fault.signal == "KILL":
            uids = {spelling for pod in pods for spelling in (pod.uid, pod.uid.replace("-", "_"))}
            guard(lambda: end(context, uids))


def _parts(context: KubernetesContext, components: list[Component]) -> list[tuple[Workload, int, list[Pod]]]:
    """Workload, pods that are left to it, and pods that go, for each workload of ``components``.

    Raises:
        InjectionError: one of several pods of a StatefulSet that is not its last: scaling down would
            take another one.
    """
    chosen: dict[Workload, list[Component]] = {}
    for component in components:
        chosen.setdefault(context.workload(component), []).append(component)
    parts = []
    for workload, members in chosen.items():
        total = scaling.replicas_of(context, workload)
        left = max(0, total - len(members))
        if (
            left
            and workload.kind == "StatefulSet"
            and {one.index for one in members} != set(range(left, total))
        ):
            raise InjectionError(
                f"{members[0]} cannot be kept down alone: {workload} gives up its last pod first; "
                f"kill {members[0].place}, or {members[0].place}/{total - 1}, or use pod_delete"
            )
        parts.append((workload, left, checks.live_pods(context, members)))
    return parts

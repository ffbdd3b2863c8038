"""SIGKILL to the containers of pods, from their node: exit code 137, and the kubelet starts them again."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks, momentary
from chaos.host import processes
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import ContainerKill

PATIENCE = 5.0


class ContainerKillDriver(momentary.Momentary):
    """The pod stays, with its address; only its processes go."""

    def plan(self, context: KubernetesContext, fault: ContainerKill, name: str) -> Inverse:
        """Nothing to take back."""
        found = checks.running_pods(context, checks.components_at(context, fault.target))
        return momentary.inverse(
            fault.cluster, f"containers of {', '.join(pod.name for pod in found)} killed"
        )

    def inject(self, context: KubernetesContext, fault: ContainerKill, name: str) -> None:
        """Kill and return when these containers have no process any more."""
        pods = checks.running_pods(context, checks.components_at(context, fault.target))
        kill(context, [one for pod in pods for one in pod.containers])


def kill(context: KubernetesContext, containers: list[str]) -> None:
    """End all processes of ``containers`` at once.

    Raises:
        InjectionError: there were none, or they do not end.
    """
    if not end(context, containers):
        raise InjectionError("the containers have no process on this machine")


def end(context: KubernetesContext, containers: Collection[str]) -> int:
    """SIGKILL to what is left of ``containers``, until nothing is; returns how many processes that were.

    Raises:
        InjectionError: one does not end.
    """
    killed = 0
    deadline = time.monotonic() + PATIENCE
    while found := context.machines.processes(containers):
        killed += len(found)
        for process in found:
            processes.send(process, signal.SIGKILL)
        for process in found:
            processes.wait(process, 0.1)
        if time.monotonic() > deadline:
            raise InjectionError(f"pid {found[0].pid} does not end on SIGKILL")
    return killed

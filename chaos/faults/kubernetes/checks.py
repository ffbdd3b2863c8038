"""What every Kubernetes fault checks before it is written down: the target is there, and may be touched."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Component, resolve
from chaos.kube.context import KubernetesContext, Pod
from experiments.names import node_parts


def components_at(context: KubernetesContext, target: str) -> list[Component]:
    """The components that ``target`` names, in a namespace that is released for chaos.

    Raises:
        InjectionError: there is none, or its namespace must not be touched.
    """
    found = resolve(target, context.components())
    for site in sorted({component.site for component in found}):
        context.actions(site).ensure_allowed(context.namespace)
    return found


def live_pods(context: KubernetesContext, components: Sequence[Component]) -> list[Pod]:
    """The pods of ``components``.

    Raises:
        InjectionError: one has none.
    """
    found = []
    for component in components:
        pods = context.pods(component)
        if not pods:
            raise InjectionError(
                f"{component} has no pod: {context.workload(component)} makes none right now"
            )
        found += pods
    return found


def running_pods(context: KubernetesContext, components: Sequence[Component]) -> list[Pod]:
    """The pods of ``components``, each with a running container.

    Raises:
        InjectionError: one has no pod, or a pod does not run; the reason that Kubernetes gives is named.
    """
    found = live_pods(context, components)
    for pod in found:
        if not pod.containers:
            why = f" ({pod.trouble})" if pod.trouble else ""
            raise InjectionError(f"the pod {pod.name} does not run{why}")
    return found


def node_name(context: KubernetesContext, node: str) -> str:
    """The name that Kubernetes has for the node `site/index`.

    Raises:
        InjectionError: there is no such node.
    """
    site, index = node_parts(node)
    context.actions(site)  # the site is known
    names = context.machines.nodes(site)
    if index >= len(names):
        raise InjectionError(f"there is no node {node}: {site} has {len(names)}")
    return names[index]


def ensure_state(context: KubernetesContext, nodes: Sequence[str], doing: str) -> None:
    """Refuse to break nodes that do not run.

    Raises:
        InjectionError: one is already stopped or frozen.
    """
    for node in nodes:
        state = context.machines.state(node)
        if state != "running":
            raise InjectionError(f"cannot {doing} {node}: it is {state or 'gone'}")

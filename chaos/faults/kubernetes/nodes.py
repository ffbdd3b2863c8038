"""Nodes that lost their power or stand still, and come back: what several faults have in common."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.faults.context import Inverse
from chaos.kube.context import KubernetesContext

START = "start-nodes"
UNPAUSE = "unpause-nodes"


def inverse(kind: str, site: str, nodes: Sequence[str]) -> Inverse:
    """Start or unpause ``nodes``."""
    return Inverse(kind, {"site": site, "nodes": list(nodes)})


def free(inverse: Inverse, others: Sequence[Inverse]) -> list[str]:
    """The nodes of ``inverse`` that no other fault of its kind holds."""
    held = {node for other in others if other.kind == inverse.kind for node in other.args["nodes"]}
    return [node for node in inverse.args["nodes"] if node not in held]


class Started:
    """Base of the drivers whose nodes lost their power."""

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Start the nodes again, with their links."""
        context.machines.start(free(inverse, others))

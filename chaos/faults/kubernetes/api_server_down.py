"""The API server of a site is gone: its static pod's manifest is moved away, and back to take it back."""

from __future__ import annotations

import time
from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import checks
from chaos.faults.kubernetes.guard import guard
from chaos.kube.context import KubernetesContext
from experiments.kubernetes_faults import ApiServerDown

KIND = "restore-api-server"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
AWAY = "/etc/kubernetes/kube-apiserver.faultline"
"""In the same file system, so that moving is atomic, and not where the kubelet looks."""

PATIENCE = 10.0

_MOVE = 'test -e "$1" && mv "$1" "$2"'
_BACK = '! test -e "$1" || mv "$1" "$2"'
_END = "pkill -KILL -x kube-apiserver; sleep 0.05; pgrep -x kube-apiserver"


class ApiServerDownDriver:
    """Killed, so that it goes at once, and not started again because the kubelet has no manifest."""

    def plan(self, context: KubernetesContext, fault: ApiServerDown, name: str) -> Inverse:
        """Put the manifest back."""
        node = checks.node_name(context, f"{fault.site}/0")
        checks.ensure_state(context, [node], "take the API server from")
        return Inverse(KIND, {"site": fault.site, "node": node})

    def inject(self, context: KubernetesContext, fault: ApiServerDown, name: str) -> None:
        """Move the manifest away and end the process; one that comes back is ended too."""
        node = checks.node_name(context, f"{fault.site}/0")
        context.machines.run(node, "sh", "-c", _MOVE, "sh", MANIFEST, AWAY)
        deadline = time.monotonic() + PATIENCE
        while left := _end(context, node):
            if time.monotonic() > deadline:
                raise InjectionError(f"the API server of {fault.site} does not end: pid {left} on {node}")
            time.sleep(0.05)
        guard(lambda: _is_away(context, node) and _end(context, node))

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Put the manifest back; harmless when it is there. The kubelet needs some seconds to act."""
        context.machines.run(inverse.args["node"], "sh", "-c", _BACK, "sh", AWAY, MANIFEST)


def _end(context: KubernetesContext, node: str) -> str:
    """Kill the API server; returns the process ids of what is left of it."""
    return context.machines.run(node, "sh", "-c", _END, check=False).strip()


def _is_away(context: KubernetesContext, node: str) -> bool:
    return bool(context.machines.run(node, "sh", "-c", f"ls {AWAY} 2>/dev/null", check=False).strip())

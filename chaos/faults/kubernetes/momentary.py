"""Faults that the cluster itself repairs: there is nothing to take back."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.faults.context import Inverse
from chaos.kube.context import KubernetesContext

KIND = "self-repair"


def inverse(site: str, what: str) -> Inverse:
    """A record that the fault happened; taking it back changes nothing."""
    return Inverse(KIND, {"site": site, "what": what})


class Momentary:
    """Base of the drivers whose fault is over when it has been injected."""

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Nothing: a controller or the kubelet has put it right, or is about to."""

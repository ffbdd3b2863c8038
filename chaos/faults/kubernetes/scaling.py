"""Workloads held at fewer pods than they should have, and brought back to the number they had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Inverse
from chaos.kube.context import KubernetesContext, Workload

KIND = "scale"


def inverse(held: Iterable[tuple[Workload, int]]) -> Inverse:
    """Scale each workload to the number of pods that stands beside it."""
    return Inverse(
        KIND,
        {
            "workloads": [
                {
                    "site": one.site,
                    "namespace": one.namespace,
                    "kind": one.kind,
                    "name": one.name,
                    "replicas": replicas,
                }
                for one, replicas in held
            ]
        },
    )


def held_by(inverse: Inverse) -> list[tuple[Workload, int]]:
    """The workloads of an inverse with the numbers of pods to go back to."""
    return [
        (Workload(one["site"], one["namespace"], one["kind"], one["name"]), int(one["replicas"]))
        for one in inverse.args["workloads"]
    ]


def replicas_of(context: KubernetesContext, workload: Workload) -> int:
    """How many pods it has to have.

    Raises:
        InjectionError: none: it is down already.
    """
    found = context.actions(workload.site).replicas(workload)
    if found == 0:
        raise InjectionError(f"{workload} is scaled to no pods already")
    return found


def scale_back(context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> list[str]:
    """Scale up what no other fault holds down; tell what was done.

    Raises:
        InjectionError: a workload could not be scaled; the others were.
    """
    kept = {one for other in others if other.kind == KIND for one, _ in held_by(other)}
    done, failed = [], []
    for workload, replicas in held_by(inverse):
        if workload in kept:
            continue
        try:
            context.actions(workload.site).scale(workload, replicas)
        except LabError as error:
            failed.append(f"{workload}: {error}")
        else:
            done.append(f"{workload} to {replicas}")
    if failed:
        raise InjectionError(f"could not scale {'; '.join(failed)}")
    return done


class Scaling:
    """Base of the drivers that hold workloads down."""

    def undo(self, context: KubernetesContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Scale back what is not held down by another fault."""
        scale_back(context, inverse, others)

"""Taking Kubernetes faults back in a new process, after the one that injected them died.

An inverse carries all it needs: names of nodes and objects. What is missing is found on disk, the
kubeconfigs in the lab's directory. Every inverse may be carried out more than once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Component, Inverse, Network
from chaos.faults.kubernetes import (
    api_server_down,
    kubelet_stop,
    momentary,
    network_isolation,
    node_cordon,
    node_drain,
    nodes,
    scaling,
)
from chaos.faults.kubernetes.registry import CLUSTERS
from chaos.host.processes import Process
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, Unreachable
from chaos.kube.clusters import kubeconfig
from chaos.kube.context import Actions, KubernetesContext, Machines, Pod, Workload
from chaos.kube.machines import DockerMachines

KINDS = frozenset(
    (
        momentary.KIND,
        scaling.KIND,
        node_cordon.KIND,
        node_drain.KIND,
        nodes.START,
        nodes.UNPAUSE,
        kubelet_stop.KIND,
        api_server_down.KIND,
        network_isolation.KIND,
    )
)
"""Inverses that this module can carry out."""

PATIENCE = 60.0
"""Seconds for an API server to come back after its node, or its manifest, was put back."""

_LOOK = 1.0


class Remains:
    """What is left of a lab whose process is gone: a `chaos.kube.context.KubernetesContext`.

    Args:
        directory: of the lab.
        restored: told which nodes were started again.
    """

    def __init__(
        self, directory: Path, restored: Callable[[Sequence[str]], None] = lambda names: None
    ) -> None:
        self._directory = directory
        self._machines = DockerMachines(lambda site: (), restored)

    @property
    def machines(self) -> Machines:
        """The nodes, by name."""
        return self._machines

    @property
    def namespace(self) -> str:
        """Where the lab's workloads are."""
        return NAMESPACE

    def actions(self, site: str) -> Actions:
        """The API server of a site.

        Raises:
            InjectionError: the lab's directory has no kubeconfig of it.
        """
        file = kubeconfig(self._directory, site)
        if not file.exists():
            raise InjectionError(f"there is no kubeconfig of {site} at {file}")
        return ClusterActions(Cluster(site, file))

    # What follows is known only to the lab that is gone; no inverse asks for it.

    @property
    def wan(self) -> Network:
        """Gone."""
        raise InjectionError("the network went with the lab")

    def components(self) -> Sequence[Component]:
        """None."""
        return []

    def processes(self, component: Component) -> Sequence[Process]:
        """None."""
        return []

    def restart(self, component: Component) -> None:
        """Impossible."""
        raise InjectionError(f"there is no {component} any more")

    def workload(self, component: Component) -> Workload:
        """Impossible."""
        raise InjectionError(f"there is no {component} any more")

    def pods(self, component: Component) -> list[Pod]:
        """None."""
        return []

    def gateway(self, site: str) -> list[Pod]:
        """None."""
        return []


def replay(directory: Path, inverse: Inverse, *, patience: float = PATIENCE) -> str:
    """Carry out ``inverse`` without the lab that recorded it; tell in words what was done.

    Args:
        directory: of the lab.
        inverse: one of `KINDS`.
        patience: seconds to wait for an API server that does not answer.

    Raises:
        LabError: it cannot be carried out.
    """
    context: KubernetesContext = Remains(directory)
    deadline = time.monotonic() + patience
    while True:
        try:
            CLUSTERS.undoers[inverse.kind].undo(context, inverse, ())
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK)
        except LabError as error:
            # Drivers that do several things put the reasons of all together.
            if "does not answer" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK)
        else:
            return CLUSTERS.undo_command(inverse)

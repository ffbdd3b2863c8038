"""Opening a lab by its name: the only place where the simulator is put into a lab's clothes."""

from __future__ import annotations

import os
from collections.abc import Callable

from chaos.lab.base import Lab
from experiments.faults import Fault
from experiments.kubernetes_faults import KubernetesFault, NetworkIsolation
from faultline.inputs import Backend, Inputs, refuse_faults
from faultline.score import SIMULATED
from topologies.errors import InputError

KUBERNETES = ("kind", "kubernetes")
"""Backends with a cluster per site."""


def ensure_runnable(backend: Backend, inputs: Inputs) -> None:
    """Refuse before anything is predicted what could not be run afterwards.

    Raises:
        MissingCapability: this machine lacks something; the message says what and how to get it.
        LabBusy: it has a lab already.
        InputError: the local lab was asked for in production size, the topology does not fit it, or
            the experiment has a fault that takes Kubernetes.
    """
    if not on_kubernetes(backend, inputs):
        refuse_kubernetes_faults(inputs, backend)
    if backend == SIMULATED:
        return
    size = inputs.size
    if backend == "kubernetes":
        _ensure_existing(inputs)
        return
    if size != "lab":
        raise InputError(
            f"the lab on this machine cannot run the size {size!r}",
            file="--size",
            expected="lab",
            hint="`--backend simulated` or `faultline predict` take any size",
        )
    _ensure_able(backend)
    _ensure_fits(inputs, backend)
    _ensure_free()


def _ensure_existing(inputs: Inputs) -> None:
    """Refuse what clusters that somebody else has cannot or must not do, before anything is predicted."""
    from chaos.errors import LabError
    from chaos.kube.addresses import Addresses
    from chaos.kube.refusal import refusal

    access = inputs.access
    if access is None:
        raise InputError(
            "no cluster is named", file="--context", hint="add --context SITE=CONTEXT for each site"
        )
    access.check(list(inputs.topology.sites))
    refuse_faults(inputs.experiment, lambda fault: refusal(fault, access))
    try:
        Addresses.of(inputs.topology)
    except LabError as error:
        raise InputError(str(error), file=inputs.files["topology"][0]) from None
    ensure_root()
    _ensure_free()
    refuse_unenforced(inputs)


def refuse_unenforced(inputs: Inputs) -> None:
    """Ask the clusters whether NetworkPolicies change anything, if the experiment has any.

    Raises:
        InputError: every isolation that would change nothing, with its line.
        LabError: a cluster does not answer.
    """
    from chaos.kube.refusal import not_enforced

    access = inputs.access
    assert access is not None
    refuse_faults(
        inputs.experiment,
        lambda fault: not_enforced(fault.cluster, access) if isinstance(fault, NetworkIsolation) else None,
    )


def _ensure_able(backend: Backend) -> None:
    """Refuse what this machine lacks the programs or the rights for."""
    if backend == "kind":
        from chaos.lab.kind import require as require_kind

        require_kind()
    else:
        from chaos.host.capabilities import require

        require()


def on_kubernetes(backend: str, inputs: Inputs) -> bool:
    """Whether a run on ``backend`` has a cluster per site, real or modelled."""
    return backend in KUBERNETES or inputs.platform == "kubernetes"


def refuse_kubernetes_faults(inputs: Inputs, backend: str) -> None:
    """Refuse what only a cluster can suffer where there is none.

    Raises:
        InputError: every such fault, with its line.
    """

    def why(fault: Fault) -> str | None:
        if not isinstance(fault, KubernetesFault):
            return None
        return f"{fault.fault} takes a Kubernetes cluster, and the backend {backend!r} has none"

    refuse_faults(inputs.experiment, why, "run it with `--backend kind`")


def _ensure_fits(inputs: Inputs, backend: Backend) -> None:
    """Refuse a topology that the lab cannot hold, before a prediction of it is registered."""
    from chaos.errors import LabError
    from chaos.lab.layout import Layout, lab_directory
    from chaos.services import deployment

    try:
        if backend == "kind":
            from chaos.lab import kind

            kind.ensure_fits(inputs.topology, lab_directory())
        else:
            deployment.plan(inputs.topology, Layout.of(inputs.topology))
    except LabError as error:
        raise InputError(str(error), file=inputs.files["topology"][0]) from None


def ensure_root() -> None:
    """Refuse in plain words what only root can do.

    Raises:
        MissingCapability: this process may not look at or touch a lab.
    """
    from chaos.errors import MissingCapability
    from chaos.host.capabilities import survey

    root = next(one for one in survey(versions=False) if one.name == "root")
    if not root.present:
        raise MissingCapability(str(root))


def _ensure_free() -> None:
    """Refuse early what bringing the lab up would refuse after the prediction.

    Raises:
        LabBusy: a lab is up or a run is going on.
    """
    from chaos.errors import LabBusy
    from chaos.host.processes import is_alive
    from chaos.lab.layout import lab_directory
    from chaos.lock import LabLock

    owner = LabLock(lab_directory()).owner()
    if owner is None or owner.pid == os.getpid() or not is_alive(owner.process):
        return
    if owner.standing:
        raise LabBusy(
            f"a lab is already up in {owner.lab_dir} (`{owner.command}`): "
            "take it down with `faultline lab down`"
        )
    raise LabBusy(
        f"another run has the lab: pid {owner.pid} (`{owner.command}`); wait for it, or end it with "
        f"`kill {owner.pid}` and then `faultline heal`"
    )


def open_lab(inputs: Inputs, backend: Backend, note: Callable[[str], None]) -> Lab:
    """A lab that is not up yet.

    Args:
        inputs: what will run in it.
        backend: its name.
        note: told in words what the lab does.
    """
    if backend == SIMULATED:
        from chaos.lab.simulated import SimulatedLab
        from sim.engine.reference import Simulation

        return SimulatedLab(Simulation(inputs.calibration, inputs.size, inputs.platform))
    if backend == "kind":
        from chaos.lab.kind import KindLab

        return KindLab(progress=note, seed=inputs.seed)
    if backend == "kubernetes":
        from chaos.lab.kubernetes import KubernetesLab

        assert inputs.access is not None  # ensure_runnable has seen to it
        return KubernetesLab(inputs.access, progress=note, seed=inputs.seed)
    from chaos.lab.local import LocalLab

    return LocalLab(progress=note, seed=inputs.seed)


def validates(backend: str) -> bool:
    """Whether a measurement on ``backend`` says anything about reality."""
    return backend != SIMULATED

"""The Chaos Toolkit control that puts the lab around an experiment.

Before the experiment it brings the lab up, starts the load and waits for the warm-up; after the
method it waits for the end of the load; after the experiment it observes and takes the lab down.
Pauses of activities are taken on the lab's clock, which may be a virtual one.

Chaos Toolkit swallows what a control raises, except `InterruptExecution`, plays no rollbacks after
an interruption, and takes a signal during an action for that action's failure. So errors are kept
in the session and raised as interruptions, and the faults are taken back here in every case.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from chaoslib import substitute
from chaoslib.caching import cache_activities
from chaoslib.exceptions import InterruptExecution
from chaoslib.types import Dry

from chaos.errors import LabError
from chaos.lab.base import Lab
from chaos.toolkit.session import Session, current_or_none
from experiments.kubernetes_faults import KubernetesFault
from experiments.loader import check, from_document
from experiments.model import Experiment
from experiments.observation import KUBERNETES
from experiments.timeline import needs_clusters, scheduled_with_places
from topologies.document import Document
from topologies.errors import InputError, Misfit
from topologies.loader import load as load_topology

BACKEND_VARIABLE = "FAULTLINE_BACKEND"

_own: Session | None = None  # opened here, so closed here
_in_flight: BaseException | None = None  # being handled by whoever called Chaos Toolkit


@contextmanager
def _kept(session: Session | None, doing: str) -> Iterator[None]:
    """Keep what goes wrong in the session and turn it into what Chaos Toolkit does not swallow."""
    try:
        yield
    except (InterruptExecution, KeyboardInterrupt, SystemExit):
        if session is not None:
            session.interrupted = True
        raise
    except Exception as error:
        if session is not None:
            session.error = session.error or error
        raise InterruptExecution(f"{doing}: {error}") from error


def before_experiment_control(context: dict[str, Any], **_: Any) -> None:
    """Bring the lab up, unless nothing will be executed."""
    global _own, _in_flight
    _in_flight = sys.exc_info()[1]
    if context.get("dry") == Dry.ACTIVITIES:
        return
    session = current_or_none()
    if session is None:
        with _kept(None, "the lab cannot be opened"):
            session = _session_for(context)
            _own = session.__enter__()
    with _kept(session, "the lab could not be brought up"):
        session.open()


def before_method_control(context: dict[str, Any], **_: Any) -> None:
    """Note that the steady state was met."""
    session = current_or_none()
    if session is not None:
        session.method_started = True


def before_activity_control(
    context: dict[str, Any], configuration: dict[str, Any], secrets: dict[str, Any], **_: Any
) -> None:
    """Take the pause before the activity on the lab's clock."""
    session = current_or_none()
    if session is None:
        return
    session.activity = context.get("name", "")
    pauses = context.get("pauses")
    if pauses and context.get("dry") != Dry.PAUSE:
        # hidden from Chaos Toolkit, which would sleep on the wall's clock
        context["x-pauses"] = context.pop("pauses")
        with _kept(session, "the pause before an activity failed"):
            _sleep(session, substitute(pauses, configuration, secrets).get("before"))


def after_activity_control(
    context: dict[str, Any],
    configuration: dict[str, Any],
    secrets: dict[str, Any],
    state: dict[str, Any] | None = None,
    **_: Any,
) -> None:
    """Take the pause after it, and stop the experiment when a fault could not be injected or undone."""
    session = current_or_none()
    if session is None:
        return
    session.activity = ""
    pauses = context.pop("x-pauses", None)
    if pauses is not None:
        context["pauses"] = pauses
        if state is not None:  # the journal's copy
            state["activity"].pop("x-pauses", None)
            state["activity"]["pauses"] = pauses
    if _is_interrupted(session):
        return
    if session.interrupted:
        raise InterruptExecution("interrupted while an activity ran")
    if session.failures or session.error is not None:
        raise InterruptExecution("; ".join(map(str, session.failures)) or str(session.error))
    if pauses is not None:
        with _kept(session, "the pause after an activity failed"):
            _sleep(session, substitute(pauses, configuration, secrets).get("after"))


def after_method_control(context: dict[str, Any], **_: Any) -> None:
    """Wait for the end of the load, or take everything back at once after an interruption."""
    session = current_or_none()
    if session is None:
        return
    if _is_interrupted(session):
        session.heal_all()
        return
    with _kept(session, "the load could not be ended"):
        session.finish_load()


def after_experiment_control(context: dict[str, Any], state: dict[str, Any] | None = None, **_: Any) -> None:
    """Observe, take the lab down, and add what was found to the journal."""
    session = current_or_none()
    if session is None:
        return
    try:
        if session.load_is_over and not session.failures:
            session.observation()
        record = session.record()
        if state is not None:
            state["faultline"] = record
    except Exception as error:
        session.error = session.error or error
        raise InterruptExecution(str(error)) from error
    finally:
        _close(session)
    if state is not None and session.failures:
        state["status"] = "aborted"
        state["faultline"]["failures"] = [vars(failure) for failure in session.failures]


def cleanup_control() -> None:
    """Take the lab down if nothing else has."""
    session = current_or_none()
    if session is not None:
        _close(session)


def _close(session: Session) -> None:
    global _own
    try:
        session.close()
    except LabError as error:
        session.error = session.error or error
    finally:
        if session is _own:
            _own = None
            session.__exit__(None, None, None)


def _is_interrupted(session: Session) -> bool:
    """Whether an interruption is on its way out through the control; remembered by the session."""
    error = sys.exc_info()[1]
    if error is None or error is _in_flight:
        return False
    if isinstance(error, InterruptExecution | KeyboardInterrupt | SystemExit):
        # our own interruptions carry a reason that is on record already
        session.interrupted = session.interrupted or not (session.failures or session.error)
    return True


def _sleep(session: Session, seconds: float | None) -> None:
    if seconds:
        session.sleep(float(seconds))


def _session_for(context: dict[str, Any]) -> Session:
    """A session for an experiment that Chaos Toolkit was started with directly.

    Raises:
        InputError: the experiment is not one of ours, or does not fit its topology.
        LabError: there is no such backend.
    """
    data = {key: value for key, value in copy.deepcopy(context).items() if key != "dry"}
    experiment = from_document(Document(data, "experiment"))
    topology = load_topology(experiment.topology, size="lab")
    check(experiment, topology)
    _ensure_clusters(experiment)
    cache_activities(context)  # validating cleared the cache that `ref` is looked up in
    return Session(
        _open_lab(needs_clusters(experiment)), topology, experiment.workload, seed=experiment.seed or 0
    )


def _ensure_clusters(experiment: Experiment) -> None:
    """Refuse what only a Kubernetes cluster can suffer before a lab without clusters is brought up.

    Raises:
        InputError: every such fault.
    """
    if os.environ.get(BACKEND_VARIABLE, "local") != "local":
        return
    misfits = [
        Misfit(
            (*path, "provider", "func"),
            f"{scheduled.fault.fault} takes a Kubernetes cluster, and the local lab has none",
            hint=f"set {BACKEND_VARIABLE}=kind",
        )
        for path, scheduled in scheduled_with_places(experiment)
        if isinstance(scheduled.fault, KubernetesFault)
    ]
    if misfits:
        raise experiment.document.error(*misfits)


def _open_lab(on_clusters: bool) -> Lab:
    backend = os.environ.get(BACKEND_VARIABLE, "local")
    found = {entry.name: entry for entry in entry_points(group="faultline.labs")}
    if backend not in found:
        known = ", ".join(sorted(found)) or "none: reinstall faultline with `pip install .`"
        raise InputError(f"there is no lab {backend!r}", file=BACKEND_VARIABLE, expected=f"one of {known}")
    options = {"platform": KUBERNETES} if on_clusters and backend == "simulated" else {}
    lab: Lab = found[backend].load()(**options)
    return lab

"""How every action of the extension reaches the session: read, wait, inject, keep what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chaoslib.exceptions import ActivityFailed, InterruptExecution

from chaos.errors import LabError
from chaos.toolkit.session import Session, current
from experiments.activity import FAULT_ACTIONS, HealAllAction, WaitAction, fault_of, read_action
from topologies.errors import MisfitError

T = TypeVar("T")


def session() -> Session:
    """The session of this process.

    Raises:
        ActivityFailed: there is none.
    """
    try:
        return current()
    except LabError as error:
        raise ActivityFailed(str(error)) from error


def read(name: str, arguments: dict[str, Any]) -> Any:
    """Read an action's arguments; those that are None were not given.

    Raises:
        ActivityFailed: one is missing, unknown or unreadable.
    """
    try:
        return read_action(name, {key: value for key, value in arguments.items() if value is not None})
    except MisfitError as error:
        raise ActivityFailed(str(error)) from error


def inject(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Put the fault that the action ``name`` stands for in force.

    Raises:
        ActivityFailed: it could not be injected.
    """
    ours = session()
    action = read(name, arguments)
    assert not isinstance(action, WaitAction | HealAllAction) and name in FAULT_ACTIONS
    try:
        applied = interruptible(
            ours, lambda: ours.inject(fault_of(action), at=action.at, duration=action.duration)
        )
    except LabError as error:
        raise ActivityFailed(str(error)) from error
    return {"fault": name, "id": applied.injected.id, "at": applied.at, "due": applied.due}


def interruptible(ours: Session, work: Callable[[], T]) -> T:
    """Do ``work``; remember what Chaos Toolkit would take for no more than a failed activity.

    A SIGTERM while an activity runs, and whatever else breaks but is not the fault's failure, must
    end the run: the control asks the session after every activity.
    """
    try:
        return work()
    except InterruptExecution:
        ours.interrupted = True
        raise
    except Exception as error:
        if not ours.failures:
            ours.error = ours.error or error
        raise

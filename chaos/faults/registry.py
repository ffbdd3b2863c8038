"""Which driver carries out which fault, and the order that makes every fault undoable.

To add a fault: a model in `experiments.faults`, a driver in a file of its own, a line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from chaos.errors import InjectionError, LabError
from chaos.faults import degrade, kill, partition, pause
from chaos.faults.context import Component, FaultContext, FaultDriver, Inverse
from chaos.undo import Record, UndoLog
from experiments.faults import Fault

DRIVERS: Mapping[str, FaultDriver] = {
    "kill": kill.KillDriver(),
    "pause": pause.PauseDriver(),
    "partition": partition.PartitionDriver(),
    "degrade": degrade.DegradeDriver(),
}
"""By `Fault.fault`."""

UNDOERS: Mapping[str, FaultDriver] = {
    kill.KIND: DRIVERS["kill"],
    pause.KIND: DRIVERS["pause"],
    partition.KIND: DRIVERS["partition"],
    degrade.KIND: DRIVERS["degrade"],
}
"""By `Inverse.kind`."""


def plan(context: FaultContext, fault: Fault, name: str = "plan") -> Inverse:
    """What would undo ``fault``; touches nothing.

    Raises:
        InjectionError: the fault names something the lab does not have.
    """
    return _driver(fault).plan(context, fault, name)


def _driver(fault: Fault) -> FaultDriver:
    if fault.fault not in DRIVERS:
        raise InjectionError(f"{fault.fault} takes a Kubernetes cluster: this lab has plain processes")
    return DRIVERS[fault.fault]


def inject(context: FaultContext, log: UndoLog, fault: Fault) -> Record:
    """Put ``fault`` in force; its inverse is on disk before anything is touched.

    Returns:
        The record to hand to `undo`.

    Raises:
        InjectionError: it cannot be applied; what was applied of it has been taken back.
        LabError: the undo log cannot be written; nothing was touched.
    """
    driver = _driver(fault)
    name = f"fault-{log.next_id()}"
    inverse = driver.plan(context, fault, name)
    record = log.record(inverse, note=fault.model_dump_json(exclude_none=True))
    try:
        driver.inject(context, fault, name)
    except Exception as error:
        try:
            undo(context, log, record)
        except LabError as second:
            raise InjectionError(
                f"{fault.fault} failed ({error}), and so did taking it back ({second}): run `faultline heal`"
            ) from error
        if isinstance(error, LabError | OSError):
            raise InjectionError(f"could not {fault.fault}: {error}") from error
        raise
    return record


def undo(context: FaultContext, log: UndoLog, record: Record) -> None:
    """Take a fault back; harmless when that has happened before.

    Raises:
        InjectionError: it cannot be taken back; its record stays pending.
    """
    pending = log.pending()
    if record.id not in {one.id for one in pending}:
        return
    others = [one.inverse for one in pending if one.id != record.id]
    try:
        UNDOERS[record.inverse.kind].undo(context, record.inverse, others)
    except InjectionError:
        raise
    except (LabError, OSError) as error:
        raise InjectionError(f"could not take back {record.note or record.inverse.kind}: {error}") from error
    log.done(record.id)


def undo_command(inverse: Inverse) -> str:
    """The inverse in words, for plans and reports."""
    components = ", ".join(str(Component(*data)) for data in inverse.args.get("components", []))
    return {
        kill.KIND: f"start {components} again",
        pause.KIND: f"continue {components}",
        partition.KIND: "heal the cut",
        degrade.KIND: "restore the link",
    }[inverse.kind]

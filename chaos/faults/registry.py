"""Which driver carries out which fault, and the order that makes every fault undoable.

To add a fault: a model in `experiments.faults`, a driver in a file of its own, a line here, or in
`chaos.faults.kubernetes.registry` when it takes a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.errors import InjectionError, LabError
from chaos.faults import degrade, kill, partition, pause
from chaos.faults.context import Component, FaultContext, FaultDriver, Inverse
from chaos.undo import Record, UndoLog
from experiments.faults import Fault


@dataclass(frozen=True)
class Registry:
    """The faults of one kind of lab.

    Attributes:
        drivers: by `Fault.fault`.
        undoers: by `Inverse.kind`.
        words: what carrying out an inverse does, by `Inverse.kind`.
    """

    drivers: Mapping[str, FaultDriver[Any]]
    undoers: Mapping[str, FaultDriver[Any]]
    words: Mapping[str, Callable[[Inverse], str]]

    def plan(self, context: Any, fault: Fault, name: str = "plan") -> Inverse:
        """What would undo ``fault``; touches nothing.

        Raises:
            InjectionError: the fault names something the lab does not have.
        """
        return self._driver(fault).plan(context, fault, name)

    def inject(self, context: Any, log: UndoLog, fault: Fault) -> Record:
        """Put ``fault`` in force; its inverse is on disk before anything is touched.

        Returns:
            The record to hand to `undo`.

        Raises:
            InjectionError: it cannot be applied; what was applied of it has been taken back.
            LabError: the undo log cannot be written; nothing was touched.
        """
        driver = self._driver(fault)
        name = f"fault-{log.next_id()}"
        try:
            inverse = driver.plan(context, fault, name)
        except InjectionError:
            raise
        except LabError as error:
            raise InjectionError(f"could not {fault.fault}: {error}") from error
        record = log.record(inverse, note=fault.model_dump_json(exclude_none=True))
        try:
            driver.inject(context, fault, name)
        except Exception as error:
            try:
                self.undo(context, log, record)
            except LabError as second:
                raise InjectionError(
                    f"{fault.fault} failed ({error}), and so did taking it back ({second}): "
                    "run `faultline heal`"
                ) from error
            if isinstance(error, LabError | OSError):
                raise InjectionError(f"could not {fault.fault}: {error}") from error
            raise
        return record

    def undo(self, context: Any, log: UndoLog, record: Record) -> None:
        """Take a fault back; harmless when that has happened before.

        Raises:
            InjectionError: it cannot be taken back; its record stays pending.
        """
        pending = log.pending()
        if record.id not in {one.id for one in pending}:
            return
        others = [one.inverse for one in pending if one.id != record.id]
        try:
            self.undoers[record.inverse.kind].undo(context, record.inverse, others)
        except InjectionError:
            raise
        except (LabError, OSError) as error:
            raise InjectionError(
                f"could not take back {record.note or record.inverse.kind}: {error}"
            ) from error
        log.done(record.id)

    def undo_command(self, inverse: Inverse) -> str:
        """The inverse in words, for plans and reports."""
        return self.words[inverse.kind](inverse)

    def _driver(self, fault: Fault) -> FaultDriver[Any]:
        if fault.fault not in self.drivers:
            raise InjectionError(f"{fault.fault} takes a Kubernetes cluster: this lab has plain processes")
        return self.drivers[fault.fault]


def _components(inverse: Inverse) -> str:
    return ", ".join(str(Component(*data)) for data in inverse.args.get("components", []))


DRIVERS: Mapping[str, FaultDriver[FaultContext]] = {
    "kill": kill.KillDriver(),
    "pause": pause.PauseDriver(),
    "partition": partition.PartitionDriver(),
    "degrade": degrade.DegradeDriver(),
}
"""By `Fault.fault`."""

UNDOERS: Mapping[str, FaultDriver[FaultContext]] = {
    kill.KIND: DRIVERS["kill"],
    pause.KIND: DRIVERS["pause"],
    partition.KIND: DRIVERS["partition"],
    degrade.KIND: DRIVERS["degrade"],
}
"""By `Inverse.kind`."""

PROCESSES = Registry(
    drivers=DRIVERS,
    undoers=UNDOERS,
    words={
        kill.KIND: lambda inverse: f"start {_components(inverse)} again",
        pause.KIND: lambda inverse: f"continue {_components(inverse)}",
        partition.KIND: lambda inverse: "heal the cut",
        degrade.KIND: lambda inverse: "restore the link",
    },
)
"""The faults of a lab of plain processes."""


def plan(context: FaultContext, fault: Fault, name: str = "plan") -> Inverse:
    """As `Registry.plan`, on a lab of plain processes."""
    return PROCESSES.plan(context, fault, name)


def inject(context: FaultContext, log: UndoLog, fault: Fault) -> Record:
    """As `Registry.inject`, on a lab of plain processes."""
    return PROCESSES.inject(context, log, fault)


def undo(context: FaultContext, log: UndoLog, record: Record) -> None:
    """As `Registry.undo`, on a lab of plain processes."""
    PROCESSES.undo(context, log, record)


def undo_command(inverse: Inverse) -> str:
    """As `Registry.undo_command`, on a lab of plain processes."""
    return PROCESSES.undo_command(inverse)

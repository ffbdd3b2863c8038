"""A component stands still (SIGSTOP): connections stay open and nothing is answered."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import Component, FaultContext, Inverse, resolve
from chaos.host import processes
from chaos.host.processes import Process
from experiments.faults import Pause

KIND = "continue"
PATIENCE = 2.0


class PauseDriver:
    """SIGSTOP to every process of the target, SIGCONT to take it back."""

    def plan(self, context: FaultContext, fault: Pause, name: str) -> Inverse:
        """Continue these very processes, and whatever else the components have by then."""
        found = resolve(fault.target, context.components())
        stopping = {component: context.processes(component) for component in found}
        down = [str(component) for component, live in stopping.items() if not live]
        if down:
            raise InjectionError(f"cannot pause {', '.join(down)}: it is not running")
        return Inverse(
            KIND,
            {
                "components": [component.data() for component in found],
                "processes": [process.data() for live in stopping.values() for process in live],
            },
        )

    def inject(self, context: FaultContext, fault: Pause, name: str) -> None:
        """Stop all processes of the target and return when none of them runs any more."""
        deadline = time.monotonic() + PATIENCE
        for component in resolve(fault.target, context.components()):
            # Again until nothing is left: a process may have forked before its own signal came.
            while running := [p for p in context.processes(component) if not processes.is_stopped(p)]:
                for process in running:
                    processes.send(process, signal.SIGSTOP)
                if time.monotonic() > deadline:
                    raise InjectionError(f"{component} does not stop: pid {running[0].pid}")
                time.sleep(0.0005)

    def undo(self, context: FaultContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Continue what is not held by another pause; processes that ended since are left out."""
        held = {Component(*c) for other in others if other.kind == KIND for c in other.args["components"]}
        components = [Component(*data) for data in inverse.args["components"]]
        kept = {
            process
            for component in components
            if component in held
            for process in context.processes(component)
        }
        reached = {Process(*data) for data in inverse.args["processes"]} - kept
        for component in components:
            if component not in held:
                reached |= set(context.processes(component))
        for process in sorted(reached, key=lambda one: one.pid):
            processes.send(process, signal.SIGCONT)

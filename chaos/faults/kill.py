"""A component's processes end at once; the inverse starts it again."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Component, FaultContext, Inverse, resolve
from chaos.host import processes
from experiments.faults import Kill

KIND = "restart"
PATIENCE = 5.0


class KillDriver:
    """SIGKILL is a crash (nothing is flushed, nobody is told), SIGTERM a graceful stop."""

    def plan(self, context: FaultContext, fault: Kill, name: str) -> Inverse:
        """Restart whatever the target names."""
        found = resolve(fault.target, context.components())
        down = [component for component in found if not context.processes(component)]
        if down:
            raise InjectionError(f"cannot kill {', '.join(map(str, down))}: it is not running")
        return Inverse(KIND, {"components": [component.data() for component in found]})

    def inject(self, context: FaultContext, fault: Kill, name: str) -> None:
        """Send the signal to all processes of the target.

        A crash leaves no process behind when this returns; a graceful stop takes its own time.
        """
        number = signal.SIGKILL if fault.signal == "KILL" else signal.SIGTERM
        for component in resolve(fault.target, context.components()):
            for process in context.processes(component):
                processes.send(process, number)
            # A process forked in between, and children of a parent that would start new ones.
            deadline = time.monotonic() + PATIENCE
            while fault.signal == "KILL" and (left := context.processes(component)):
                for process in left:
                    processes.send(process, number)
                processes.wait(left[0], 0.1)
                if time.monotonic() > deadline:
                    raise InjectionError(f"{component} does not end on SIGKILL: pid {left[0].pid}")

    def undo(self, context: FaultContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Start what is down and not held down by another kill."""
        kept_down = {
            Component(*c) for other in others if other.kind == KIND for c in other.args["components"]
        }
        failed = []
        for component in (Component(*data) for data in inverse.args["components"]):
            if component in kept_down:
                continue
            # After SIGTERM it may still be on its way down: two at once would fight over its data.
            processes.stop_all(context.processes(component), grace=30.0)
            try:
                context.restart(component)
            except LabError as error:
                failed.append(f"{component}: {error}")
        if failed:
            raise InjectionError(f"could not restart {'; '.join(failed)}")

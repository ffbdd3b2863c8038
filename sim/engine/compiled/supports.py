"""What the compiled engine does not know."""

from __future__ import annotations

from sim.program import Program
from sim.steps import KINDS, LOCK_INSERT, LOCK_RANGE

MOST_FRONT_ENDS = 60
"""A client's addresses are the bits of a word."""


def supports(program: Program) -> str:
    """Why ``program`` needs the reference engine, empty when it does not."""
    if program.platform is not None:
        return "what Kubernetes does is simulated by the reference engine only"
    if sum(component.kind == "haproxy" for component in program.components) > MOST_FRONT_ENDS:
        return f"more than {MOST_FRONT_ENDS} front ends are simulated by the reference engine only"
    steps = program.steps
    first = steps.first.tolist()
    for number, kind in enumerate(KINDS):
        locks = [k for k in steps.kind[first[number] : first[number + 1]] if k in (LOCK_INSERT, LOCK_RANGE)]
        if LOCK_RANGE in locks[1:]:
            return f"{kind} scans token_scope late: deadlocks are found by the reference engine only"
    return ""

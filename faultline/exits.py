"""What the process says to the shell."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command.

    64 and 70 are `EX_USAGE` and `EX_SOFTWARE` of BSD sysexits; 130 is what shells
    report for a process ended by SIGINT.
    """

    HELD = 0
    """Done; for a run: every hypothesis held and the prediction was right."""
    DEVIATED = 1
    """A hypothesis or the prediction deviated; for `ledger verify`: the chain is broken."""
    INCONCLUSIVE = 2
    """Nothing can be said: too few samples, an interval too wide, or a disturbed lab."""
    INJECTION_FAILED = 3
    """The lab, a fault or its undo failed."""
    USAGE = 64
    """A file or an option the user gave is wrong, or this machine lacks something."""
    INTERNAL = 70
    """A defect of this program, or the disk or operating system refused."""
    INTERRUPTED = 130
    """Ctrl-C; the lab has been taken down."""

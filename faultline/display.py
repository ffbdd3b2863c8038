"""Progress for people, on standard error: a live list of phases on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import RenderableType

Clock = Callable[[], float]


class Display(Protocol):
    """Told what a run is doing. A context manager."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing; an error marks the running phase as failed."""

    def phase(self, name: str, text: str = "", expected: float | None = None) -> None:
        """A phase begins, and the one before is over.

        Args:
            name: short and unique.
            text: what it does.
            expected: seconds it should take, if known.
        """

    def note(self, text: str) -> None:
        """Something happened within the phase."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def phase(self, name: str, text: str = "", expected: float | None = None) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class Lines:
    """One line per phase and note, with the seconds since the start: for logs and pipes."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    def __enter__(self) -> Self:
        """Start the clock."""
        self._start = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def phase(self, name: str, text: str = "", expected: float | None = None) -> None:
        """Write the phase's line."""
        about = f" (about {expected:.0f} s)" if expected else ""
        self._write(f"{name}{': ' if text else ''}{text}{about}")

    def note(self, text: str) -> None:
        """Write an indented line."""
        self._write(f"  {text}")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # nobody reads any more (`| head`, a closed terminal): the work goes on
            sys.stderr.write(f"[{self._clock() - self._start:7.1f} s] {text}\n")
            sys.stderr.flush()


@dataclass
class _Phase:
    name: str
    text: str
    expected: float | None
    start: float
    end: float | None = None
    failed: bool = False
    notes: list[str] = field(default_factory=list)


class Live:
    """A list of phases with their times, redrawn four times a second."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        self._clock = clock
        self._phases: list[_Phase] = []
        self._spinner = Spinner("dots")
        self._live = RichLive(
            console=Console(stderr=True, highlight=False),
            get_renderable=self.render,
            refresh_per_second=4,
            transient=False,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the last state and leave it on the screen."""
        self._finish(failed=error is not None)
        self._live.__exit__(kind, error, trace)

    def phase(self, name: str, text: str = "", expected: float | None = None) -> None:
        """Add a phase to the list."""
        self._finish()
        self._phases.append(_Phase(name, text, expected, self._clock()))
        self._live.refresh()

    def note(self, text: str) -> None:
        """Show what happened last beside the phase."""
        if self._phases:
            self._phases[-1].notes.append(text)

    def _finish(self, failed: bool = False) -> None:
        if self._phases and self._phases[-1].end is None:
            self._phases[-1].end = self._clock()
            self._phases[-1].failed = failed

    def render(self) -> RenderableType:
        """The list as it stands now."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(style="bold", min_width=10, no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        table.add_column(justify="right")
        for phase in self._phases:
            spent = (phase.end or self._clock()) - phase.start
            sign: RenderableType = Text("✗", "red") if phase.failed else Text("✓", "green")
            if phase.end is None:
                sign = self._spinner
            last = f"{phase.text}" + (f" · {phase.notes[-1]}" if phase.notes else "")
            table.add_row(sign, phase.name, Text(last, "" if phase.end is None else "dim"), f"{spent:.1f} s")
            if phase.end is None and phase.expected:
                bar = ProgressBar(total=phase.expected, completed=min(spent, phase.expected), width=40)
                table.add_row("", "", bar, f"of {phase.expected:.0f} s")
        return table


def display(quiet: bool = False) -> Display:
    """The right one for where standard error goes."""
    if quiet:
        return Silent()
    if sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}:
        return Live()
    return Lines()

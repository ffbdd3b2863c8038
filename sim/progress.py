"""A progress bar wherever a study runs: in a notebook, on a terminal, or nowhere to be seen."""

from __future__ import annotations

import sys
import time
from typing import Any

_EVERY = 0.2
"""Seconds between two redraws at least."""


class Bar:
    """Told (done, total) it shows how far the work is and how long it will take; a `sim.rounds.Progress`.

    In a notebook one line of HTML, on a terminal one line on standard error, else nothing.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._drawn = time.monotonic()
        self._first: int | None = None
        self._handle: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        now = time.monotonic()
        if self._first is None:
            self._first = done  # what a journal held already says nothing about the speed
        if done < total and self._handle is not None and now - self._drawn < _EVERY:
            return
        self._drawn = now
        spent = now - self._start
        fresh = done - self._first
        left = "" if not fresh or done >= total else f", {spent / fresh * (total - done):.0f} s left"
        line = f"{self._text}: {done} of {total} in {spent:.0f} s{left}"
        if in_notebook():
            self._show(line, done, total)
        elif sys.stderr.isatty():
            self._handle = True
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if done >= total else ""))
            sys.stderr.flush()

    def _show(self, line: str, done: int, total: int) -> None:
        from html import escape

        from IPython.display import HTML, display

        html = HTML(  # type: ignore[no-untyped-call]
            f'<progress value="{done}" max="{total}"></progress> {escape(line)}'
        )
        if self._handle is None:
            self._handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(html)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"

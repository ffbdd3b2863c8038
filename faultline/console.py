"""Where output goes: results to standard output, everything for people meanwhile to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def out() -> Console:
    """Standard output, for results in words."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def print_json(data: Any) -> None:
    """Write a result as JSON to standard output."""
    sys.stdout.write(json.dumps(data, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n")


STYLES = {"held": "green", "deviated": "red", "inconclusive": "yellow", "ok": "green", "missing": "red"}


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", numeric: Sequence[int] = ()
) -> None:
    """Write a table to standard output; words that are verdicts get their colour."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for index, name in enumerate(columns):
        # Numbers stay in one piece; on a narrow terminal the words beside them fold.
        number = index in numeric
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    console = out()
    if not console.is_terminal:
        # Pipes have no width: give the table all it needs rather than fold it at 80.
        console.width = 200
    console.print(table)

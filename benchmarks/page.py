"""docs/speed.md from a record of `make bench`: no speed stands there that was not measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
_TOLD = {"ours", "reference", "peers", "theory", "held", "took", "numba loop by hand"}


def page(record: dict[str, Any], source: str) -> str:
    """The page of one record, which lies in the file ``source``."""
    machine = record["machine"]
    lines = [
        "# How fast it is",
        "",
        f"From [{source}](../{source}), written by `make bench` on {record['date'][:10]}:",
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}.",
        "Seconds are CPU seconds, those of a sweep wall time; ratios are of timings of one run.",
    ]
    for name, found in record["subjects"].items():
        lines += ["", f"## {name}", ""]
        if "ours" in found:
            lines += _compared(found)
        lines += [f"- {what}: {_text(value)}" for what, value in found.items() if what not in _TOLD]
        lines += ["", "| promised | held |", "|---|---|"] if found["held"] else []
        lines += [f"| {what} | {'yes' if held else '**no**'} |" for what, held in found["held"].items()]
    return "\n".join(lines) + "\n"


def _compared(found: dict[str, Any]) -> list[str]:
    rows = [("Faultline", found["ours"]), ("our SimPy reference", found["reference"])]
    rows += found["peers"].items()
    lines = ["| | customers per second | Faultline is faster by |", "|---|---:|---:|"]
    for name, run in rows:
        if "not run" in run:
            lines.append(f"| {name} | not run: {run['not run']} | |")
        else:
            ratio = f"{run['ratio']:g}" if "ratio" in run else ""
            note = f" ({run['note']})" if "note" in run else ""
            lines.append(f"| {name}{note} | {run['per_second']:,.0f} | {ratio} |")
    if "numba loop by hand" in found:
        by_hand = found["numba loop by hand"]
        lines.append(
            f"| a numba loop by hand | {by_hand['per_second']:,.0f} | {1 / by_hand['times as long']:.2f} |"
        )
    return [*lines, ""]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

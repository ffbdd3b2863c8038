"""The campaign as tables: on the terminal, and in docs/validation.md between its markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.campaign.cells import CELLS, REPEATS
from benchmarks.campaign.gates import COVERAGE, GATES, Outcome, Residual, coverage, outcomes, residuals
from benchmarks.campaign.record import Recorded

BEGIN, END = "<!-- campaign: begin -->", "<!-- campaign: end -->"

HEAD = ("metric", "n", "error", "bias", "coverage", "gate", "")
RULES = """\
Error: mean over cells of the absolute relative error, predicted mean against the mean of the repeats;
bias: the same, signed (positive: predicted too high), which may be half the gate. Coverage: share of runs
inside their registered 90 % interval. Left out of a row: cells with too few samples for it, values cut
off by the end of a run, and certainties that held. Small rates and times are measured against the
absolute difference that is allowed (conflicts 0.2 points, stale reads 2 points, times the probes' period)."""


def gate_rows(found: Sequence[Residual]) -> list[tuple[str, ...]]:
    """One row per gate and one for the coverage of all of them."""
    rows = [_gate_row(outcome) for outcome in outcomes(found)]
    covered = coverage(found)
    runs = sum(one.runs for one in found)
    told = "–" if covered is None else "held" if covered >= COVERAGE else "**missed**"
    rows.append(("90 % intervals", f"{runs} values", "", "", _share(covered), f">= {COVERAGE:.0%}", told))
    return rows


def _gate_row(outcome: Outcome) -> tuple[str, ...]:
    told = {None: "–", True: "held", False: "**missed**"}[outcome.held]
    covered = outcome.inside / outcome.runs if outcome.runs else None
    return (
        outcome.gate.name,
        str(outcome.n),
        _share(outcome.mape),
        _signed(outcome.bias),
        _share(covered),
        f"<= {outcome.gate.limit:.0%}",
        told,
    )


def cell_rows(cells: Sequence[Recorded], found: Sequence[Residual]) -> list[tuple[str, ...]]:
    """One row per cell: what the machine did, the signed error of each gate, the worst of them."""
    order = {cell.name: place for place, cell in enumerate(CELLS)}
    rows = []
    for cell in sorted(cells, key=lambda one: (order.get(one.name, len(order)), one.name)):
        mine = {one.gate.column: one for one in found if one.cell == cell.name}
        worst = max(mine.values(), key=lambda one: one.excess, default=None)
        health = [repeat["health"] for repeat in cell.counted]
        busy = max((one.get("busy", 0.0) for one in health), default=0.0)
        wan = max((one.get("cpu", {}).get("net", 0.0) for one in health), default=0.0)
        told = "–"
        if worst is not None:
            told = f"{worst.gate.name} {_value(worst.predicted)} for {_value(worst.measured)}"
        rows.append(
            (
                cell.name,
                f"{busy:.0%}",
                f"{wan:.2f}",
                f"{len(cell.sound)} of {len(cell.counted)}",
                *(_signed(mine[gate.column].error) if gate.column in mine else "–" for gate in GATES),
                told,
            )
        )
    return rows


CELL_HEAD = ("cell", "busy", "WAN", "sound", *(gate.column for gate in GATES), "worst: predicted, measured")


def page(cells: Sequence[Recorded]) -> str:
    """The part of docs/validation.md between the markers."""
    sound, counted = residuals(cells), residuals(cells, "counted")
    repeats = sum(len(cell.counted) for cell in cells)
    disturbed = repeats - sum(len(cell.sound) for cell in cells)
    faults = sum(cell.data["factors"]["kind"] == "fault" for cell in cells)
    lines = [
        BEGIN,
        "## Campaign on the local lab",
        "",
        f"{len(cells)} cells, {len(cells) - faults} without and {faults} with faults, {REPEATS} runs each, "
        "on real daemons (`make validate`). Calibrated once, at rest; every prediction was registered in the",
        "ledger before its measurement. Data: `tests/corpus/campaign/`, one file per cell with the ledger's",
        f"rows. {repeats} runs stand, {disturbed} of them on a disturbed machine: those are listed (`sound`",
        "below counts the others) and left out of the first table.",
        "",
        *_machine(cells),
        "",
        *_table(HEAD, gate_rows(sound)),
        "",
        *RULES.splitlines(),
        "",
        "With the disturbed runs included:",
        "",
        *_table(HEAD, gate_rows(counted)),
        "",
        "### Cells",
        "",
        "Signed relative errors. `m3-all-30ms-u16`: three members, every site writes, round trip 30 ms, 16",
        "users; `skewed`: four fifths of the round trip are spent on the way out. `busy`: of the machine,",
        "`WAN`: cores that relay and WireGuard used, in the worst run.",
        "",
        *_table(CELL_HEAD, cell_rows(cells, counted)),
        "",
        *_in_points(counted),
        END,
    ]
    return "\n".join(lines) + "\n"


def _in_points(found: Sequence[Residual]) -> list[str]:
    """How far off shares of conflicts are in points: of small shares the relative error says little."""
    mine = [one for one in found if one.gate.column == "conflicts"]
    if not mine:
        return []
    apart = {one.cell: 100 * (one.predicted - one.measured) for one in mine}
    most = max(apart, key=lambda cell: abs(apart[cell]))
    high, far = (
        sum(value > 0 for value in apart.values()),
        sum(abs(value) > 1 for value in apart.values()),
    )
    return [
        f"Conflicts in points: {high} of {len(mine)} cells were predicted too high, {far} are more than a",
        f"point apart, most `{most}` ({apart[most]:+.1f}).",
    ]


def report(cells: Sequence[Recorded], note: Callable[[str], None] = print) -> None:
    """The same on the terminal."""
    found = residuals(cells)
    for head, rows in ((HEAD, gate_rows(found)), (CELL_HEAD, cell_rows(cells, residuals(cells, "counted")))):
        for line in _aligned([head, *rows]):
            note(line)
        note("")


def _machine(cells: Sequence[Recorded]) -> list[str]:
    if not cells:
        return []
    machine = cells[0].data["machine"]
    versions = cells[0].data["lab"].get("versions", {})
    told = ", ".join(f"{name} {value}" for name, value in sorted(machine.items()))
    daemons = ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))
    days = sorted({repeat["load_started"][:10] for cell in cells for repeat in cell.counted})
    return [f"Measured {' and '.join(days)}. Machine: {told}. Versions: {daemons}."]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---"] * len(head)
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f} %"


def _value(value: float) -> str:
    return f"{value:.3g}"

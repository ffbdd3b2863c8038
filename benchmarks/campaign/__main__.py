"""The command line of the campaign: `python -m benchmarks.campaign --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.campaign import table
from benchmarks.campaign.again import predicted_again
from benchmarks.campaign.cells import CELLS, Cell, named
from benchmarks.campaign.gates import all_held, residuals
from benchmarks.campaign.record import ROOM, ROOT, read_all
from benchmarks.campaign.run import Campaign, grouped, seconds_of, within
from benchmarks.published import PAGE, written
from faultline.signals import patient_with_signals
from sim.calibration import load as load_calibration
from topologies.errors import InputError

HOME = ROOT / ".faultline" / "campaign"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaign",
        description="Predict, register and measure the cells of the validation campaign on the local lab "
        "(root), then print how far off the predictions were and write docs/validation.md. A campaign that "
        "was interrupted goes on with what is missing.",
    )
    parser.add_argument("--list", action="store_true", help="print the cells and their cost, and do nothing")
    parser.add_argument("--cells", nargs="+", metavar="NAME", help="only these")
    parser.add_argument(
        "--budget", type=float, metavar="MINUTES", help="the most important of the missing cells that fit"
    )
    parser.add_argument(
        "--home", type=Path, default=HOME, help="calibration and ledger (default: %(default)s)"
    )
    parser.add_argument("--room", type=Path, default=ROOM, help="data files (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="print and write the tables of what is recorded")
    parser.add_argument(
        "--again",
        action="store_true",
        help="predict recorded cells with the present model and print the tables; writes nothing",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="with --again: predict with this instead of the campaign's own",
    )
    parser.add_argument("--no-page", action="store_true", help="leave docs/validation.md as it is")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Exit code: 0 every gate held, 1 one was missed, 2 a cell could not be measured, 64 bad usage.

    Interrupted: 130.
    """
    arguments = _parser().parse_args(words)
    try:
        cells: Sequence[Cell] = named(arguments.cells) if arguments.cells else CELLS
    except KeyError as error:
        print(f"there is no cell {error}; --list names all", file=sys.stderr)
        return 64
    if arguments.calibration is not None and not arguments.again:
        print("--calibration goes with --again: a campaign measures its own", file=sys.stderr)
        return 64
    if arguments.list:
        return _list(cells if arguments.budget is None else within(cells, 60 * arguments.budget))
    if arguments.again:
        if not (arguments.room / "calibration.json").exists():
            print(f"{arguments.room}: nothing is recorded here; --room says where to look", file=sys.stderr)
            return 64
        try:
            calibration = load_calibration(arguments.calibration or arguments.room / "calibration.json")
        except InputError as error:
            print(error, file=sys.stderr)
            return 64
        names = {cell.name for cell in cells}
        recorded = [one for one in read_all(arguments.room) if one.name in names]
        print("Predicted after the measurement, with the present model: no evidence, a comparison.")
        table.report([predicted_again(one, calibration) for one in recorded])
        return 0
    campaign = Campaign(arguments.home, arguments.room, _note)
    if not arguments.table:
        deadline = float("inf") if arguments.budget is None else time.monotonic() + 60 * arguments.budget
        try:
            with patient_with_signals():
                campaign.run(cells, deadline)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on with what is missing", file=sys.stderr)
            return 130
    recorded = read_all(arguments.room)
    table.report(recorded)
    if not arguments.no_page:
        PAGE.write_text(written(table.page(recorded), table.BEGIN, table.END), encoding="utf-8")
    for name in campaign.failed:
        print(f"not measured: {name}", file=sys.stderr)
    if campaign.failed:
        return 2
    return 0 if all_held(residuals(recorded)) else 1


def _list(cells: Sequence[Cell]) -> int:
    groups = grouped(cells)
    for number, group in enumerate(groups, start=1):
        for cell in group:
            told = [f"{cell.users} users, think {cell.think:g}s, {cell.flow}"]
            told += [f"{one.fault.fault} {one.duration:g}s at {one.at:g}s" for one in cell.timeline]
            length = f"{cell.workload.duration:4.0f}s {seconds_of(cell) / 60:4.1f} min"
            print(f"lab {number:2}  {cell.name:36} {length}  {'; '.join(told)}")
    total = sum(seconds_of(cell) for cell in cells) / 60
    print(f"{len(cells)} cells, {len(groups)} labs, {total:.0f} minutes and the labs' own time")
    return 0


def _note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

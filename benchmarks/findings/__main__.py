"""Simulate the study and write docs/findings.md: `make findings`.

What was simulated before, by the same model, is taken from the journal: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.findings.cases import everything
from benchmarks.findings.charts import draw
from benchmarks.findings.claims import findings
from benchmarks.findings.page import page
from benchmarks.findings.study import FULL, QUICK, SEED, Results, recorded, simulate
from benchmarks.findings.where import LOOKED_AT, Where, look
from sim.sweep import model_version

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "findings.md"
JOURNAL = ROOT / ".faultline" / "findings.sqlite"
RECORD = "results.json"
SCHEMA = "faultline/findings/1"


def main(words: list[str]) -> int:
    """Simulate, check, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.findings", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few users for seconds: tries the command")
    parser.add_argument("--again", action="store_true", help="only write the page again, from its record")
    parser.add_argument("--so-far", action="store_true", help="simulate nothing more: what the journal has")
    parser.add_argument("--output", type=Path, help="page to write (docs/findings.md)")
    parser.add_argument("--journal", type=Path, default=JOURNAL, help="file of results (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args(words)
    if options.quick and options.output is None:
        parser.error("--quick gives rough numbers: name another page with --output")
    output = options.output or PAGE
    if options.again:
        write(output, json.loads((output.with_suffix("") / RECORD).read_text(encoding="utf-8")))
        return 0
    options.journal.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            print(f"{done} of {total} trials, {time.monotonic() - start:.0f} s", file=sys.stderr)

    size = QUICK if options.quick else FULL
    results = simulate(
        recorded(everything(), size, options.journal) if options.so_far else everything(),
        size,
        journal=options.journal,
        workers=options.workers,
        progress=progress,
    )
    looked_at = LOOKED_AT[:2] if options.quick else LOOKED_AT
    write(output, record(results, [look(key, quick=options.quick) for key in looked_at]))
    print(f"{output} written after {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 0


def record(results: Results, looks: list[Where]) -> dict[str, Any]:
    """All that the page is made of, as plain data."""
    return {
        "schema": SCHEMA,
        "seed": SEED,
        "model": model_version(),
        "cases": results.data(),
        "where": [one.data() for one in looks],
    }


def text_of(data: dict[str, Any]) -> str:
    """The page of a record."""
    return page(Results.of_data(data["cases"]), findings(), [Where(**one) for one in data["where"]])


def write(output: Path, data: dict[str, Any]) -> None:
    """The page, its record, and its pictures in a folder of the page's name beside it."""
    folder = output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in data["cases"])
    rest = {name: value for name, value in data.items() if name != "cases"}
    head = json.dumps(rest, allow_nan=False)[:-1]
    (folder / RECORD).write_text(f'{head},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")
    draw(Results.of_data(data["cases"]), folder)
    output.write_text(text_of(data), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run the benchmarks and write what came out, with the machine: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import closed, footprint, growth, lines, sweeps, trial
from benchmarks.machine import facts
from benchmarks.page import PAGE, page

RESULTS = Path(__file__).parent / "results"
SUBJECTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "mm1": lines.run,
    "mm4": lines.many_servers,
    "closed": closed.run,
    "growth": growth.run,
    "trial": trial.talk,
    "day": trial.day,
    "compile": footprint.compiling,
    "start": footprint.starting,
    "memory": footprint.memory,
    "sweep": sweeps.run,
}


def main(words: list[str]) -> int:
    """Run the subjects that are named, or all; 1 when something promised was not held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of: {', '.join(SUBJECTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="a small fraction of the work: seconds, rough figures"
    )
    parser.add_argument("--output", type=Path, help="file to write; default: results/<date>.json")
    options = parser.parse_args(words)
    unknown = sorted(set(options.subjects) - set(SUBJECTS))
    if unknown:
        parser.error(f"there is no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    record = run(options.subjects or list(SUBJECTS), options.quick)
    path = options.output or RESULTS / f"{record['date'][:10]}{'-quick' if options.quick else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {path}")
    if path.is_relative_to(RESULTS) and not options.quick and set(record["subjects"]) == set(SUBJECTS):
        PAGE.write_text(page(record, str(path.relative_to(PAGE.parents[1]))))
        print(f"written to {PAGE}")
    missed = [
        f"{name}: {what}"
        for name, found in record["subjects"].items()
        for what, held in found["held"].items()
        if not held
    ]
    for line in missed:
        print(f"not held: {line}")
    return 1 if missed else 0


def run(subjects: list[str], quick: bool) -> dict[str, Any]:
    """The record of one run: date, machine, and each subject's figures with the seconds it took."""
    record: dict[str, Any] = {
        "schema": "faultline/benchmarks/1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": facts(),
        "subjects": {},
    }
    for name in subjects:
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        found = SUBJECTS[name](quick)
        record["subjects"][name] = found | {"took": round(time.monotonic() - start, 1)}
        print(json.dumps(found, indent=1), flush=True)
    return record


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Simulate the study and write docs/findings.md: `make findings`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.findings.claims import FINDINGS
from benchmarks.findings.page import page
from benchmarks.findings.study import FULL, QUICK, grid, simulate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "findings.md"
JOURNAL = ROOT / ".faultline" / "findings.sqlite"


def main(words: list[str]) -> int:
    """Simulate, check, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.findings", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few users for seconds: tries the command")
    parser.add_argument("--output", type=Path, help="page to write (docs/findings.md)")
    parser.add_argument("--journal", type=Path, help="file of results; an interrupted run goes on from it")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args(words)
    if options.quick and options.output is None:
        parser.error("--quick writes rough numbers: name another page with --output")
    journal = options.journal or JOURNAL
    journal.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} trials, {time.monotonic() - start:.0f} s", end="", file=sys.stderr)

    size = QUICK if options.quick else FULL
    results = simulate(grid(), size, journal=journal, workers=options.workers, progress=progress)
    output = options.output or PAGE
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(results, FINDINGS), encoding="utf-8")
    print(f"\n{output} written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

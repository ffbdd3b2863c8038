"""The pictures of docs/findings.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import BUSY, CALM, FLOWS, Results
from sim.charts import Mark, rows

_THROUGHPUT = ("throughput", "answers per second", 1.0)
_P95 = ("latency_p95", "p95, s", 1.0)
_FAILED = ("failed", "failed, %", 100.0)

NAMES = tuple(
    (f"{figure.replace('_', '-')}-{flow}-{short}", flow, load, title, figure, scale)
    for short, load, flow, (figure, title, scale) in (
        *(("busy", BUSY, flow, _THROUGHPUT) for flow in FLOWS),
        ("busy", BUSY, "workflow", _FAILED),
        *(("calm", CALM, flow, _P95) for flow in FLOWS),
        ("calm", CALM, "workflow", _FAILED),
    )
)
"""File name, flow, load, title, figure, factor."""


def draw(results: Results, folder: Path) -> list[Path]:
    """Write a picture for every load and figure; returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, flow, load, title, figure, scale in NAMES:
        marks = []
        for setup in SETUPS.values():
            case = setup.name, flow, load
            if case in results.values:
                found = results.estimate(case, figure)
                if found.value == found.value:
                    marks.append(
                        Mark(setup.title, scale * found.value, scale * found.low, scale * found.high)
                    )
        path = folder / f"{name}.svg"
        rows(marks, title=f"{flow}, {load}", x=title).save(path)
        written.append(path)
    return written

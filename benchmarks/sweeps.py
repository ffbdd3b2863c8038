"""A sweep of 1000 programs with ten replications each: one core, two cores, and again from the journal."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.workload import ProbeStream, Workload
from sim.predict import Scenario
from sim.sweep import Point, sweep
from topologies.loader import load

FASTER = 1.8
"""What is promised of two cores."""


def points(count: int) -> list[Point]:
    """Programs that differ in round trip and users."""
    found = []
    deployed = load("iris-2site-galera", size="lab")
    for number in range(count):
        rtt, users = 5 + number // 10, 1 + number % 10
        workload = Workload(
            users=users, think=1.0, duration=10.0, warmup=2.0, probes=(ProbeStream(flow="health", rate=1.0),)
        )
        topology = deployed.with_(f"links[*].rtt={rtt}ms")
        found.append(Point({"rtt": rtt, "users": users}, Scenario(topology, workload)))
    return found


def run(quick: bool) -> dict[str, Any]:
    """One record."""
    programs, replications = (12, 2) if quick else (1000, 10)
    given = points(programs)
    with tempfile.TemporaryDirectory() as folder:
        one = _timed(given, replications, 1, Path(folder) / "one.sqlite")
        two = _timed(given, replications, 2, Path(folder) / "two.sqlite")
        again = _timed(given, replications, 2, Path(folder) / "two.sqlite")
    same = one["frame"].equals(two["frame"]) and two["frame"].equals(again["frame"])
    return {
        "programs": programs,
        "replications": replications,
        "seconds on one core": round(one["seconds"], 2),
        "seconds on two cores": round(two["seconds"], 2),
        "seconds from the journal": round(again["seconds"], 2),
        "speed-up": round(one["seconds"] / two["seconds"], 2),
        "held": {
            "the same results, none lost, none twice": same and len(two["frame"]) > 0,
        }
        # A dozen programs take less than the processes take to start.
        | ({} if quick else {f">= {FASTER:g}x one core on two": one["seconds"] >= FASTER * two["seconds"]}),
    }


def _timed(given: list[Point], replications: int, workers: int, journal: Path) -> dict[str, Any]:
    start = time.monotonic()
    found = sweep(given, replications=replications, workers=workers, journal=journal)
    return {"seconds": time.monotonic() - start, "frame": found.samples()}

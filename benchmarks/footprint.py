"""What it takes besides the simulation: compiling once, starting, memory. Each in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMPILE_LIMIT, START_LIMIT = 30.0, 1.5
"""CPU seconds that are promised."""

MEMORY_LIMIT = 1 << 30
"""Bytes that are promised for an hour of 500 users with every request kept."""

SAME = 1.1
"""A longer run meets a somewhat higher peak of requests under way at once."""

HOUR = """
import json, resource, sys
from benchmarks.footprint import hour
print(json.dumps(hour(*json.loads(sys.argv[1]))))
"""


def compiling(quick: bool) -> dict[str, Any]:
    """CPU seconds of the first compilation on a machine."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        spent, told = _child(["-m", "sim.engine.warm"], {"FAULTLINE_CACHE": folder})
    return {
        "seconds": round(spent, 1),
        "says": told.splitlines()[0],
        "held": {f"<= {COMPILE_LIMIT:g} s": spent <= COMPILE_LIMIT},
    }


def starting(quick: bool) -> dict[str, Any]:
    """CPU seconds of the whole command `faultline predict` for a small experiment, compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "faultline", "predict", "baseline", "--replications", "2"]
        words += ["--output", str(Path(folder) / "prediction.json")]
        _child(words)
        spent = [_child(words)[0] for _ in range(1 if quick else 5)]
    return {
        "command": "faultline " + " ".join(words[2:6]),
        "seconds": round(min(spent), 2),
        "held": {f"<= {START_LIMIT:g} s": min(spent) <= START_LIMIT},
    }


def memory(quick: bool) -> dict[str, Any]:
    """Memory of an hour of 500 users: with all requests kept, and with none for a tenth of the time."""
    seconds, users = (60.0, 50) if quick else (3600.0, 500)
    kept, short, long = (
        json.loads(_child(["-c", HOUR, json.dumps(work)])[1])
        for work in ((seconds, users, True), (seconds / 10, users, False), (seconds, users, False))
    )
    return {
        "simulated seconds": seconds,
        "users": users,
        "requests": kept["requests"],
        "MiB with all requests": round(kept["peak"] / 2**20),
        "bytes in columns per request": round(kept["bytes"] / kept["requests"], 1),
        "bytes in Parquet per request": round(kept["file"] / kept["requests"], 1),
        "MiB without": round(long["peak"] / 2**20),
        "MiB without, a tenth of the time": round(short["peak"] / 2**20),
        "held": {
            "< 1 GiB with all requests": kept["peak"] < MEMORY_LIMIT,
        }
        # The history of write sets fills up first, which a short run does not see.
        | (
            {}
            if quick
            else {
                "without them the engine needs what it needs for a tenth of the time": long["words"]
                <= SAME * short["words"]
            }
        ),
    }


def hour(seconds: float, users: int, keep: bool) -> dict[str, int]:
    """Simulate and look at this process: peak bytes, the engine's words, and what the requests take."""
    from benchmarks.trial import deployment
    from experiments.workload import Flow, Workload
    from sim.engine.compiled.simulation import Counting, Simulation
    from sim.program import compile_program

    # A workflow slows down as its tables grow: more requests are under way at once the longer it lasts.
    flow: Flow = "workflow" if keep else "access-token"
    workload = Workload(flow=flow, users=users, ramp=50.0, think=1.0, duration=seconds, warmup=5.0)
    program = compile_program(deployment({"ral": 2, "cam": 2, "edi": 1}), workload, size="production")
    kind: type[Simulation] = Simulation if keep else Counting
    simulation = kind.of(program, seed=1)
    simulation.run_until(seconds)
    found = {"words": simulation.words, "requests": 0, "bytes": 0, "file": 0}
    if keep:
        samples = simulation.observation().table
        with tempfile.TemporaryDirectory() as folder:
            samples.write(Path(folder) / "samples.parquet")
            found["file"] = (Path(folder) / "samples.parquet").stat().st_size
        columns: list[Any] = [samples.start, samples.latency, samples.status, *samples.codes.values()]
        found |= {"requests": len(samples), "bytes": sum(column.nbytes for column in columns)}
    return found | {"peak": _peak()}


def _peak() -> int:
    """Bytes of this process at most; ru_maxrss would count its parent's too (exec_mmap in fs/exec.c)."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in told.splitlines() if line.startswith("VmHWM:")))


def _child(words: list[str], extra: dict[str, str] | None = None) -> tuple[float, str]:
    """CPU seconds that a fresh interpreter took with ``words``, and what it said."""
    # Compiling is told where to look by this variable, which this process may have set for itself.
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, env=environment | (extra or {})
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout or done.stderr

"""Run experiments and record what was predicted and measured: all that need no clusters, or those named.

Those that need clusters run on kind, the others on the local lab, or on kind when their name says so.

    python -m benchmarks.record_corpus [EXPERIMENT[@kind] ...]      (root; about 3 minutes each)

Calibrates first, in a home of its own, so that nothing measured before can leak into the predictions.
Writes `tests/corpus/recorded/<experiment>.json` and the summary beside it, whatever they say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.loader import library, load
from experiments.timeline import needs_clusters

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "corpus" / "recorded"
KEPT = ("key", "unit", "low", "point", "high", "value", "n", "resolution", "censored", "verdict", "headline")
LAB = ("network", "nodes", "images", "quota_cores", "cpu_limits", "quota_period", "versions")
ORDER = ("baseline", "site-cut", "member-kill", "primary-kill", "frontend-hang", "slow-link")

LIGHTER = ("--set", "workload.users=12")
"""On kind, of an experiment made for the local lab: three control planes take one of two cores, and at
the experiment's own load the machine is busier than a run may be that concludes anything."""


def faultline(home: Path, *words: str) -> int:
    """Run a command of the product with ``home``; return its exit code."""
    command = [sys.executable, "-m", "faultline", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"FAULTLINE_HOME": str(home)}).returncode


def recorded(run: Path) -> dict[str, Any]:
    """What is worth keeping of a run directory."""
    verdict, record, prediction, measurement = (
        json.loads((run / f"{name}.json").read_text())
        for name in ("verdict", "record", "prediction", "measurement")
    )
    return {
        "schema": "faultline/recorded/1",
        "experiment": record["title"],
        "started": record["started"],
        "seed": record["seed"],
        "machine": record["machine"],
        "backend": measurement["backend"],
        "lab": {key: record["lab"][key] for key in LAB if key in record["lab"]},
        "files": {name: file["sha256"] for name, file in record["files"].items()},
        "program": prediction["program_hash"],
        "calibration": prediction["calibration_hash"],
        "replications": prediction["replications"],
        "ledger": record["ledger"],
        "health": measurement.get("health", {}),
        "verdict": verdict["verdict"],
        "reason": verdict["reason"],
        "disturbances": verdict["disturbances"],
        "hypotheses": verdict["hypotheses"],
        "metrics": [{key: metric[key] for key in KEPT} for metric in verdict["metrics"]],
    }


def summary(runs: dict[str, dict[str, Any]]) -> str:
    """All recorded runs on one page."""
    lines = [
        "# Recorded runs",
        "",
        "Predicted, then measured: on the local lab by `make corpus`, on kind by",
        "`python -m benchmarks.record_corpus EXPERIMENT[@kind]`. One JSON file per run holds every",
        "metric with the interval that was registered before the fault.",
        "",
        "| experiment | lab | verdict | why |",
        "|---|---|---|---|",
    ]
    for name in sorted(runs, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        run = runs[name]
        cells = (name.partition("@")[0], run.get("backend", "local"), run["verdict"], run["reason"])
        lines.append(f"| {' | '.join(cells)} |")
    facts = next(iter(runs.values()))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["lab"]["versions"].items()))
    machine = ", ".join(f"{name} {value}" for name, value in sorted(facts["machine"].items()))
    lines += ["", f"Machine: {machine}.", "", f"Versions: {versions}.", ""]
    return "\n".join(lines)


def main(names: list[str]) -> int:
    """Calibrate, run, record; 1 when a run could not be recorded."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="faultline-corpus-") as directory:
        home = Path(directory)
        if faultline(home, "calibrate"):
            return 1
        for name in names or sorted(one for one in library() if not needs_clusters(load(one))):
            experiment, _, backend = name.partition("@")
            backend = backend or ("kind" if needs_clusters(load(experiment)) else "local")
            lighter = LIGHTER if backend == "kind" and not needs_clusters(load(experiment)) else ()
            code = faultline(home, "run", experiment, "--backend", backend, *lighter)
            if code not in (0, 1, 2):
                failed.append(f"{name} (exit code {code})")
                continue
            text = json.dumps(recorded(home / "latest"), indent=1, sort_keys=True) + "\n"
            (RECORDED / f"{name}.json").write_text(text)
        if faultline(home, "ledger", "verify"):
            failed.append("ledger verify")
        faultline(home, "ledger", "score")
    runs = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDED.glob("*.json"))}
    (RECORDED / "README.md").write_text(summary(runs))
    for name in failed:
        print(f"not recorded: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a small prediction loads and starts: its start-up is most of what its user waits for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("pandas", "pyarrow", "polars", "scipy.stats", "matplotlib", "SALib", "distributed", "IPython")
"""Each takes a quarter of a second or more to load, and predicting needs none of them."""

SCRIPT = """
import json, resource, runpy, sys
sys.argv = ["faultline", "predict", "baseline", "--replications", "2", "--output", sys.argv[1]]
try:
    runpy.run_module("faultline", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"modules": sorted(sys.modules), "children": children.ru_utime + children.ru_stime}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh interpreter holds after `faultline predict` of a small experiment."""
    from sim.engine.choice import prepare

    prepare()
    output = tmp_path_factory.mktemp("predicted") / "prediction.json"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(output.read_text())["replications"] == 2
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_nothing_heavy_is_loaded(found: dict[str, list[str]]) -> None:
    """Libraries for tables, plots and other studies stay out of it."""
    assert sorted(set(HEAVY) & set(found["modules"])) == []


def test_no_process_is_started_for_a_second_of_work(found: dict[str, float]) -> None:
    """Two workers would take longer to start than two short replications take."""
    assert found["children"] == 0.0

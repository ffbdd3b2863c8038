"""The workflows in .github/ would run, as far as actionlint can tell without running them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments.loader import library

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def actionlint() -> str:
    """The program; the test is skipped where it is not, except under CI, which has to have it."""
    found = shutil.which("actionlint", path=f"{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}")
    if found is None and os.environ.get("CI") != "true":
        pytest.skip("actionlint is not installed: `make install-dev` gets it where there is Go")
    assert found is not None, "under CI `make install-dev` gets actionlint"
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing(workflow: Path) -> None:
    """Syntax, expressions, contexts, and the shell lines where shellcheck is there."""
    done = subprocess.run(
        [actionlint(), "-no-color", str(workflow)], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    """A workflow with an unknown context is refused: the check above means something."""
    ill = tmp_path / "ill.yml"
    ill.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: ${{ nosuch.thing }}\n"
    )
    done = subprocess.run([actionlint(), str(ill)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nosuch" in done.stdout


def test_the_chaos_workflow_names_experiments_and_commands_that_are_there() -> None:
    """Its matrix is of the library; its `make` targets are in the Makefile."""
    text = (ROOT / ".github" / "workflows" / "chaos.yml").read_text()
    job = yaml.safe_load(text)["jobs"]["chaos"]
    named = [name for name in library() if f'"{name}"' in job["strategy"]["matrix"]["experiment"]]
    assert named == ["gateway-kill", "pod-kill"]
    targets = (ROOT / "Makefile").read_text()
    for step in job["steps"]:
        for word, target in zip(step.get("run", "").split(), step.get("run", "").split()[1:], strict=False):
            if word == "make":
                assert f"\n{target}:" in targets

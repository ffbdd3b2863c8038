"""The installed command as a process of its own: what it needs, how it ends, how soon it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faultline.home import Home


@pytest.fixture(autouse=True)
def own_place(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home and a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


LAB_PACKAGES = (
    "cryptography",
    "dns",
    "gunicorn",
    "locust",
    "pymysql",
    "redis",
    "werkzeug",
)


class TestProcess:
    """The installed command, as a process."""

    @pytest.mark.parametrize(
        "words",
        [
            ("predict", "baseline", "--replications", "2"),
            ("run", "baseline", "--backend", "simulated", "--replications", "2"),
            ("plan", "site-cut", "--no-predict"),
            ("doctor",),
        ],
        ids=" ".join,
    )
    def test_base_dependencies_are_enough(self, own_place: Path, words: tuple[str, ...]) -> None:
        """Predicting, running on the simulator, planning and the doctor need nothing of the lab extra."""
        small = (
            ("--set", "workload.users=2", "--set", "workload.duration=20s")
            if words[0] in {"predict", "run"}
            else ()
        )
        code = (
            "import sys\n"
            f"for name in {LAB_PACKAGES!r}: sys.modules[name] = None\n"
            f"sys.argv = ['faultline', *{[*words, *small]!r}]\n"
            "from faultline.cli import main\n"
            "main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=own_place,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert done.returncode in {0, 1, 2}, done.stderr
        assert done.stdout

    def test_module_and_exit_code(self, own_place: Path) -> None:
        """`python -m faultline` exits with 64 for a bad file and writes nothing to standard output."""
        (own_place / "bad.yaml").write_text("topology: [")
        done = subprocess.run(
            [sys.executable, "-m", "faultline", "validate", "bad.yaml"],
            capture_output=True,
            text=True,
            cwd=own_place,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert done.returncode == 64
        assert done.stdout == ""
        assert "bad.yaml:1" in done.stderr

    def test_help_is_quick_because_nothing_heavy_is_imported(self, own_place: Path) -> None:
        """The help of the whole command imports neither numpy nor pandas nor Chaos Toolkit."""
        code = (
            "import sys; from faultline.cli import app\n"
            "try: app(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'numpy', 'pandas', 'pydantic', 'chaoslib', 'simpy', 'scipy'} & set(sys.modules)\n"
            "print('heavy:', sorted(heavy), file=sys.stderr)"
        )
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=own_place,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        assert "heavy: []" in done.stderr
        assert time.monotonic() - began < 10  # generous: the machine may be busy

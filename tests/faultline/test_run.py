"""A whole run on the simulated lab: stages, files, ledger, and every way to end early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chaos.errors import InjectionError, LabError
from chaos.lab.simulated import SimulatedLab
from faultline.cli import app
from faultline.home import Home, RunDirectory
from faultline.ledger import Ledger
from faultline.results import RunResult
from faultline.score import scores
from faultline.witnesses import witnesses

ROOT = Path(__file__).parents[2]
SMALL = ["--replications", "4"] + [
    word
    for change in (
        "workload.users=4",
        "workload.duration=45s",
        "workload.warmup=5s",
        "method[0].provider.arguments.at=10s",
        "method[0].provider.arguments.duration=12s",
    )
    for word in ("--set", change)
]
"""A site cut that is quick to predict."""

FILES = {
    "prediction.json",
    "measurement.json",
    "verdict.json",
    "record.json",
    "junit.xml",
    "report.html",
    "report.md",
    "journal.json",
    "events.jsonl",
    "samples.parquet",
    "chaostoolkit.log",
}


def run_small(*words: str) -> Any:
    """`faultline run site-cut --backend simulated`, small."""
    return CliRunner().invoke(app, ["run", "site-cut", "--backend", "simulated", *SMALL, *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, RunDirectory, Any]:
    """One finished run and what it printed."""
    home = Home(tmp_path_factory.mktemp("run") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTLINE_HOME", str(home.root))
        result = run_small("--json", "--seed", "3")
    return home, home.open_run("latest"), result


Finished = tuple[Home, RunDirectory, Any]


class TestFinished:
    """A run that comes to a verdict."""

    def test_exit_code_is_the_verdict(self, finished: Finished) -> None:
        """0, 1 or 2, the same in the process, on standard output and in the file."""
        _, run, result = finished
        told, kept = json.loads(result.stdout), run.read_json("verdict")
        assert result.exit_code in {0, 1, 2}
        assert result.exit_code == told["exit_code"] == kept["exit_code"]
        assert RunResult.from_json(kept).verdict.exit_code == result.exit_code

    def test_the_directory_is_complete(self, finished: Finished) -> None:
        """Every file is there, JSON ones with their schema, and none is left half-written."""
        _, run, _ = finished
        assert {path.name for path in run.path.iterdir()} == FILES
        for name in ("prediction", "measurement", "verdict", "record"):
            assert run.read_json(name)["schema"] == f"faultline/{name}/1"
        record = run.read_json("record")
        assert record["stage"] == "done"
        assert record["seed"] == 3
        assert record["files"]["experiment"]["sha256"]
        assert "error" not in record

    def test_the_prediction_is_on_record_before_the_first_fault(self, finished: Finished) -> None:
        """Its row is older than the load and the injection, and holds what will be scored."""
        home, run, _ = finished
        rows = Ledger(home.ledger).rows()
        assert [row.kind for row in rows] == ["prediction", "measurement", "verdict"]
        prediction, measurement = rows[0].content, rows[1].content
        registered = datetime.fromisoformat(rows[0].time)
        assert registered < datetime.fromisoformat(measurement["load_started"])
        assert registered < datetime.fromisoformat(measurement["first_injection"])
        document = run.read_json("prediction")
        assert prediction["program_hash"] == document["program_hash"]
        assert prediction["calibration_hash"] == document["calibration_hash"]
        assert prediction["seed"] == 3
        for key, (low, point, high, _) in prediction["intervals"].items():
            assert [low, high] == document["metrics"][key]["interval90"]
            assert low <= point <= high
        first = min(event["at"] for event in self._events(run) if event["kind"] == "fault.inject")
        assert first == pytest.approx(10.0)

    @staticmethod
    def _events(run: RunDirectory) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]

    def test_the_registered_documents_can_be_proved(self, finished: Finished) -> None:
        """Prediction and measurement on disk are the ones whose hashes are in the ledger."""
        import hashlib

        home, run, _ = finished
        for kind, row in Ledger(home.ledger).of_run(run.id).items():
            if kind != "verdict":
                data = (run.path / f"{kind}.json").read_bytes()
                assert row.content["document_sha256"] == hashlib.sha256(data).hexdigest()

    def test_the_run_is_a_witness_of_its_rows(self, finished: Finished) -> None:
        """`record.json` remembers the hashes, and the chain agrees."""
        home, _, _ = finished
        assert len(witnesses(home)) == 3
        assert Ledger(home.ledger).verify(witnesses(home)).intact

    def test_a_simulated_run_validates_nothing(self, finished: Finished) -> None:
        """It is scored apart, and the report says so."""
        home, run, _ = finished
        assert {score.validation for score in scores(Ledger(home.ledger).rows())} == {False}
        assert not run.read_json("measurement")["validation"]
        assert "does not count in the score" in (run.path / "report.html").read_text()

    def test_chaos_toolkit_really_ran(self, finished: Finished) -> None:
        """The journal is Chaos Toolkit's, with the action that was executed."""
        _, run, _ = finished
        journal = json.loads((run.path / "journal.json").read_text())
        assert journal["status"] == "completed"
        assert [step["activity"]["name"] for step in journal["run"]] == ["cut edi off"]

    def test_humans_are_told_on_standard_error_only(self, finished: Finished) -> None:
        """With --json, standard output is one JSON document; phases and the seed are on the other."""
        _, run, result = finished
        assert json.loads(result.stdout)["run_id"] == run.id
        for phase in ("predict", "register", "lab", "load", "observe", "judge", "report"):
            assert f"] {phase}" in result.stderr
        assert "--seed 3" in result.stderr


class TestDeterminism:
    """Same inputs, same prediction."""

    def test_prediction_is_equal_byte_for_byte(self, tmp_path: Path) -> None:
        """Two processes with different hash seeds write the same file."""
        written = []
        for hash_seed in ("1", "2"):
            path = tmp_path / f"{hash_seed}.json"
            environment = os.environ | {
                "PYTHONHASHSEED": hash_seed,
                "FAULTLINE_HOME": str(tmp_path / hash_seed),
                "PYTHONPATH": str(ROOT),
            }
            command = [sys.executable, "-m", "faultline", "predict", "site-cut", *SMALL, "-o", str(path)]
            subprocess.run(command, env=environment, check=True, capture_output=True, cwd=tmp_path)
            written.append(path.read_bytes())
        assert written[0] == written[1]
        assert json.loads(written[0])["schema"] == "faultline/prediction/1"


class TestEndingEarly:
    """Whatever goes wrong, the directory says so and the lab is down."""

    def record_of(self, home: Home) -> dict[str, Any]:
        """The newest run's record."""
        return home.open_run("latest").read_json("record")

    def test_a_failed_injection_exits_3(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """The prediction stays registered, there is nothing to score, and the lab was taken down."""
        downs: list[bool] = []
        down = SimulatedLab.down

        def refuse(*_: object) -> None:
            raise InjectionError("the link resists")

        def watched(lab: SimulatedLab) -> None:
            downs.append(True)
            down(lab)

        monkeypatch.setattr(SimulatedLab, "inject", refuse)
        monkeypatch.setattr(SimulatedLab, "down", watched)
        result = run_small()
        assert result.exit_code == 3
        assert "the link resists" in result.stderr
        assert "Traceback" not in result.output
        assert downs
        record = self.record_of(home)
        assert record["error"]["type"] == "InjectionError"
        assert record["ended"]
        assert [row.kind for row in Ledger(home.ledger).rows()] == ["prediction"]
        assert Ledger(home.ledger).verify(witnesses(home)).intact

    def test_a_lab_that_does_not_come_up_exits_3(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """The stage is named, and the report of what there is can still be made."""

        def refuse(*_: object) -> None:
            raise LabError("no network")

        monkeypatch.setattr(SimulatedLab, "up", refuse)
        assert run_small().exit_code == 3
        assert self.record_of(home)["error"] == {"stage": "lab", "type": "LabError", "message": "no network"}
        made = CliRunner().invoke(app, ["report", "--format", "html"])
        assert made.exit_code == 0
        assert "no network" in made.stdout

    def test_nothing_is_broken_when_nothing_can_be_registered(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A damaged ledger stops the run before the lab is touched."""
        touched: list[bool] = []
        monkeypatch.setattr(SimulatedLab, "up", lambda *_: touched.append(True))
        home.ledger.write_text("not a database, and long enough to be taken for one " * 50)
        result = run_small()
        assert result.exit_code == 70
        assert "ledger" in result.stderr
        assert not touched
        assert self.record_of(home)["error"]["stage"] == "register"

    def test_a_run_goes_on_when_nobody_reads_its_progress(self, home: Home) -> None:
        """`faultline run ... 2>&1 | head -1` and a terminal that is gone end the reading, not the run."""
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "faultline", "run", "site-cut", "--backend", "simulated", *SMALL]
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        ended = subprocess.run(
            command, stderr=write, stdout=subprocess.PIPE, cwd=ROOT, env=buffered, check=False
        )
        os.close(write)
        assert ended.returncode in {0, 1, 2}
        assert self.record_of(home)["stage"] == "done"

    def test_a_disk_full_from_the_start_leaves_no_empty_run(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run directory without even its record would only be in the way of `report` and `latest`."""

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        result = run_small()
        assert result.exit_code == 70
        assert "record.json: No space left on device" in result.stderr
        assert home.run_ids() == []

    def test_a_disk_that_fills_up_does_not_hide_why_the_run_ended(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lab's failure is told with its own code, though the record can no longer be written."""

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        def refuse(*_: object) -> None:
            monkeypatch.setattr("os.fsync", full)
            raise LabError("no network")

        monkeypatch.setattr(SimulatedLab, "up", refuse)
        monkeypatch.setattr(SimulatedLab, "down", lambda *_: None)
        result = run_small()
        assert "no network" in result.stderr
        assert result.exit_code == 3

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_interrupt_exits_130(self, home: Home, number: signal.Signals) -> None:
        """Ctrl-C, a kill or a closed terminal while predicting ends quickly and leaves no worker behind."""
        command = [sys.executable, "-m", "faultline", "run", "site-cut", "--backend", "simulated"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "predict" in line:
                break
        time.sleep(0.5)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        # CPython ends itself by SIGINT when the interruption struck in an exec() of text, as of a
        # dataclass that is being defined; a shell shows both as 130.
        assert process.returncode in {130, -signal.SIGINT}
        assert "interrupted" in said
        assert "Traceback" not in said
        assert self.record_of(home)["error"] == {
            "stage": "predict",
            "type": "KeyboardInterrupt",
            "message": "interrupted",
        }

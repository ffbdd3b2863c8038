"""The command line: every end of a command has its exit code, and none of them is a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.guard import run_guarded
from faultline.home import Home, RunDirectory
from faultline.ledger import Ledger, LedgerError
from faultline.predicting import write_prediction
from topologies.errors import InputError


def call(*words: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture(autouse=True)
def own_place(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home and a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


TOPOLOGY = """\
topology: mine
sites: {a: {}, b: {}}
links: [{between: [a, b], rtt: 30ms}]
services:
  db: {kind: galera, members: {a: 1, b: 1}}
  iam: {kind: indigo-iam, replicas: {a: 1}, database: db}
  frontend: {kind: haproxy, sites: [a], backend: iam}
  dns: {kind: dns-balancer, targets: frontend}
clients: {users: {site: a}}
"""

BAD_TOPOLOGIES = {
    "broken YAML": ("topology: [mine", "wrong.yaml:"),
    "unknown key": (TOPOLOGY + "linkz: []\n", "linkz"),
    "wrong unit": (TOPOLOGY.replace("30ms", "30mbit"), "30mbit"),
    "no unit": (TOPOLOGY.replace("30ms", "30"), "unit"),
    "negative time": (TOPOLOGY.replace("30ms", "-30ms"), "negative"),
    "unknown site in a link": (TOPOLOGY.replace("[a, b]", "[a, c]"), "c"),
    "disconnected": (
        TOPOLOGY.replace("links: [{between: [a, b], rtt: 30ms}]\n", ""),
        "wrong.yaml",
    ),
    "unknown service kind": (TOPOLOGY.replace("galera", "galerra"), "galera"),
    "not a mapping": ("- a\n- b\n", "wrong.yaml"),
    "empty": ("", "wrong.yaml"),
}


class TestBadInput:
    """Exit 64, one message, no traceback."""

    @pytest.mark.parametrize("name", BAD_TOPOLOGIES)
    def test_topologies(self, own_place: Path, name: str) -> None:
        """Each mistake is told with the file and what is wrong."""
        text, told = BAD_TOPOLOGIES[name]
        (own_place / "wrong.yaml").write_text(text)
        result = call("validate", "wrong.yaml")
        assert result.exit_code == 64
        assert "wrong.yaml" in result.stderr
        assert told in result.stderr
        assert "Traceback" not in result.output

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("frobnicate",), "frobnicate"),
            (("run",), "EXPERIMENT"),
            (("run", "site-cut", "--backend", "cloud"), "cloud"),
            (("run", "site-cut", "--sead", "1"), "--sead"),
            (("run", "site-cutt"), "site-cut"),
            (("predict", "missing.yaml"), "missing.yaml"),
            (("predict", "site-cut", "--seed", "abc"), "--seed"),
            (("predict", "site-cut", "--seed", "-1"), "seed"),
            (("predict", "site-cut", "--set", "workload.users"), "path=value"),
            (("predict", "site-cut", "--set", "workload.users=many"), "users"),
            (("predict", "site-cut", "--set", "sites.xyz.cpu=1"), "xyz"),
            (("predict", "site-cut", "--set", "links[9].rtt=1ms"), "links"),
            (("predict", "site-cut", "--set", "experiment.workload.flow=browse"), "browse"),
            (("predict", "site-cut", "--calibration", "none.json"), "none.json"),
            (("run", "site-cut", "--size", "production"), "lab"),
            (("validate", "nothing-like-this"), "nothing-like-this"),
            (("validate", "x" * 5000), "name too long"),
            (("plan", "iris-1site.yaml"), "iris-1site"),
            (("predict", "site-cut", "--output", "none/p.json"), "there is no directory"),
            (("predict", "site-cut", "--output", ""), "this is a directory"),
            (("report",), "no run"),
            (("report", "20250101"), "20250101"),
            (("report", "x" * 5000), "name too long"),
            (("compare", "x" * 5000, "y"), "name too long"),
            (("compare", "one", "two"), "one"),
            (("compare", "site-cut"), "site-cut"),
            (("ledger", "frobnicate"), "frobnicate"),
            (("lab", "up", "iris-9site"), "iris-9site"),
            (("init", "--experiment", "nope"), "nope"),
            (("init", "x" * 300), "name too long"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
    )
    def test_command_lines(self, words: tuple[str, ...], told: str) -> None:
        """The message names what was wrong."""
        result = call(*words)
        assert result.exit_code == 64, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output
        assert result.stdout == ""

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("{", "not JSON"),
            ("{}", "schema_version"),
            ('{"schema_version": 1}', "calibrate"),
            ("\x00\x01", "calibration"),
        ],
    )
    def test_an_unreadable_calibration_names_the_way_out(self, home: Home, content: str, told: str) -> None:
        """A damaged file in the home is refused, not silently replaced by the shipped figures."""
        home.calibration.write_text(content)
        result = call("predict", "site-cut")
        assert result.exit_code == 64
        assert told in result.stderr
        assert str(home.calibration) in result.stderr

    def test_a_hypothesis_on_an_unknown_metric(self, own_place: Path) -> None:
        """The line and the nearest metric are named."""
        assert call("init", "mine").exit_code == 0
        path = own_place / "mine" / "site-cut.yaml"
        path.write_text(path.read_text().replace("metric: write_stall", "metric: write_stal"))
        result = call("validate", "mine/site-cut.yaml")
        assert result.exit_code == 64
        line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "write_stal," in text)
        assert f"site-cut.yaml:{line}" in result.stderr
        assert "write_stall" in result.stderr

    def test_a_fault_on_a_missing_target(self) -> None:
        """What the fault names must be in the topology it will run on."""
        result = call("plan", "member-kill", "--set", "topology=iris-1site", "--no-predict")
        assert result.exit_code == 64
        assert "Traceback" not in result.output

    def test_everything_wrong_is_told_at_once(self, own_place: Path) -> None:
        """Two files with a mistake each give two messages."""
        (own_place / "a.yaml").write_text(TOPOLOGY.replace("30ms", "30mbit"))
        (own_place / "b.yaml").write_text(TOPOLOGY + "linkz: []\n")
        result = call("validate", "a.yaml", "b.yaml", "--json")
        assert result.exit_code == 64
        found = json.loads(result.stdout)
        assert {problem["file"] for problem in found["problems"]} == {"a.yaml", "b.yaml"}


class TestGuard:
    """How errors become exit codes."""

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (InputError("wrong", file="a.yaml"), 64),
            (LedgerError("full"), 70),
            (KeyboardInterrupt(), 130),
            (ValueError("surprise"), 70),
            (OSError(28, "No space left on device", "ledger.sqlite"), 70),
        ],
    )
    def test_codes(self, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        """Each kind has its own, and what is said fits on a few lines."""

        def fail() -> None:
            raise error

        assert run_guarded(fail) == code
        said = capsys.readouterr().err
        assert said
        assert "Traceback" not in said

    def test_lab_errors(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What the machine lacks is the user's to get (64), a failing lab is 3, no steady state is 2."""
        from chaos import errors

        expected = {
            errors.MissingCapability: 64,
            errors.LabBusy: 64,
            errors.LabError: 3,
            errors.InjectionError: 3,
            errors.SteadyStateError: 2,
        }
        for kind, code in expected.items():

            def fail(kind: type[Exception] = kind) -> None:
                raise kind("because")

            assert run_guarded(fail) == code
            assert "because" in capsys.readouterr().err

    def test_a_defect_leaves_its_traceback_in_a_file(
        self, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The user sees one line and a path; whoever mends it finds the rest there."""

        def fail() -> None:
            raise RuntimeError("a defect\nwith a second line")

        assert run_guarded(fail) == 70
        said = capsys.readouterr().err
        assert "RuntimeError: a defect" in said
        assert "second line" not in said
        (path,) = home.root.glob("crash-*.txt")
        assert str(path) in said
        assert "Traceback (most recent call last)" in path.read_text()

    def test_what_breaks_by_an_interruption_is_an_interruption(
        self, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C at a bad moment (in the start of a pool of workers, say) makes the way out fail."""

        def fail() -> None:
            try:
                raise KeyboardInterrupt
            finally:
                raise RuntimeError("cannot join thread before it is started")

        assert run_guarded(fail) == 130
        assert capsys.readouterr().err == "interrupted\n"
        assert not list(home.root.glob("crash-*"))

    def test_a_name_that_is_no_text_does_not_hide_a_defect(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Names of files are bytes; one that is not UTF-8 on the command line is escaped in the file."""
        monkeypatch.setattr(sys, "argv", ["faultline", "run", os.fsdecode(b"caf\xe9.yaml")])

        def fail() -> None:
            raise RuntimeError("a defect")

        assert run_guarded(fail) == 70
        (path,) = home.root.glob("crash-*.txt")
        assert r"caf\udce9.yaml" in path.read_text()

    def test_an_exit_code_is_passed_on(self) -> None:
        """A command that returns a code exits with it; one that returns nothing exits with 0."""
        assert run_guarded(lambda: 2) == 2
        assert run_guarded(lambda: None) == 0


class TestCommands:
    """Commands that need no lab."""

    def test_version_and_help(self) -> None:
        """Both exit 0; a bare `faultline` shows the help and exits 64."""
        assert call("--version").stdout.startswith("faultline ")
        helped = call("--help")
        assert helped.exit_code == 0
        for name in (
            "doctor",
            "init",
            "validate",
            "plan",
            "predict",
            "run",
            "report",
            "compare",
            "ledger",
            "heal",
        ):
            assert name in helped.stdout
        assert call().exit_code == 64

    @pytest.mark.parametrize(
        "name", ["site-cut", "member-kill", "primary-kill", "frontend-hang", "slow-link"]
    )
    def test_plan_says_what_is_broken_and_how_it_is_undone(self, name: str) -> None:
        """Each fault has targets and an undo, and nothing is executed or written."""
        result = call("plan", name, "--no-predict", "--json")
        assert result.exit_code == 0, result.output
        planned = json.loads(result.stdout)
        assert planned["steps"]
        for step in planned["steps"]:
            assert step["touches"]
            assert step["undo"]
            assert step["reach"]
        assert planned["expected"] > planned["load"] > 0
        assert any("faultline heal" in line for line in planned["safety"])
        assert Home.find().run_ids() == []
        assert not Home.find().ledger.exists()

    def test_plan_knows_who_keeps_the_majority(self) -> None:
        """Cutting one of three sites leaves two members with the majority."""
        result = call("plan", "site-cut", "--no-predict")
        assert "db: 2 of 3 members (cam, ral) keep the majority" in result.stdout
        assert "db: 1 of 3 members (edi) lose the majority" in result.stdout

    def test_init_writes_what_validates(self, own_place: Path) -> None:
        """The copies are valid where they are, and are never written over."""
        assert call("init", "mine", "--experiment", "member-kill").exit_code == 0
        assert call("validate", "mine/member-kill.yaml", "mine/iris-3site-galera.yaml").exit_code == 0
        assert json.loads((own_place / "mine" / "topology.schema.json").read_text())["title"]
        again = call("init", "mine", "--experiment", "member-kill")
        assert again.exit_code == 64
        assert "nothing is overwritten" in again.stderr

    def test_library_validates(self) -> None:
        """Everything that is shipped is right."""
        from experiments.loader import library as experiments
        from topologies.loader import library as topologies

        result = call("validate", *experiments(), *topologies())
        assert result.exit_code == 0, result.stderr
        right = [line for line in result.stdout.splitlines() if line.startswith("ok ")]
        assert len(right) == len(experiments()) + len(topologies())

    def test_doctor_names_what_is_missing_with_its_remedy(self) -> None:
        """Every capability is present, optional, or comes with the command that gets it."""
        result = call("doctor", "--json")
        assert result.exit_code == 0
        found = json.loads(result.stdout)
        assert {"root", "mariadbd", "haproxy", "WireGuard"} <= {one["name"] for one in found["capabilities"]}
        for one in found["capabilities"]:
            assert one["present"] or not one["required"] or one["remedy"]
        tasks = {task["what"]: task for task in found["tasks"]}
        assert tasks["faultline predict"]["possible"]
        lacking = [one for one in found["capabilities"] if one["required"] and not one["present"]]
        assert tasks["faultline run --backend local"]["possible"] == (not lacking)
        assert "not calibrated" in " ".join(found["remarks"])

    def test_doctor_reports_a_missing_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without HAProxy in the path the local lab is impossible, and apt's command is given."""
        from chaos.host import capabilities

        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        result = call("doctor")
        assert result.exit_code == 0
        assert "apt-get install --no-install-recommends haproxy" in result.stdout
        assert "no  faultline run --backend local" in result.stdout

    def test_run_on_a_machine_without_the_packages_says_exactly_what_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Exit 64 before anything is predicted or written."""
        from chaos.host import capabilities

        monkeypatch.setattr(capabilities, "search_path", lambda: "/nonexistent")
        result = call("run", "site-cut", "--backend", "local")
        assert result.exit_code == 64
        assert "mariadbd is missing" in result.stderr
        assert "apt-get install" in result.stderr
        assert Home.find().run_ids() == []

    def test_ledger_commands_on_nothing(self) -> None:
        """No ledger yet is not an error."""
        assert call("ledger", "verify").exit_code == 0
        assert call("ledger", "show", "--json").stdout.strip() == "[]"
        assert json.loads(call("ledger", "score", "--json").stdout)["scores"] == []

    def test_ledger_verify_exits_1_on_a_broken_chain(self, home: Home) -> None:
        """The row is named."""
        ledger = Ledger(home.ledger)
        for index in range(3):
            ledger.append("prediction", f"run-{index}", {"intervals": {}})
        assert call("ledger", "verify").exit_code == 0
        data = home.ledger.read_bytes()
        home.ledger.write_bytes(data.replace(b"run-1", b"run-7"))
        result = call("ledger", "verify")
        assert result.exit_code == 1
        assert "row 2" in result.stdout

    def test_report_formats(self, home: Home, finished_run: RunDirectory) -> None:
        """A finished run gives its path, Markdown, HTML and JUnit."""
        reference = str(finished_run.path)
        assert call("report", reference).stdout.strip().endswith("report.html")
        assert call("report", reference, "--format", "markdown").stdout.startswith("## ")
        assert call("report", reference, "--format", "html").stdout.startswith("<!doctype html>")
        assert "<testsuites" in call("report", reference, "--format", "junit").stdout
        assert json.loads(call("report", reference, "--json").stdout)["verdict"] == "deviated"

    def test_compare_pairs_by_metric(self, finished_run: RunDirectory) -> None:
        """A run with itself has no change; its prediction with its prediction overlaps everywhere."""
        reference = str(finished_run.path)
        same = json.loads(call("compare", reference, reference, "--json").stdout)
        assert same["first"]["kind"] == "measurement"
        assert {pair["change"] for pair in same["metrics"]} <= {0.0, None}
        predicted = json.loads(call("compare", reference, reference, "--predictions", "--json").stdout)
        assert {pair["apart"] for pair in predicted["metrics"]} <= {False, None}
        assert call("compare", reference, reference).exit_code == 0

    def test_an_output_that_is_no_plain_file_is_written_to_and_not_replaced(self, own_place: Path) -> None:
        """`--output /dev/stdout` must not put a file in the place of what is there, least of all as root."""
        pipe, link, target = own_place / "pipe", own_place / "link.json", own_place / "target.json"
        os.mkfifo(pipe)
        link.symlink_to(target)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            write_prediction(pipe, {"a": 1})
            assert json.loads(os.read(reader, 100)) == {"a": 1}
        finally:
            os.close(reader)
        assert pipe.is_fifo()
        write_prediction(link, {"a": 2})
        assert link.is_symlink()
        assert json.loads(target.read_text()) == {"a": 2}

    @pytest.mark.parametrize("metrics", ["[]", "null", '{"throughput@whole": 3}'])
    def test_compare_refuses_what_only_looks_like_a_prediction(self, own_place: Path, metrics: str) -> None:
        """The right schema with the wrong content is a wrong file, not a defect."""
        (own_place / "odd.json").write_text(f'{{"schema": "faultline/prediction/1", "metrics": {metrics}}}')
        result = call("compare", "odd.json", "odd.json")
        assert result.exit_code == 64
        assert "odd.json: is not a prediction" in result.stderr

    def test_completion_knows_the_library(self) -> None:
        """TAB after `faultline run si` offers site-cut."""
        from faultline.commands.options import complete_either, complete_experiment, complete_topology

        assert complete_experiment("si") == ["site-cut"]
        assert "iris-3site-galera" in complete_topology("iris")
        assert set(complete_topology("")) < set(complete_either(""))


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

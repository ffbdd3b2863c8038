"""The command line: every end of a command has its exit code, and none of them is a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.home import Home, RunDirectory
from faultline.ledger import Ledger
from faultline.predicting import write_prediction


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

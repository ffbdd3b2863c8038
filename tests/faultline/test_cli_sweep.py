"""`faultline sweep` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from faultline.cli import app
from faultline.home import Home
from faultline.sweeping import axes_of
from topologies.errors import InputError

SHORT = (
    "--set",
    "workload.duration=12s",
    "--set",
    "workload.warmup=2s",
    "--replications",
    "2",
    "--workers",
    "1",
)


@pytest.fixture(autouse=True)
def own_place(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home and a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, list(words))


class TestAxes:
    """How `--set` spans a sweep."""

    @given(st.lists(st.from_regex(r"[a-z0-9.%]{1,8}", fullmatch=True), min_size=1, max_size=5))
    def test_values_are_parted_by_commas(self, values: list[str]) -> None:
        """Plain values come back one by one, lists and quoted texts in one piece."""
        assert axes_of([f"a[0].b={','.join(values)}"]) == {"a[0].b": values}
        listed = f"[{', '.join(values)}]"
        assert axes_of([f"x={listed},'{','.join(values)}'"]) == {"x": [listed, f"'{','.join(values)}'"]}

    @pytest.mark.parametrize("texts", [["x"], ["=1"], ["x=1,"], ["x=1", "x=2"]])
    def test_mistakes(self, texts: list[str]) -> None:
        """No path, no value, the same path twice."""
        with pytest.raises(InputError):
            axes_of(texts)


class TestSweep:
    """The command."""

    def test_a_topology_under_load(self, home: Home, own_place: Path) -> None:
        """A library topology without faults: every combination, as a table, a file and a journal."""
        words = ("--set", "links[*].rtt=10ms,100ms", "--set", "workload.users=2,4", *SHORT)
        result = call("sweep", "iris-2site-galera", *words, "--output", "out.csv")
        assert result.exit_code == 0, result.output
        assert "links[*].rtt" in result.stdout
        assert "p50 latency" in result.stdout
        frame = pd.read_csv(own_place / "out.csv")
        medians = frame[frame["metric"] == "latency_p50{flow=workflow}@whole"]
        assert medians[["links[*].rtt", "workload.users"]].drop_duplicates().shape[0] == 4
        by_rtt = medians.groupby("links[*].rtt")["median"].mean()
        assert by_rtt["100ms"] > by_rtt["10ms"] + 0.05
        assert home.sweeps.is_file()

    def test_an_experiment_goes_on_where_it_was(self) -> None:
        """The second, larger sweep takes what the first computed; the numbers are the same."""
        first = call("sweep", "baseline", "--set", "workload.users=1,2", *SHORT, "--json")
        assert first.exit_code == 0, first.output
        second = call("sweep", "baseline", "--set", "workload.users=1,2,3", *SHORT, "--json")
        assert "4 of 6 replications" in second.stderr
        rows = json.loads(first.stdout)["rows"]
        assert rows == [row for row in json.loads(second.stdout)["rows"] if row["workload.users"] < 3]

    def test_a_topology_file(self, own_place: Path) -> None:
        """A file with sites is a topology; the one metric asked for is shown."""
        from topologies.loader import library

        (own_place / "mine.yaml").write_text(library()["iris-1site"].read_text())
        result = call("sweep", "mine.yaml", "--set", "workload.users=1", *SHORT, "--metric", "throughput")
        assert result.exit_code == 0, result.output
        assert "throughput" in result.stdout
        assert "latency" not in result.stdout

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("baseline",), "--set"),
            (("baselin", "--set", "workload.users=1"), "baseline"),
            (("baseline", "--set", "workload.users=1,many"), "many"),
            (("baseline", "--set", "workload.users"), "path=value"),
            (("baseline", "--set", "links[9].rtt=1ms,2ms"), "links"),
            (("baseline", "--set", "workload.users=1", "--output", "x.xls"), ".parquet"),
            (("baseline", "--set", "workload.users=1", "--replications", "1"), "--replications"),
            (("baseline", "--set", f"workload.users={','.join(['1'] * 20_001)}"), "20000 at most"),
            (("baseline", "--set", "workload.users=1", "--cluster", "nowhere"), "Dask"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_mistakes(self, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exit 64 with what was wrong, before anything is simulated."""
        monkeypatch.setattr("sim.sweep.CONNECT", 0.5)
        result = call("sweep", *words)
        assert result.exit_code == 64, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output

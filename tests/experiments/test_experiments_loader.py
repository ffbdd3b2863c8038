"""Experiments from files: the library loads, and every mistake is named with its line and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.loader import check, library, load, locate, split_overrides
from experiments.timeline import compile_timeline
from topologies.errors import InputError
from topologies.loader import library as topologies
from topologies.loader import load as load_topology

SITE_CUT = library()["site-cut"].read_text()

CONTROL = "  - {name: faultline, provider: {type: python, module: chaos.toolkit.control}}"
ACTION = "module: chaos.toolkit.actions\n      func: partition"
HEALTH = "flow: health, site: ral"
LOST = "metric: lost_commits, expect"
MISTAKES = {
    # what is replaced, by what, and what the message must contain
    "unknown metric": ("metric: availability", "metric: availabilty", "did you mean 'availability'"),
    "unknown scope key": (HEALTH, "flow: health, sit: ral", "did you mean 'site'"),
    "unknown probe flow": (HEALTH, "flow: helth, site: ral", "probes: health, access-token"),
    "unknown site in a hypothesis": (HEALTH, "flow: health, site: rla", "did you mean 'ral'"),
    "wrong unit": ('">= 90%"', '">= 90s"', "'90s' is not a share in percent"),
    "no unit": ('"<= 15s"', '"<= 15"', "as in '<= 10s'"),
    "no comparison": ('">= 90%"', '"90%"', "write a comparison"),
    "unknown window": ("during: after", "during: afterwards", "did you mean 'after'"),
    "window not computed": (LOST, "metric: lost_commits, during: fault, expect", "`during: whole`"),
    "unknown topology": ("topology: iris-3site-galera", "topology: iris-3site-galrea", "'iris-3site-galera'"),
    "missing topology file": ("topology: iris-3site-galera", "topology: ./no.yaml", "no such topology file"),
    "unknown action": ("func: partition", "func: partitoin", "did you mean 'partition'"),
    "unknown argument": ("isolate: [edi]", "isolat: [edi]", "did you mean 'isolate'"),
    "missing argument": ("isolate: [edi], ", "", "exactly one of isolate, between and grudge"),
    "two ways to part": ("isolate: [edi]", "isolate: [edi], between: [ral, cam]", "both say who"),
    "unknown site in a fault": ("isolate: [edi]", "isolate: [edinburgh]", "sites: ral, cam, edi"),
    "nothing parted": ("isolate: [edi]", "isolate: [ral, cam, edi]", "cuts nothing"),
    "negative time": ("at: 35s", "at: -35s", "must not be negative"),
    "time without unit": ("at: 35s", "at: 35", "has no unit"),
    "time of an unknown unit": ("duration: 20s", "duration: 20 bananas", "cannot read '20 bananas'"),
    "no duration": ("duration: 20s", "duration: 0s", "more than 0"),
    "fault in the warm-up": ("at: 35s", "at: 5s", "15s or later"),
    "fault after the load": ("at: 35s", "at: 135s", "the load is over at 90s"),
    "foreign action": (ACTION, "module: os\n      func: sync", "`x-faultline: {predict: ignore}`"),
    "no control": (f"controls:\n{CONTROL}", "controls: []", "add `- {name: faultline"),
    "no method": ("method:", "metod:", "did you mean 'method'"),
    "no title": ("title: One site loses its VPN links for 20 s", "title:", "expected text"),
    "no extension": ("- name: faultline\n    topology", "- name: x\n    topology", "is named 'faultline'"),
    "no users": ("users: 40", "users: 0", "at least 1"),
    "unknown workload key": ("users: 40", "usres: 40", "did you mean 'users'"),
    "unknown flow": ("flow: workflow", "flow: workflw", "did you mean 'workflow'"),
    "endless load": ("duration: 90s", "duration: 1e12s", "at most 24h"),
    "warm-up too long": ("warmup: 15s", "warmup: 95s", "leaves nothing"),
    "unknown activity type": ("type: action", "type: actoin", "did you mean 'action'"),
    "unknown activity key": ("tolerance: true", "tolerence: true", "did you mean 'tolerance'"),
    "unknown probe": ("func: all_components_up", "func: all_component_up", "'all_components_up'"),
    "unknown probe argument": ("{window: 5s}", "{windw: 5s}", "did you mean 'window'"),
    "window without unit": ("{window: 5s}", "{window: 5}", "cannot look back 5"),
    "negative window": ("{window: 5s}", "{window: -5s}", "more than zero"),
    "window of an unknown unit": ("{window: 5s}", "{window: 5 bananas}", "cannot read '5 bananas'"),
    "unknown site in a probe": ("{window: 5s}", "{window: 5s, site: edl}", "did you mean 'edi'"),
    "bad tolerance": ("range: [0.95, 1.0]", "range: 0.95", "range must be a sequence"),
    "not a list": ("method:\n", "method: none\nx:\n", "a list as in"),
    "broken YAML": ("title: One", "title: [One", "broken YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_its_cure(name: str, tmp_path: Path) -> None:
    """The error is an InputError about the right line of the right file, and says what to write."""
    right, wrong, cure = MISTAKES[name]
    assert right in SITE_CUT
    text = SITE_CUT.replace(right, wrong, 1)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        experiment = load(file)
        check(experiment, load_topology(experiment.topology, size="lab"))
    assert cure in str(caught.value)
    assert caught.value.exit_code == 64
    assert caught.value.file == str(file)
    near = SITE_CUT[: SITE_CUT.index(right)].count("\n") + 1
    lines = [problem.line or 0 for problem in caught.value.problems]
    missing = name in {"no extension", "no method", "not a list"}  # reported where it should stand
    assert missing or any(abs(line - near) <= 2 for line in lines), (near, str(caught.value))


@pytest.mark.parametrize(
    ("target", "cure"),
    [
        ("cahce@edi", "did you mean 'cache'"),
        ("db@edinburgh", "db is at: ral, cam, edi"),
        ("db@edi/3", "write db@edi"),
        ("dns@ral", "stands at no site"),
        ("db", "expected text like"),
    ],
)
def test_a_missing_target_is_named(target: str, cure: str, tmp_path: Path) -> None:
    """Service, site and number are checked against the topology."""
    file = tmp_path / "mine.yaml"
    file.write_text(library()["member-kill"].read_text().replace("target: db@edi", f"target: {target}"))
    with pytest.raises(InputError) as caught:
        experiment = load(file)
        check(experiment, load_topology(experiment.topology, size="lab"))
    assert cure in str(caught.value) and "method[0].provider.arguments.target" in str(caught.value)


def test_partitions_that_share_a_pair_of_sites_contradict(tmp_path: Path) -> None:
    """Isolating edi and then cam holds the same link twice; healing one would heal the other's."""
    second = SITE_CUT[SITE_CUT.index("  - name: cut edi off") : SITE_CUT.index("rollbacks:")]
    second = second.replace("[edi], at: 35s", "[cam], at: 40s").replace("edi off", "cam off")
    file = tmp_path / "mine.yaml"
    file.write_text(SITE_CUT.replace("rollbacks:", f"{second}rollbacks:", 1))
    experiment = load(file)
    with pytest.raises(InputError, match=r"'cam off'|still holds the cut of cam-edi"):
        check(experiment, load_topology(experiment.topology))


@pytest.mark.parametrize(
    ("reference", "cure"),
    [
        ("site-cutt", "did you mean the library's 'site-cut'"),
        ("nope.yaml", "no such experiment file"),
        ("", "no experiment is named"),
        ("/tmp", "directory"),
        ("x" * 5000, "name too long"),
        (f"{'x' * 5000}.yaml", "name too long"),
    ],
)
def test_a_missing_file_is_named_with_the_nearest(reference: str, cure: str) -> None:
    """Names and paths that lead nowhere are told what there is."""
    with pytest.raises(InputError, match=cure):
        load(reference)


class TestLibrary:
    """The six experiments that come with the product."""

    def test_has_the_six(self) -> None:
        """The names are those the documentation speaks of."""
        assert set(library()) >= {
            "baseline",
            "site-cut",
            "member-kill",
            "primary-kill",
            "frontend-hang",
            "slow-link",
        }

    @pytest.mark.parametrize("name", sorted(library()))
    def test_fits_its_topology_in_both_sizes(self, name: str) -> None:
        """Every target is there, every hypothesis can be judged, something healthy is claimed."""
        experiment = load(name)
        for size in ("lab", "production"):
            check(experiment, load_topology(experiment.topology, size=size))  # type: ignore[arg-type]
        assert experiment.hypotheses and experiment.tags and experiment.steady_state is not None

    @pytest.mark.parametrize("name", sorted(library()))
    def test_leaves_time_to_see_the_recovery(self, name: str) -> None:
        """Every fault ends at least 20 s before the load does."""
        experiment = load(name)
        for fault in compile_timeline(experiment):
            assert fault.duration is not None
            assert fault.at + fault.duration + 20 <= experiment.workload.duration

    def test_what_chaos_toolkit_is_given_is_a_copy(self) -> None:
        """Chaos Toolkit writes into what it executes; the experiment stays as loaded."""
        experiment = load("site-cut")
        experiment.raw["method"].clear()
        assert len(experiment.raw["method"]) == 1


class TestOverrides:
    """`--set path=value`."""

    def test_keys_of_the_extension_need_no_path_to_it(self) -> None:
        """`workload.users` is the extension's; a full path works as well."""
        overrides = ["workload.users=7", "method[0].provider.arguments.duration=10s"]
        experiment = load("site-cut", overrides=overrides)
        assert experiment.workload.users == 7
        assert compile_timeline(experiment)[0].duration == 10.0
        assert experiment.raw["extensions"][0]["workload"]["users"] == 7

    @pytest.mark.parametrize(
        ("override", "cure"),
        [
            ("workload.users=many", "--set workload.users=many: .*a whole number"),
            ("workload.usrs=3", "--set workload.usrs=3: .*did you mean 'users'"),
            ("workload.duration=20s", "site-cut.yaml:31: .*the load is over at 20s"),
            ("method[4].name=x", r"--set method\[4\].name=x"),
        ],
    )
    def test_a_mistake_names_the_override(self, override: str, cure: str) -> None:
        """The error is about what was typed, or about the line that no longer fits."""
        with pytest.raises(InputError, match=cure):
            load("site-cut", overrides=[override])

    def test_are_parted_between_experiment_and_topology(self) -> None:
        """The first word says whose it is."""
        ours, topology = split_overrides(
            ["workload.users=1", "links[0].rtt=5ms", "method[0].name=x", "seed=3"]
        )
        assert ours == ["workload.users=1", "method[0].name=x", "seed=3"]
        assert topology == ["links[0].rtt=5ms"]


def test_locate_prefers_a_file_over_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that very name in the working directory wins."""
    monkeypatch.chdir(tmp_path)
    assert locate("site-cut") == library()["site-cut"]
    Path("site-cut").write_text("x: 1")
    assert locate("site-cut") == Path("site-cut")


def test_a_topology_beside_the_experiment_is_found(tmp_path: Path) -> None:
    """A relative path starts from the experiment's own directory."""
    (tmp_path / "mine.yaml").write_text(topologies()["iris-3site-galera"].read_text())
    file = tmp_path / "cut.yaml"
    file.write_text(SITE_CUT.replace("topology: iris-3site-galera", "topology: mine.yaml"))
    assert load(file).topology == "mine.yaml"

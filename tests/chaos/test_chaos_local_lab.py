"""The local lab on real daemons: what the conformance suite does not ask of every backend."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_fixtures import leftovers, processes_mentioning

from chaos.errors import LabBusy, LabError
from chaos.heal import heal
from chaos.host.namespaces import argv_inside
from chaos.lab.layout import Layout
from chaos.lab.local import LocalLab
from chaos.lab.state import LabState
from chaos.measure import consistency
from chaos.services import deployment, galera, mariadb, template
from experiments.faults import Kill, Partition
from experiments.observation import Observation
from experiments.workload import ProbeStream, Workload
from topologies.cpus import placed
from topologies.loader import load

pytestmark = pytest.mark.lab

WORKLOAD = Workload(
    flow="workflow",
    users=4,
    ramp=4.0,
    think=1.0,
    duration=40.0,
    warmup=2.0,
    probes=(ProbeStream(rate=10.0, timeout=2.0),),
)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A lab directory of this module's own, in a path that is short enough for sockets."""
    path = Path("/tmp/fl-test-lab")
    heal(path)
    yield path
    heal(path)
    assert leftovers() == []


def until(holds: Callable[[], bool], what: str, patience: float = 40.0) -> float:
    """Wait until something holds; return how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience, f"after {patience:g} s still not: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def state_of(lab: LocalLab, component: str) -> str:
    """What a component is said to be."""
    return {one.component: one.state for one in lab.status()}[component]


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[LocalLab]:
    """Three sites on Galera, up for the whole module."""
    lab = LocalLab(directory)
    try:
        began = time.monotonic()
        lab.up(load("iris-3site-galera", size="lab"))
        lab.came_up_after = time.monotonic() - began  # type: ignore[attr-defined]
        yield lab
    finally:
        lab.down()


def test_it_comes_up_quickly_with_everything_asked_by_itself(lab: LocalLab) -> None:
    """Within half a minute every daemon says itself that it is up, sentinels and balancer included."""
    assert lab.came_up_after < 30.0  # type: ignore[attr-defined]
    states = {one.component: one.state for one in lab.status()}
    assert set(states.values()) == {"up"}
    assert {"cache-sentinel@edi", "dns@dns"} <= set(states)


def test_members_formed_their_cluster_without_a_state_transfer(lab: LocalLab) -> None:
    """Copies of one template at one position need neither IST nor SST."""
    for one in LabState.read(lab.directory).daemons:
        if one.role == "mariadb":
            log = one.log.read_text()
            assert "state transfer needed: no" in log
            assert "requested state transfer" not in log


def test_the_daemons_of_a_site_run_on_one_cpu(lab: LocalLab) -> None:
    """Each site of half a core has the CPU that the model thinks it has; what is outside has them all."""
    usable = sorted(os.sched_getaffinity(0))
    places = placed(load("iris-3site-galera", size="lab"), len(usable))
    for one in LabState.read(lab.directory).daemons:
        assert one.process is not None
        tied = {usable[places[one.site]]} if one.site in places else set(usable)
        assert os.sched_getaffinity(one.process.pid) == tied, one.component


def test_another_process_sees_the_same_lab(lab: LocalLab) -> None:
    """State on disk is enough: a new object knows all components."""
    other = LocalLab(lab.directory)
    assert [one.component for one in other.status()] == [one.component for one in lab.status()]
    assert other.facts().facts == lab.facts().facts


def test_a_second_lab_is_refused(lab: LocalLab) -> None:
    """The machine has room for one, and the message says who has it."""
    program = (
        "import sys; from chaos.lab.local import LocalLab; from topologies.loader import load\n"
        "from pathlib import Path\n"
        "LocalLab(Path('/tmp/fl-test-other')).up(load('iris-1site', size='lab'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "LabBusy" in done.stderr and f"pid {os.getpid()}" in done.stderr
    assert state_of(lab, "db@ral") == "up"


def test_users_resolve_and_reach_every_front_end(lab: LocalLab) -> None:
    """From next to a site all public addresses are in the balancer's answer, and each front end answers."""
    layout = Layout(LabState.read(lab.directory).sites, lab.directory)
    program = (
        "import dns.resolver; r = dns.resolver.Resolver(configure=False); r.nameservers = ['198.18.250.1']\n"
        "print(*sorted(str(a) for a in r.resolve('iam.faultline.test', 'A')))"
    )
    argv = argv_inside(layout.users_namespace("cam"), [sys.executable, "-c", program])
    said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    assert said == ["198.18.1.1", "198.18.2.1", "198.18.3.1"]


@pytest.fixture(scope="module")
def observed(lab: LocalLab) -> Observation:
    """A run with a crash of a member, its return, and a partition."""
    lab.start_load(WORKLOAD, seed=11)
    assert lab.clock.now() == pytest.approx(0.0, abs=0.5)
    lab.clock.sleep(4.0 - lab.clock.now())
    killed = lab.inject(Kill(target="db@edi"))
    assert state_of(lab, "db@edi") == "down"
    lab.clock.sleep(12.0 - lab.clock.now())
    lab.undo(killed)
    until(lambda: state_of(lab, "db@edi") == "up", "db@edi up after its crash", 25.0)
    cut = lab.inject(Partition(isolate=["cam"]))
    lab.clock.sleep(2.0)
    lab.undo(cut)
    lab.clock.sleep(WORKLOAD.duration + 0.5 - lab.clock.now())
    lab.stop_load()
    return lab.observe()


def test_a_crashed_member_comes_back_without_copying_everything(lab: LocalLab, observed: Observation) -> None:
    """Its position is recovered first, so an incremental transfer is enough."""
    running = next(one for one in LabState.read(lab.directory).daemons if one.component == "db@edi")
    log = running.log.read_text()
    assert "IST received" in log
    assert "rsync SST completed" not in log


def test_events_of_a_crash_are_in_their_order(observed: Observation) -> None:
    """Stop, the others' new view a suspect timeout later, start, and the view with all three."""
    first: dict[tuple[str, str], float] = {}
    for event in observed.events:
        first.setdefault((event.component, event.kind), event.at)
    inject = next(event.at for event in observed.events if event.kind == "fault.inject")
    assert first["db@edi", "process.stop"] == pytest.approx(inject, abs=0.5)
    stall = first["db@ral", "galera.view"] - inject
    assert 4.0 < stall < 8.5, "suspect_timeout 5 s, less the keepalive, plus check period and agreement"
    assert first["db@edi", "process.start"] > first["db@ral", "galera.view"]
    assert {"link.cut", "link.healed"} <= {event.kind for event in observed.events}


def test_every_window_has_its_fault(observed: Observation) -> None:
    """Two faults, two windows, in seconds since the load started."""
    assert len(observed.windows) == 2
    assert observed.windows[0] == pytest.approx((4.0, 12.0), abs=1.0)
    assert all(0 < begin < end < WORKLOAD.duration for begin, end in observed.windows)


def test_no_acknowledged_write_is_lost_and_all_members_agree(observed: Observation) -> None:
    """The audit looked at real rows: it knows many writes and finds them on all three members."""
    audit = observed.audit
    assert audit.acknowledged > 30
    assert (audit.lost, audit.divergent) == (0, 0)
    assert audit.lookups.endswith("on 3 servers")


def test_an_audit_notices_a_write_that_is_gone(lab: LocalLab, observed: Observation) -> None:
    """Rows deleted behind everybody's back on all members are lost, on one member divergent."""
    from chaos.lab.generators import read_samples

    state = LabState.read(lab.directory)
    assert state.load is not None
    frame = read_samples(state.load.samples)
    servers = [one.daemon() for one in state.daemons if one.role == "mariadb"]
    tokens = consistency.writes_of(frame).tokens
    for server, gone in zip(servers, (tokens[:2], tokens[:1], tokens[:1]), strict=True):
        connection = mariadb.connect(server, mariadb.DATABASE)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wsrep_on = OFF")  # this member only
            cursor.execute("DELETE FROM access_token WHERE token_value_hash IN %s", (gone,))
            assert cursor.rowcount == len(gone)
        connection.close()
    asked = [consistency.Server.on_this_machine(one) for one in servers]
    found = consistency.audit(state.topology, asked, frame)
    assert (found.audit.lost, found.audit.divergent) == (1, 1)


def test_health_was_sampled_all_along(observed: Observation) -> None:
    """Every second of the load, with the relay's lateness, the quotas and the generators' share."""
    health = observed.extra["health"]
    assert health["seconds"] >= WORKLOAD.duration - 4
    assert 0 < health["busy"] <= 1
    assert health["relay_worst"] is not None and health["prober_late"] is not None
    assert 0 < health["load_share"] < 1
    assert 0 < health["cpu"]["recorder"] < 0.1, "the recorder must not disturb what it records"
    assert set(health["throttled"]) == {"ral", "cam", "edi"}


def test_a_member_without_its_data_copies_it_from_another(lab: LocalLab, observed: Observation) -> None:
    """The fallback: a full state transfer by rsync, after which the member serves."""
    running = next(one for one in LabState.read(lab.directory).daemons if one.component == "db@edi")
    killed = lab.inject(Kill(target="db@edi"))
    data = running.home / "data"
    shutil.rmtree(data)
    data.mkdir()
    shutil.chown(data, mariadb.USER, mariadb.USER)
    lab.undo(killed)
    until(lambda: galera.is_synced(running.daemon(), 3), "db@edi synced after a full transfer", 60.0)
    assert "rsync SST completed" in running.log.read_text()


def test_start_times_are_measured_for_every_kind(lab: LocalLab, observed: Observation) -> None:
    """Each component is back afterwards, and a database that has to rejoin takes longest."""
    found = lab.start_times(rounds=1)
    assert set(found) == {"iam", "redis", "nginx", "haproxy", "db_rejoin"}
    assert all(0.0 < seconds < 40.0 for values in found.values() for seconds in values)
    assert max(found, key=lambda name: found[name][0]) == "db_rejoin"
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up again")


def test_down_leaves_nothing(lab: LocalLab) -> None:
    """No namespace, process, control group, interface or file stays; doing it again is harmless."""
    directory = lab.directory
    lab.down()
    lab.down()
    assert leftovers() == []
    assert processes_mentioning(str(directory)) == []
    assert not directory.exists()


STAND = """
import sys
from pathlib import Path
from chaos.lab.local import LocalLab
from topologies.loader import load
lab = LocalLab(Path(sys.argv[1]), progress=lambda text: print(text, flush=True))
lab.up(load("iris-1site", size="lab"))
if len(sys.argv) > 2:
    lab.detach()
else:
    input()
"""


def test_a_lab_left_standing_belongs_to_nobody_and_everybody(directory: Path) -> None:
    """After its command has ended it is seen, refuses a second one, and can be taken down by another."""
    argv = [sys.executable, "-c", STAND, str(directory), "detach"]
    subprocess.run(argv, check=True, timeout=90, stdout=subprocess.DEVNULL)
    lab = LocalLab(directory)
    assert {one.state for one in lab.status()} == {"up"}
    with pytest.raises(LabBusy, match="faultline lab down"):
        LocalLab(Path("/tmp/fl-test-other")).up(load("iris-1site", size="lab"))
    lab.down()
    assert leftovers() == []


@pytest.mark.parametrize("moment", [0.4, 1.2, 2.5])
def test_a_lab_killed_while_it_comes_up_is_healed(directory: Path, moment: float) -> None:
    """SIGKILL at any moment of `up`: heal removes all of it."""
    argv = [sys.executable, "-c", STAND, str(directory)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if moment > 1:
        process.stdout.readline()  # the network is up
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    heal(directory)
    assert leftovers() == []
    assert processes_mentioning(str(directory)) == []


def test_a_daemon_that_cannot_start_is_named_with_its_own_words(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names component, reason and log, the log stays, and everything else is gone."""
    planned = deployment.plan

    def broken(*arguments: object) -> deployment.Deployment:
        found = planned(*arguments)  # type: ignore[arg-type]
        (one,) = found.caches
        wrong = {**one.files, "redis.conf": one.files["redis.conf"] + "no-such-directive yes\n"}
        import dataclasses

        return dataclasses.replace(found, caches=(dataclasses.replace(one, files=wrong),))

    monkeypatch.setattr(deployment, "plan", broken)
    lab = LocalLab(directory)
    with pytest.raises(
        LabError, match=r"cache@ral ended at its start: .*no-such-directive.*log:|cache@ral ended"
    ):
        lab.up(load("iris-1site", size="lab"))
    assert (directory / "cache" / "ral" / "log").exists()
    assert leftovers() == []


@pytest.fixture
def cache() -> Iterator[Path]:
    """A cache directory that the database's account can pass into, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="fl-test-cache-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_template_is_made_once(cache: Path) -> None:
    """The second time it comes from the cache; another script makes another one; unfinished ones go."""
    (cache / "making-left-over").mkdir()
    script = "CREATE DATABASE iam; CREATE TABLE iam.t (id INT PRIMARY KEY); INSERT INTO iam.t VALUES (1)"
    first = template.ensure([script], cache)
    made = first.data.stat().st_mtime_ns
    assert first.seqno > 0
    assert template.ensure([script], cache) == first
    assert first.data.stat().st_mtime_ns == made
    other = template.ensure([script + ", (2)"], cache)
    assert other.digest != first.digest
    assert not list(cache.glob("making-*"))


def test_a_template_with_wrong_sql_says_so(cache: Path) -> None:
    """The server's words are in the message, and nothing half-made stays in the cache."""
    with pytest.raises(LabError, match=r"database template.*NONSENSE"):
        template.ensure(["NONSENSE"], cache)
    assert not list(cache.glob("mariadb-*")) and not list(cache.glob("making-*"))

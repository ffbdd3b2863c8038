"""What the local lab keeps on disk and tells its generators, without starting anything."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.host.processes import Process
from chaos.lab import generators
from chaos.lab.host import _links_cut
from chaos.lab.layout import Layout
from chaos.lab.local import LocalLab
from chaos.lab.state import STATE_FILE, LabState, Load, Running, StateFile
from chaos.load.plan import COLUMNS
from chaos.services import deployment
from experiments.faults import Kill, Partition
from experiments.observation import REQUEST_COLUMNS
from experiments.workload import ProbeStream, Workload, users_per_population
from topologies.loader import load
from topologies.model import Topology


@pytest.fixture(scope="module")
def topology() -> Topology:
    """Three sites in lab size."""
    return load("iris-3site-galera", size="lab")


@pytest.fixture
def state(topology: Topology, tmp_path: Path) -> LabState:
    """A lab with everything in it."""
    daemons = deployment.plan(topology, Layout.of(topology, tmp_path)).all
    workload = Workload(users=7)
    return LabState(
        directory=tmp_path,
        topology=topology,
        complete=True,
        daemons=tuple(Running.of(one, Process(100 + n, 7)) for n, one in enumerate(daemons)),
        recorder=Process(99, 7),
        facts={"cgroup_version": 1},
        load=Load(1.5, workload.model_dump(mode="json"), 3, (tmp_path / "a.csv",), (Process(5, 6),)),
        windows=(("1", 10.0, 20.0), ("2", 30.0, None)),
    )


def test_the_state_is_read_back_as_it_was_written(state: LabState) -> None:
    """Another process sees the same daemons, load and windows."""
    state.write()
    found = LabState.read(state.directory)
    assert found == state
    assert found.load is not None
    assert Workload.model_validate(dict(found.load.workload)) == Workload(users=7)


def test_a_daemon_can_be_started_again_from_the_state(state: LabState, topology: Topology) -> None:
    """Everything its start needs is in the record, except the files, which are on disk."""
    for running, daemon in zip(state.daemons, deployment.plan(topology, state.layout).all, strict=True):
        assert dataclasses.replace(running.daemon(), files=daemon.files) == daemon
        assert running.digest == daemon.digest()


def test_without_a_lab_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    """No state file is no lab; a broken one is for heal."""
    with pytest.raises(LabError, match=r"no lab is up.*faultline lab up"):
        LabState.read(tmp_path)
    (tmp_path / STATE_FILE).write_text('{"version": 1, "dir')
    with pytest.raises(LabError, match="faultline heal"):
        LabState.read(tmp_path)
    (tmp_path / STATE_FILE).write_text('{"version": 999}')
    with pytest.raises(LabError, match="version 999"):
        LabState.read(tmp_path)


def test_a_restart_changes_one_process_only(state: LabState) -> None:
    """The new process is that component's; all others keep theirs."""
    changed = state.with_process("db@edi", Process(4242, 1))
    differing = [new.component for old, new in zip(state.daemons, changed.daemons, strict=True) if old != new]
    assert differing == ["db@edi"]


def test_changes_reach_the_disk_before_they_return(topology: Topology, tmp_path: Path) -> None:
    """A second reader sees what the first one has just changed."""
    file = StateFile(tmp_path)
    file.begin(topology)
    file.update(lambda one: dataclasses.replace(one, complete=True))
    assert StateFile(tmp_path).require().complete


def test_without_a_lab_there_is_no_status_and_nothing_to_stop(tmp_path: Path) -> None:
    """Looking at a lab that is not there is no error; asking something of it is."""
    lab = LocalLab(tmp_path)
    assert lab.status() == []
    assert lab.events() == []
    lab.stop_load()
    assert lab.clock.now() == 0.0
    with pytest.raises(LabError, match="no lab is up"):
        lab.endpoints()
    with pytest.raises(LabError, match="no lab is up"):
        lab.inject(Kill(target="db@edi"))


def test_the_links_a_partition_cuts(topology: Topology) -> None:
    """One direction is enough; links between sites that stay together are left out."""
    assert _links_cut(Partition(isolate=["edi"]), topology) == ["ral-edi", "cam-edi"]
    assert _links_cut(Partition(grudge={"ral": ["cam"]}), topology) == ["ral-cam"]
    assert _links_cut(Kill(target="db@edi"), topology) == []


def test_every_population_and_every_site_has_its_generator(topology: Topology, tmp_path: Path) -> None:
    """Users next to their site, a prober next to each; whole users and the whole ramp are shared out."""
    workload = Workload(users=10, ramp=4.0, probes=(ProbeStream(rate=10.0),))
    layout = Layout.of(topology, tmp_path)
    found = generators.generators(topology, layout, workload, 5, 1000.0, tmp_path)
    users = [one.plan for one in found if one.module == "chaos.load.users"]
    probers = [one.plan for one in found if one.module == "chaos.load.prober"]
    assert sum(plan.users for plan in users) == 10
    assert sum(plan.ramp for plan in users) == pytest.approx(4.0)
    assert [plan.site for plan in probers] == list(topology.sites)
    assert all(plan.users == 0 and plan.probes for plan in probers)
    assert len({one.plan.seed for one in found}) == len(found)
    assert {one.namespace for one in found} == {f"fl-{site}-u" for site in topology.sites}
    assert users[0].front_ends == {"198.18.1.1": "ral", "198.18.2.1": "cam", "198.18.3.1": "edi"}


def test_generators_seeds_are_the_same_in_every_process() -> None:
    """They depend on the run's seed and the generator's name, not on the process's hash seed."""
    program = (
        "from chaos.lab.generators import _seed; print(_seed(5, 'users'), _seed(6, 'users'), _seed(5, 'x'))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(said) == 1
    assert len(set(said.pop().split())) == 3


@given(
    st.integers(1, 500),
    st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6),
)
def test_users_are_shared_out_whole_and_fairly(users: int, weights: list[float]) -> None:
    """All users have a place, and nobody is more than one user off its share."""
    shares = {f"p{number}": weight for number, weight in enumerate(weights)}
    counts = users_per_population(users, shares)
    assert sum(counts.values()) == users
    for name, weight in shares.items():
        assert abs(counts[name] - users * weight / sum(weights)) < 1.0 + 1e-6


HEADER = ",".join(COLUMNS)


def test_samples_are_read_while_they_are_written(tmp_path: Path) -> None:
    """Half a line is left for the next time, a file that is not there yet is empty, times are ordered."""
    first, second = tmp_path / "users.csv", tmp_path / "prober.csv"
    first.write_text(
        f"{HEADER}\n2.5,0.1,load,ral,workflow,password,200,ok,ral,abc,r1,0.0\n3.5,0.1,load,ral,wor"
    )
    second.write_text(f"{HEADER}\n0.5,5.0,probe,cam,health,health,0,timeout,,,,0.001\n")
    frame = generators.read_samples([first, second, tmp_path / "missing.csv"])
    assert frame["start"].tolist() == [0.5, 2.5]
    assert frame["outcome"].tolist() == ["timeout", "ok"]
    assert frame["front_end"].tolist() == ["", "ral"]
    assert set(REQUEST_COLUMNS) <= set(frame.columns)
    assert generators.read_samples([]).empty

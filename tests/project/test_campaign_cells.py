"""The campaign's cells: what they cover, and that each can be predicted and laid out in the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.campaign.cells import CELLS, Cell, named
from benchmarks.campaign.run import grouped, seconds_of, within
from chaos.lab.layout import Layout
from chaos.services import deployment
from experiments.faults import Degrade, Kill, Partition, Pause
from experiments.targets import components, grudge
from experiments.timeline import contradictions
from sim.program import compile_program

PLAIN = [cell for cell in CELLS if cell.kind == "plain"]
FAULT = [cell for cell in CELLS if cell.kind == "fault"]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_every_cell_can_be_predicted_and_laid_out(cell: Cell) -> None:
    """It compiles to a program, fits the lab, and its faults hit something and do not contradict."""
    program = compile_program(cell.topology, cell.workload, cell.timeline)
    assert len(program.faults) == len(cell.strikes)
    deployment.plan(cell.topology, Layout.of(cell.topology))
    for scheduled in cell.timeline:
        assert scheduled.at + (scheduled.duration or 0.0) < cell.workload.duration
        if isinstance(scheduled.fault, Kill | Pause):
            assert scheduled.fault.target in components(cell.topology)
        elif isinstance(scheduled.fault, Partition):
            assert any(grudge(scheduled.fault, cell.topology).values())
    assert not list(contradictions([((), one) for one in cell.timeline]))


def test_there_are_enough_of_them() -> None:
    """24 without and 12 with faults, each with a name of its own."""
    assert len(PLAIN) >= 24
    assert len(FAULT) >= 12
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_plain_cells_cover_the_factors() -> None:
    """Members, round trips (one pair of ways unequal), writers, users and flows."""
    assert {cell.members for cell in PLAIN} == {1, 2, 3, 5}
    assert {0.002, 0.030, 0.100, 0.200} <= {cell.rtt for cell in PLAIN}
    assert any(cell.forward != 0.5 for cell in PLAIN)
    assert {cell.writers for cell in PLAIN} == {"one", "all"}
    assert {cell.users for cell in PLAIN} == {1, 4, 16, 40}
    assert {cell.flow for cell in PLAIN} == {"access-token", "refresh", "workflow"}


def test_fault_cells_cover_the_faults() -> None:
    """Crash, graceful leave, pause, cuts of four lengths and three shapes, slow links, the session store."""
    faults = [strike.fault for cell in FAULT for strike in cell.strikes]
    assert {fault.signal for fault in faults if isinstance(fault, Kill)} == {"KILL", "TERM"}
    assert {fault.target.partition("@")[0] for fault in faults if isinstance(fault, Kill)} == {"db", "cache"}
    assert {fault.target.partition("@")[0] for fault in faults if isinstance(fault, Pause)} == {"db", "iam"}
    assert any(isinstance(fault, Degrade) for fault in faults)
    cuts = {
        strike.duration
        for cell in FAULT
        for strike in cell.strikes
        if isinstance(strike.fault, Partition) and strike.fault.isolate == ["edi"]
    }
    assert {1.0, 2.5, 10.0, 30.0} <= cuts
    assert any(isinstance(fault, Partition) and fault.grudge for fault in faults)
    assert any(isinstance(fault, Partition) and fault.between for fault in faults)
    assert any(len(cell.strikes) > 2 for cell in FAULT)  # a flapping site


def test_the_beginning_of_the_list_is_a_campaign_too() -> None:
    """The cells of half an hour have every number of members, both kinds of writers and all flows."""
    half = within(CELLS, 1800.0)
    assert {cell.members for cell in half} == {1, 2, 3, 5}
    assert {cell.writers for cell in half} == {"one", "all"}
    assert {cell.flow for cell in half} == {"access-token", "refresh", "workflow"}
    assert {cell.kind for cell in half} == {"plain", "fault"}
    assert len({cell.rtt for cell in half}) >= 4


def test_a_budget_is_kept() -> None:
    """Repeats and labs together take no more than was given; nothing fits into nothing."""
    chosen = within(CELLS, 1200.0)
    labs = len({cell.deployment for cell in chosen})
    assert sum(map(seconds_of, chosen)) + 20.0 * (labs - 1) <= 1200.0
    assert within(CELLS, 0.0) == []
    assert within(CELLS, 1e6) == list(CELLS)


def test_cells_of_one_deployment_share_a_lab() -> None:
    """They run one after the other, and only their links differ."""
    groups = grouped(CELLS)
    assert sorted(cell.name for group in groups for cell in group) == sorted(cell.name for cell in CELLS)
    assert len({group[0].deployment for group in groups}) == len(groups)
    for group in groups:
        assert len({one.topology.model_copy(update={"links": []}).model_dump_json() for one in group}) == 1
        places = [CELLS.index(cell) for cell in group]
        assert places == sorted(places)


def test_cells_are_found_by_name(tmp_path: Path) -> None:
    """In order of importance, and a wrong name is told."""
    assert [cell.name for cell in named(["kill", "cut-10s"])] == ["cut-10s", "kill"]
    with pytest.raises(KeyError, match="cut-11s"):
        named(["cut-11s"])

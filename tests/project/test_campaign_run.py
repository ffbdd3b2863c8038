"""A campaign goes on where it was stopped, takes disturbed repeats again, registers before it measures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.campaign import __main__ as command
from benchmarks.campaign.again import predicted_again
from benchmarks.campaign.cells import CELLS, REPEATS, Cell, Strike
from benchmarks.campaign.record import Recorded, registered, scorable
from benchmarks.campaign.run import Campaign
from chaos.errors import LabError
from chaos.lab.simulated import SimulatedLab
from experiments.faults import Pause
from experiments.observation import Observation
from faultline.ledger import Ledger, canonical, row_hash
from faultline.score import pairs
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from topologies.model import Topology

ALONE = Cell("alone", 1, 0.0, "one", 1, 0.5, "access-token")
PAIR = Cell("pair", 2, 0.030, "one", 1, 0.5, "access-token")
FARTHER = Cell("farther", 2, 0.100, "one", 1, 0.5, "access-token")
STRUCK = dataclasses.replace(ALONE, name="struck", strikes=(Strike(Pause(target="iam@ral"), 1.0),), tail=4.0)


class Pretended(SimulatedLab):
    """A simulated lab that says of chosen runs that they were disturbed, or fails to come up."""

    runs = 0
    ups = 0

    def __init__(
        self,
        disturbed: frozenset[int] = frozenset(),
        broken: frozenset[int] = frozenset(),
        pace: float | None = None,
    ) -> None:
        super().__init__(Simulation(Calibration.default(), "lab"))
        self._pace = pace
        self._disturbed, self._broken = disturbed, broken

    def up(self, topology: Topology) -> None:
        """Count, and fail when told to."""
        Pretended.ups += 1
        if Pretended.ups in self._broken:
            raise LabError("pretended")
        super().up(topology)

    def observe(self) -> Observation:
        """The simulation's, disturbed when told to."""
        Pretended.runs += 1
        seen = super().observe()
        extra = {
            "facts": {"versions": {"galera": "0"}},
            "health": {"busy": 0.4} | ({} if self._pace is None else {"pace": self._pace}),
            "disturbances": ["a neighbour"] if Pretended.runs in self._disturbed else [],
        }
        return dataclasses.replace(seen, extra=seen.extra | extra)

    def close(self) -> None:
        """Down."""
        self.down()


@pytest.fixture(autouse=True)
def nothing_run() -> None:
    """Count from zero."""
    Pretended.runs = Pretended.ups = 0


def campaign(tmp_path: Path, **how: Any) -> Campaign:
    """A campaign that is calibrated."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    Calibration.default().save(home / "calibration.json")
    return Campaign(home, tmp_path / "room", lambda text: None, lab=lambda: Pretended(**how), replications=4)


@pytest.mark.parametrize(("pace", "disturbed"), [(0.0018, False), (0.0025, True), (None, False)])
def test_a_machine_off_its_pace_disturbs(tmp_path: Path, pace: float | None, disturbed: bool) -> None:
    """What a neighbour on the host took is no miss of the model: the repeat is taken again and listed."""
    usual = Calibration.default()
    machine = usual.machine.model_copy(update={"pace": 0.00175})
    made = campaign(tmp_path, pace=pace)
    usual.model_copy(update={"machine": machine}).save(made.home.calibration)
    made.paces = lambda: 0.00175
    made.run([ALONE])
    repeats = Recorded.read(tmp_path / "room" / "alone.json").repeats
    assert (
        any("pace of its calibration" in text for one in repeats for text in one["disturbances"]) is disturbed
    )


def test_a_run_waits_for_the_machines_pace(tmp_path: Path) -> None:
    """It begins when the machine computes as it did when it was calibrated, or when it has waited enough."""
    usual = Calibration.default()
    made = campaign(tmp_path)
    usual.model_copy(update={"machine": usual.machine.model_copy(update={"pace": 0.001})}).save(
        made.home.calibration
    )
    told: list[str] = []
    paces = iter([0.002] + [0.001] * 100)
    made.paces, made.note = lambda: next(paces), told.append
    made.run([ALONE])
    assert [text for text in told if "wait" in text] == ["alone: waiting up to 45 s for the machine's pace"]
    assert next(paces) == 0.001  # it did not wait until it had enough


def test_every_repeat_is_registered_before_it_is_measured(tmp_path: Path) -> None:
    """The ledger is intact, scores every run, and its rows can be made again from the data file."""
    ours = campaign(tmp_path)
    ours.run([ALONE])
    found = Recorded.read(tmp_path / "room" / "alone.json")
    assert found.complete
    assert len(found.repeats) == REPEATS
    assert ours.ledger.verify().intact
    scored, unscored = pairs(ours.ledger.rows(), everything=True)
    assert len({one.run_id for one in scored}) == REPEATS
    assert not unscored
    for repeat in found.repeats:
        first, then = repeat["ledger"]["prediction"], repeat["ledger"]["measurement"]
        assert first["time"] < repeat["load_started"] or first["n"] < then["n"]
        for row, kind, payload in (
            (first, "prediction", registered(found.data)),
            (then, "measurement", scorable(repeat)),
        ):
            digest = row_hash(row["n"], row["time"], kind, repeat["run"], canonical(payload), row["previous"])
            assert row["hash"] == digest


def test_a_killed_campaign_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    """Cells that are complete are left alone; of one that is not, the missing repeats are measured."""
    campaign(tmp_path).run([STRUCK])
    path = tmp_path / "room" / "struck.json"
    assert Pretended.runs == REPEATS
    broken_off = Recorded.read(path)
    del broken_off.repeats[1:]
    broken_off.write(tmp_path / "room")
    Pretended.runs = 0
    campaign(tmp_path).run([STRUCK])
    assert Pretended.runs == REPEATS - 1
    found = Recorded.read(path)
    assert [one["number"] for one in found.repeats] == [1, 2, 3]
    assert len({one["run"] for one in found.repeats}) == REPEATS
    Pretended.runs = 0
    campaign(tmp_path).run([STRUCK])
    assert Pretended.runs == 0


def test_repeats_without_faults_are_windows_of_one_load(tmp_path: Path) -> None:
    """One after the other, each registered by itself, and of the length that was predicted."""
    campaign(tmp_path).run([ALONE])
    assert Pretended.runs == 1
    found = Recorded.read(tmp_path / "room" / "alone.json")
    edges = [tuple(one["measured"]) for one in found.repeats]
    assert edges == [(5.0, 16.0), (16.0, 27.0), (27.0, 38.0)]
    assert edges[0] == (ALONE.workload.warmup, ALONE.workload.duration)
    assert ALONE.load.duration == edges[-1][1]
    rates = [one["metrics"]["throughput{flow=access-token}@whole"][0] for one in found.repeats]
    assert len(set(rates)) > 1


def test_another_calibration_is_another_campaign(tmp_path: Path) -> None:
    """What was predicted with other demands is measured anew."""
    campaign(tmp_path).run([ALONE])
    other = campaign(tmp_path)
    demands = Calibration.default()
    slower = demands.model_copy(update={"apply_cpu": demands.apply_cpu.model_copy(update={"mean": 0.003})})
    slower.save(tmp_path / "home" / "calibration.json")
    Pretended.runs = 0
    other.run([ALONE])
    assert Pretended.runs == 1


def test_a_disturbed_repeat_is_taken_again_once(tmp_path: Path) -> None:
    """The first attempt stays on record; a second one that is disturbed too stands, and says so."""
    campaign(tmp_path, disturbed=frozenset({2, 4, 5})).run([STRUCK])
    found = Recorded.read(tmp_path / "room" / "struck.json")
    assert [one["number"] for one in found.repeats] == [1, 2, 2, 3, 3]
    assert [one["retaken"] for one in found.repeats] == [False, True, False, True, False]
    assert (len(found.counted), len(found.sound)) == (3, 2)
    Pretended.runs = 0
    campaign(tmp_path, disturbed=frozenset({1})).run([ALONE])
    found = Recorded.read(tmp_path / "room" / "alone.json")
    assert [one["number"] for one in found.repeats] == [1, 2, 3, 1, 2, 3]
    assert (len(found.counted), len(found.sound)) == (3, 3)


def test_a_lab_that_fails_is_tried_once_more(tmp_path: Path) -> None:
    """Then the cell is given up, named, and the next one runs."""
    ours = campaign(tmp_path, broken=frozenset({1, 2}))
    ours.run([ALONE, PAIR])
    assert ours.failed == ["alone"]
    assert Recorded.read(tmp_path / "room" / "pair.json").complete
    other = campaign(tmp_path, broken=frozenset({Pretended.ups + 1}))
    other.run([ALONE])
    assert other.failed == []


def test_nothing_begins_that_would_end_too_late(tmp_path: Path) -> None:
    """With no time left nothing is measured, and nothing is registered."""
    ours = campaign(tmp_path)
    ours.run([ALONE], deadline=0.0)
    assert not (tmp_path / "room" / "alone.json").exists()
    assert ours.ledger.rows() == []


def test_a_prediction_made_again_is_no_evidence(tmp_path: Path) -> None:
    """It says when it was made and carries no ledger rows; while nothing changed it is the registered one."""
    campaign(tmp_path).run([PAIR, FARTHER])
    for name in ("pair", "farther"):
        found = Recorded.read(tmp_path / "room" / f"{name}.json")
        again = predicted_again(found, Calibration.default())
        assert again.data["made"] == "after the measurement"
        assert all("ledger" not in repeat for repeat in again.repeats)
        assert again.prediction == found.prediction


def test_the_command_lists_refuses_and_tabulates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` runs nothing; a wrong name is bad usage; `--table` prints what is recorded."""
    assert command.main(["--list"]) == 0
    assert CELLS[0].name in capsys.readouterr().out
    assert command.main(["--cells", "nonsense"]) == 64
    assert "nonsense" in capsys.readouterr().err
    assert command.main(["--again", "--room", str(tmp_path)]) == 64
    assert "nothing is recorded" in capsys.readouterr().err
    ours = campaign(tmp_path)
    ours.run([ALONE])
    words = ["--home", str(tmp_path / "home"), "--room", str(tmp_path / "room"), "--no-page"]
    assert command.main([*words, "--table"]) in (0, 1)
    assert "throughput" in capsys.readouterr().out
    assert command.main([*words, "--again"]) == 0
    assert "after the measurement" in capsys.readouterr().out
    assert Ledger(tmp_path / "home" / "ledger.sqlite").verify().intact


def test_recorded_cells_can_be_predicted_with_another_sittings_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--again --calibration` takes it instead of the campaign's own; a wrong file is bad usage."""
    campaign(tmp_path).run([ALONE])
    words = ["--room", str(tmp_path / "room"), "--again", "--cells"]
    usual = Calibration.default()
    wait = Estimate(mean=0.3)
    slower = {kind: one.model_copy(update={"wait": wait}) for kind, one in usual.requests.items()}
    usual.model_copy(update={"requests": slower}).save(tmp_path / "slower.json")
    name = CELLS[4].name
    recorded = (tmp_path / "room" / "alone.json").read_text().replace('"alone"', f'"{name}"')
    (tmp_path / "room" / "alone.json").unlink()
    (tmp_path / "room" / f"{name}.json").write_text(recorded)
    tables = []
    for more in ([], ["--calibration", str(tmp_path / "slower.json")]):
        assert command.main([*words, name, *more]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] != tables[1]
    assert command.main([*words, name, "--calibration", str(tmp_path / "nowhere.json")]) == 64
    assert "nowhere.json" in capsys.readouterr().err
    assert command.main(["--list", "--calibration", "any.json"]) == 64
    assert "--again" in capsys.readouterr().err

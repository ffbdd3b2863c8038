"""Recorded campaigns are what they say: predicted from one calibration, registered first, shown unchanged."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.campaign import table
from benchmarks.campaign.gates import GATES, residuals
from benchmarks.campaign.record import ROOM, Recorded, read_all, registered, scorable
from benchmarks.published import PAGE
from experiments.catalogue import MetricKey
from faultline.ledger import canonical, row_hash
from sim.calibration import load as load_calibration

CELLS = read_all()
SECOND = ROOM.with_name("campaign-2")
"""Begun with the model as it was a day later; stopped, as the host had other things to do."""

AGAIN = read_all(SECOND)
EVERY = [(ROOM, one) for one in CELLS] + [(SECOND, one) for one in AGAIN]


@pytest.fixture(params=EVERY, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def placed(request: pytest.FixtureRequest) -> tuple[Path, Recorded]:
    """One recorded cell, and where it lies."""
    found: tuple[Path, Recorded] = request.param
    return found


@pytest.fixture
def cell(placed: tuple[Path, Recorded]) -> Recorded:
    """One recorded cell."""
    return placed[1]


def test_there_are_enough_cells() -> None:
    """24 without and 12 with faults, three runs each that stand."""
    kinds = [one.data["factors"]["kind"] for one in CELLS]
    assert kinds.count("plain") >= 24
    assert kinds.count("fault") >= 12
    assert all(one.complete for one in CELLS)


def test_every_prediction_was_registered_before_its_measurement(cell: Recorded) -> None:
    """Hashing what the file holds gives the ledger's rows, and their times are in order."""
    for repeat in cell.repeats:
        rows = repeat["ledger"]
        for kind, payload in (("prediction", registered(cell.data)), ("measurement", scorable(repeat))):
            row = rows[kind]
            digest = row_hash(row["n"], row["time"], kind, repeat["run"], canonical(payload), row["previous"])
            assert digest == row["hash"]
        assert rows["prediction"]["n"] < rows["measurement"]["n"]
        predicted, started, measured = (
            datetime.fromisoformat(text)
            for text in (rows["prediction"]["time"], repeat["load_started"], rows["measurement"]["time"])
        )
        assert predicted < started < measured
        if repeat["first_injection"] is not None:
            assert started < datetime.fromisoformat(repeat["first_injection"])


@pytest.mark.parametrize("cells", [CELLS, AGAIN])
def test_the_rows_are_links_of_one_chain(cells: list[Recorded]) -> None:
    """Where two recorded rows are neighbours, the later one carries the hash of the earlier."""
    rows = {row["n"]: row for one in cells for repeat in one.repeats for row in repeat["ledger"].values()}
    neighbours = [(rows[n - 1], row) for n, row in rows.items() if n - 1 in rows]
    assert len(neighbours) > len(cells)
    assert all(before["hash"] == after["previous"] for before, after in neighbours)


def test_all_were_predicted_from_one_calibration(placed: tuple[Path, Recorded]) -> None:
    """The file beside the cells; and the machine and the daemons are named."""
    room, cell = placed
    assert cell.data["calibration"] == load_calibration(room / "calibration.json").hash
    assert {"cpu", "cores", "memory", "kernel"} <= set(cell.data["machine"])
    assert {"mariadbd", "galera", "redis-server", "haproxy"} <= set(cell.data["lab"]["versions"])
    assert len(cell.prediction["program"]) == 64


def test_keys_and_intervals_are_sound(cell: Recorded) -> None:
    """Every key is in the catalogue, every interval in order, every faulted run had its fault."""
    for key, (_, low, median, high, _) in cell.prediction["metrics"].items():
        MetricKey.parse(key)
        assert low <= median <= high
    for repeat in cell.repeats:
        assert len(repeat["windows"]) == len(cell.data["timeline"])


def test_the_page_says_what_the_data_say() -> None:
    """docs/validation.md has the table that the recorded cells give, and each gate has cells behind it."""
    assert table.page(CELLS) in PAGE.read_text(encoding="utf-8")
    assert {one.gate.name for one in residuals(CELLS, "counted")} >= {
        gate.name for gate in GATES if gate.name != "stale rate"
    }


def test_the_page_says_what_the_second_campaign_was() -> None:
    """Its table of gates, over the runs on an undisturbed machine, and how many those are."""
    text = PAGE.read_text(encoding="utf-8")
    for row in table.gate_rows(residuals(AGAIN)):
        assert f"| {' | '.join(row)} |" in text
    sound, runs = (sum(len(getattr(one, which)) for one in AGAIN) for which in ("sound", "counted"))
    assert f"{len(AGAIN)} cells, {runs} runs, {sound} of them" in text

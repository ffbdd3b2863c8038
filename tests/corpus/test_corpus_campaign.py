"""The recorded campaign is what it says: predicted from one calibration, registered first, shown as it is."""

from __future__ import annotations

from datetime import datetime

import pytest

from benchmarks.campaign import table
from benchmarks.campaign.gates import GATES, residuals
from benchmarks.campaign.record import ROOM, Recorded, read_all, registered, scorable
from benchmarks.published import PAGE
from experiments.catalogue import MetricKey
from faultline.ledger import canonical, row_hash
from sim.calibration import load as load_calibration

CELLS = read_all()


@pytest.fixture(params=CELLS, ids=lambda cell: cell.name)
def cell(request: pytest.FixtureRequest) -> Recorded:
    """One recorded cell."""
    found: Recorded = request.param
    return found


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


def test_the_rows_are_links_of_one_chain() -> None:
    """Where two recorded rows are neighbours, the later one carries the hash of the earlier."""
    rows = {row["n"]: row for one in CELLS for repeat in one.repeats for row in repeat["ledger"].values()}
    neighbours = [(rows[n - 1], row) for n, row in rows.items() if n - 1 in rows]
    assert len(neighbours) > len(CELLS)
    assert all(before["hash"] == after["previous"] for before, after in neighbours)


def test_all_were_predicted_from_one_calibration(cell: Recorded) -> None:
    """The file beside the cells; and the machine and the daemons are named."""
    assert cell.data["calibration"] == load_calibration(ROOM / "calibration.json").hash
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

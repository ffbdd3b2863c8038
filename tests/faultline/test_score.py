"""The score over all runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultline.ledger import Ledger, LedgerError
from faultline.score import pairs, scores, wilson

START = datetime(2025, 1, 2, 12, 0, tzinfo=UTC)
KEY = "recovery_time{flow=health}@whole"


def record(
    ledger: Ledger, name: str, value: float, backend: str = "local", early: float = 0.0, **more: Any
) -> None:
    """Record a run whose recovery time was predicted as 10 s, 9 to 11."""
    ledger.append(
        "prediction", name, {"intervals": {KEY: [9.0, 10.0, 11.0], "lost_commits@whole": [0, 0, 0]}}, START
    )
    first = START + timedelta(seconds=60 - early)
    content = {
        "backend": backend,
        "disturbances": [],
        "first_injection": first.isoformat(timespec="microseconds"),
        "metrics": {
            KEY: {"value": value, "n": 900, "resolution": 0.05, "censored": False},
            "lost_commits@whole": {"value": 0.0, "n": 900, "resolution": 0.0, "censored": False},
        },
    }
    ledger.append("measurement", name, {**content, **more}, first + timedelta(seconds=90))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / "ledger.sqlite")


class TestScores:
    """Coverage and errors."""

    def test_coverage_bias_and_error(self, ledger: Ledger) -> None:
        """Three of four inside; bias and error are medians of point by value, less one."""
        for index, value in enumerate([10.0, 9.5, 11.02, 20.0]):  # 11.02 is within the resolution
            record(ledger, f"run-{index}", value)
        found = {score.metric: score for score in scores(ledger.rows())}
        recovery = found["recovery_time"]
        assert (recovery.inside, recovery.count, recovery.runs) == (3, 4, 4)
        errors = sorted([0.0, 10 / 9.5 - 1, 10 / 11.02 - 1, -0.5])
        assert recovery.bias == pytest.approx((errors[1] + errors[2]) / 2)
        absolute = sorted(map(abs, errors))
        assert recovery.error == pytest.approx((absolute[1] + absolute[2]) / 2)

    def test_certainties_are_no_test_of_an_interval(self, ledger: Ledger) -> None:
        """No lost commits, as everybody knew, does not raise the coverage."""
        record(ledger, "run-1", 20.0)
        assert {score.metric for score in scores(ledger.rows())} == {"all", "recovery_time"}
        assert scores(ledger.rows())[0].coverage == 0

    def test_the_simulated_backend_is_never_validation(self, ledger: Ledger) -> None:
        """It has lines of its own, marked, and no part in those of the real lab."""
        record(ledger, "run-1", 10.0)
        record(ledger, "run-2", 30.0, backend="simulated")
        found = scores(ledger.rows())
        assert {(score.backend, score.validation, score.coverage) for score in found} == {
            ("local", True, 1.0),
            ("simulated", False, 0.0),
        }

    def test_disturbed_runs_and_late_predictions_are_not_scored(self, ledger: Ledger) -> None:
        """Each run that does not count is listed with the reason."""
        record(ledger, "run-1", 10.0, disturbances=["machine 97% busy"])
        record(ledger, "run-2", 10.0, early=120.0)
        ledger.append("prediction", "run-3", {"intervals": {}})
        found, unscored = pairs(ledger.rows())
        assert found == []
        assert {one.run_id: one.reason for one in unscored} == {
            "run-1": "the lab was disturbed: machine 97% busy",
            "run-2": "the first fault is older than the prediction",
            "run-3": "never measured",
        }

    def test_a_measurement_cannot_enter_without_its_prediction(self, ledger: Ledger) -> None:
        """There is nothing to score it with, and nothing can be supplied later."""
        with pytest.raises(LedgerError, match="cannot be scored"):
            ledger.append("measurement", "run-1", {"metrics": {}})

    @given(st.integers(1, 500), st.data())
    def test_wilson_contains_the_share(self, count: int, data: st.DataObject) -> None:
        """The confidence interval lies in [0, 1] and around the observed share."""
        hits = data.draw(st.integers(0, count))
        low, high = wilson(hits, count)
        assert 0 <= low <= hits / count + 1e-12
        assert hits / count - 1e-12 <= high <= 1

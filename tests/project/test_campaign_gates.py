"""The arithmetic of the gates, and the tables that come of it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.campaign import table
from benchmarks.campaign.gates import (
    GATES,
    Gate,
    all_held,
    coverage,
    outcomes,
    residual,
    residuals,
)
from benchmarks.campaign.record import Recorded, spelled

GATE = {gate.column: gate for gate in GATES}
RATE = "throughput{flow=workflow}@whole"
CONFLICTS = "error_ratio{flow=workflow,kind=conflict}@whole"
STALL = "write_stall@whole"


def repeat(
    metrics: dict[str, list[Any]], *, disturbances: tuple[str, ...] = (), retaken: bool = False
) -> dict[str, Any]:
    """A measured repeat."""
    return {
        "metrics": metrics,
        "disturbances": list(disturbances),
        "retaken": retaken,
        "health": {"busy": 0.5},
        "load_started": "2026-11-21T18:30:00.000000+00:00",
    }


def cell(metrics: dict[str, list[float]], *repeats: dict[str, Any], name: str = "one") -> Recorded:
    """A recorded cell; predicted metrics are [mean, low, median, high, censored]."""
    return Recorded(
        {
            "cell": name,
            "workload": {"flow": "workflow"},
            "factors": {"kind": "plain"},
            "machine": {"cores": 2},
            "lab": {"versions": {"galera": "26.4"}},
            "prediction": {"metrics": metrics},
            "repeats": list(repeats),
        }
    )


def rate(predicted: float, *measured: float) -> Recorded:
    """A cell with nothing but a throughput, predicted within 10 %."""
    return cell(
        {RATE: [predicted, 0.9 * predicted, predicted, 1.1 * predicted, 0.0]},
        *(repeat({RATE: [value, 1000, 0.05, False]}) for value in measured),
    )


def one(gate: Gate, recorded: Recorded) -> Any:
    """The residual over all repeats."""
    return residual(gate, recorded, recorded.counted, recorded.prediction)


class TestResidual:
    """One metric of one cell."""

    def test_means_are_compared_and_runs_are_counted(self) -> None:
        """11 for a mean of 10 is +10 %; a run within the instrument's resolution of the interval is in."""
        found = one(GATE["rate"], rate(11.0, 9.86, 10.0, 10.14))
        assert found.error == pytest.approx(0.1)
        assert (found.inside, found.runs) == (3, 3)
        assert one(GATE["rate"], rate(11.0, 9.8, 10.0, 10.2)).inside == 2

    def test_small_rates_are_measured_against_the_allowed_points(self) -> None:
        """0.2 points off is an error of just the gate, as long as the rate is small."""
        recorded = cell(
            {CONFLICTS: [0.003, 0.0, 0.003, 0.006, 0.0]}, repeat({CONFLICTS: [0.001, 1000, 0.001, False]})
        )
        assert one(GATE["conflicts"], recorded).error == pytest.approx(0.15)
        large = cell({CONFLICTS: [0.11, 0.0, 0.1, 0.2, 0.0]}, repeat({CONFLICTS: [0.1, 1000, 0.001, False]}))
        assert one(GATE["conflicts"], large).error == pytest.approx(0.1)

    def test_short_times_are_measured_against_the_error_bar(self) -> None:
        """A stall of 0.2 s predicted as 0.3 s, with writes every 0.1 s, is an error of just the gate."""
        recorded = cell({STALL: [0.3, 0.1, 0.3, 0.5, 0.0]}, repeat({STALL: [0.2, 100, 0.1, False]}))
        assert one(GATE["stall"], recorded).error == pytest.approx(0.2)

    def test_what_says_nothing_is_left_out(self) -> None:
        """Certainties that held, values that were cut off, too few samples, metrics that are not there."""
        never = [0.0, 0.0, 0.0, 0.0, 0.0]
        quiet = repeat({CONFLICTS: [0.0, 1000, 0.001, False]})
        assert one(GATE["conflicts"], cell({CONFLICTS: never}, quiet)) is None
        loud = repeat({CONFLICTS: [0.01, 1000, 0.001, False]})
        assert one(GATE["conflicts"], cell({CONFLICTS: never}, loud)).inside == 0
        cut = repeat({STALL: [9.0, 10, 0.1, True]})
        assert one(GATE["stall"], cell({STALL: [6.0, 5.0, 6.0, 7.0, 0.0]}, cut)) is None
        seen = repeat({STALL: [6.0, 10, 0.1, False]})
        assert one(GATE["stall"], cell({STALL: [9.0, 5.0, 9.0, 9.0, 0.4]}, seen)) is None
        few = repeat({"latency_p99{flow=workflow}@whole": [1.0, 120, 0.001, False]})
        tail = {"latency_p99{flow=workflow}@whole": [1.0, 0.5, 1.0, 1.5, 0.0]}
        assert one(GATE["p99"], cell(tail, few)) is None
        assert one(GATE["p99"], cell(tail, *[few] * 5)) is not None
        assert one(GATE["stall"], rate(10.0, 10.0)) is None

    def test_something_where_nothing_was_measured(self) -> None:
        """Without any scale the error has no end, and the gate cannot hold."""
        recorded = cell({RATE: [1.0, 0.5, 1.0, 2.0, 0.0]}, repeat({RATE: [0.0, 0, 0.05, False]}))
        assert one(GATE["rate"], recorded).error == float("inf")
        assert outcomes([one(GATE["rate"], recorded)])[0].held is False


class TestOutcome:
    """One gate over all cells."""

    def test_errors_of_both_signs_add_up_and_biases_cancel(self) -> None:
        """4 % too high and 4 % too low: 4 % error, no bias, held."""
        found = [one(GATE["rate"], rate(10.4, 10.0)), one(GATE["rate"], rate(9.6, 10.0))]
        outcome = outcomes(found)[0]
        assert (outcome.mape, outcome.bias) == (pytest.approx(0.04), pytest.approx(0.0))
        assert outcome.held

    def test_a_bias_above_half_the_gate_is_a_miss(self) -> None:
        """4 % too high everywhere is within 5 %, but not by chance."""
        outcome = outcomes([one(GATE["rate"], rate(10.4, 10.0)) for _ in range(3)])[0]
        assert outcome.held is False

    def test_without_cells_nothing_is_said(self) -> None:
        """Neither held nor missed; and such a campaign shows nothing."""
        assert outcomes([])[0].held is None
        assert coverage([]) is None
        assert not all_held([])

    def test_coverage_is_over_runs(self) -> None:
        """Two of four runs inside."""
        found = [one(GATE["rate"], rate(10.0, 10.0, 20.0)), one(GATE["rate"], rate(10.0, 9.5, 0.0))]
        assert coverage(found) == 0.5


class TestDisturbances:
    """Runs on a disturbed machine."""

    def test_they_stand_but_do_not_count_as_sound(self) -> None:
        """A repeat that was taken again counts nowhere; one that stayed disturbed only among all."""
        busy = ("machine 99% busy (limit 85%)",)
        recorded = cell(
            {RATE: [10.0, 9.0, 10.0, 11.0, 0.0]},
            repeat({RATE: [10.0, 1000, 0.05, False]}),
            repeat({RATE: [1.0, 1000, 0.05, False]}, disturbances=busy, retaken=True),
            repeat({RATE: [5.0, 1000, 0.05, False]}, disturbances=busy),
        )
        assert residuals([recorded])[0].measured == 10.0
        assert residuals([recorded], "counted")[0].measured == 7.5
        assert "1 of 2" in table.page([recorded])


class TestTable:
    """What is printed and published."""

    def test_a_miss_is_shown_as_a_miss(self) -> None:
        """With error, bias, coverage and gate, and with the worst metric of the cell."""
        text = table.page([rate(20.0, 10.0)])
        assert "| throughput | 1 | 100.0 % | +100.0 % | 0.0 % | <= 5% | **missed** |" in text
        assert "throughput 20 for 10" in text
        assert text.startswith(table.BEGIN)
        assert text.endswith(table.END + "\n")

    def test_a_gate_that_held(self) -> None:
        """Says so; the others have no cells and say nothing."""
        text = table.page([rate(10.1, 10.0)])
        assert "| throughput | 1 | 1.0 % | +1.0 % | 100.0 % | <= 5% | held |" in text
        assert "| p99 latency | 0 | – | – | – | <= 20% | – |" in text

    def test_conflicts_are_told_in_points_too(self) -> None:
        """How many were predicted too high, how many are a point apart, and which the most."""
        seen = repeat({CONFLICTS: [0.02, 1000, 0.001, False]})
        text = table.page([cell({CONFLICTS: [0.05, 0.04, 0.05, 0.06, 0.0]}, seen)])
        assert "1 of 1 cells were predicted too high, 1 are more than a\npoint apart, most `one`" in text
        assert "(+3.0)" in text

    def test_the_terminal_shows_the_same(self) -> None:
        """One aligned line per gate and per cell."""
        lines: list[str] = []
        table.report([rate(10.1, 10.0)], lines.append)
        assert any(line.startswith("throughput") and "held" in line for line in lines)
        assert any(line.startswith("one ") for line in lines)

    def test_data_files_have_a_line_per_metric(self) -> None:
        """So that a change of one number is a change of one line."""
        text = spelled({"prediction": {"metrics": {"a": [1.0, 2.0], "b": [3.0]}}, "repeats": []})
        assert '\n   "a": [1.0, 2.0],\n   "b": [3.0]\n' in text

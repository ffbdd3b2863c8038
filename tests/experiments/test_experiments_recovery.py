"""Outages and gaps, against cases worked by hand and a slow oracle that follows the definition literally."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.recovery import longest_gap, longest_outage, outages

probes_st = st.lists(st.tuples(st.floats(0.01, 2.0), st.booleans()), min_size=1, max_size=60)


def literal(
    start: list[float], ok: list[bool], end: float, sustained: float
) -> list[tuple[float, float | None]]:
    """The definition, one probe after the other."""
    found: list[tuple[float, float | None]] = []
    down: float | None = None
    for i, (at, good) in enumerate(zip(start, ok, strict=True)):
        if down is None and not good:
            down = at
        elif down is not None and good:
            later_failure = next((start[j] for j in range(i, len(ok)) if not ok[j]), end)
            if later_failure - at >= sustained:
                found.append((down, at))
                down = None
    return found if down is None else [*found, (down, None)]


class TestOutages:
    """First failed probe to the first probe of a sustained success."""

    def test_no_failure_no_outage(self) -> None:
        """Nothing but successes has no outage, and no length."""
        start = np.arange(0, 10, 0.5)
        assert outages(start, np.ones(20, dtype=bool), 10.0) == []
        assert longest_outage(start, np.ones(20, dtype=bool), 10.0) == (0.0, False)

    def test_short_luck_does_not_end_an_outage(self) -> None:
        """Two seconds of success between failures belong to the outage; three end it."""
        start = np.arange(0, 12, 1.0)
        ok = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1], dtype=bool)
        assert outages(start, ok, 12.0) == [(1.0, 6.0)]

    def test_an_outage_that_never_ends_is_cut_off_at_the_end(self) -> None:
        """Success that is not seen for three seconds does not count as recovery."""
        start = np.arange(0, 10, 1.0)
        ok = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
        assert outages(start, ok, 10.0) == [(2.0, None)]
        assert longest_outage(start, ok, 10.0) == (8.0, True)

    def test_a_stray_failure_does_not_hide_the_real_outage(self) -> None:
        """The longest outage counts, not the first."""
        start = np.arange(0, 30, 0.5)
        ok = ~(((start >= 10) & (start < 18)) | (start == 2.0))
        assert longest_outage(start, ok, 30.0) == (8.0, False)

    @given(probes_st, st.floats(0.1, 5.0))
    def test_as_the_definition_says(self, steps: list[tuple[float, bool]], sustained: float) -> None:
        """The array version gives what following the definition probe by probe gives."""
        start = list(np.cumsum([step for step, _ in steps]))
        ok = [good for _, good in steps]
        end = start[-1] + 1.0
        found = outages(np.array(start), np.array(ok), end, sustained)
        assert found == literal(start, ok, end, sustained)


class TestGap:
    """The longest time without an acknowledged write around a window."""

    def test_a_gap_that_starts_before_the_window_counts_whole(self) -> None:
        """The last write before the fault opens the gap."""
        times = np.array([1.0, 2.0, 9.9, 17.0, 18.0, 30.0])
        assert longest_gap(times, 10.0, 20.0, 40.0) == (12.0, False)
        assert longest_gap(times, 10.0, 17.5, 40.0) == (pytest.approx(7.1), False)

    def test_a_gap_still_open_at_the_end_is_cut_off(self) -> None:
        """No write came back: the gap is at least up to the end."""
        assert longest_gap(np.array([1.0, 9.0]), 10.0, 20.0, 40.0) == (31.0, True)

    def test_gaps_outside_the_window_do_not_count(self) -> None:
        """A slow start before the fault is not the fault's doing."""
        times = np.array([0.0, 8.0, *np.arange(9.0, 40.0, 0.5)])
        assert longest_gap(times, 10.0, 20.0, 40.0) == (0.5, False)

    def test_nothing_written_before_the_window(self) -> None:
        """The gap then counts from the start of the window."""
        assert longest_gap(np.array([14.0, 15.0]), 10.0, 14.5, 16.0) == (4.0, False)
        assert longest_gap(np.array([]), 10.0, 14.5, 16.0) == (6.0, True)

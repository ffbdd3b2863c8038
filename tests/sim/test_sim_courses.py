"""Courses of a run: quantiles of every second at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.replication import by_second


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 100)), max_size=60))
def test_quantiles_are_those_of_each_second_alone(pairs: list[tuple[int, float]]) -> None:
    """What numpy gives second by second, for any number of values in each."""
    second = np.array([pair[0] for pair in pairs], dtype=np.int64)
    values = np.array([pair[1] for pair in pairs], dtype=np.float64)
    seconds, found = by_second(second, values, (0.5, 0.95))
    assert seconds.tolist() == sorted(set(second.tolist()))
    for column, one in enumerate(seconds):
        expected = np.percentile(values[second == one], [50, 95])
        assert found[:, column] == pytest.approx(expected)

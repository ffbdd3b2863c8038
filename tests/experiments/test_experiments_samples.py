"""Requests in columns: the same rows as frames, Arrow tables and Parquet files show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from experiments.observation import Audit, Observation
from experiments.samples import REQUEST_COLUMNS, Samples

names = st.sampled_from(["ral", "cam", "", "edi"])
rows_st = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.25]),
        st.sampled_from([0.01, 0.02]),
        st.sampled_from(["load", "probe"]),
        names,
        names,
        names,
        st.sampled_from([0, 200, 500]),
        st.sampled_from(["ok", "timeout", "conflict"]),
        names,
    ),
    max_size=30,
)


def frame_of(rows: list[Any]) -> pd.DataFrame:
    """The same rows as a data frame, made by pandas alone."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REQUEST_COLUMNS)
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype=kind)
            for (name, kind), values in zip(REQUEST_COLUMNS.items(), columns, strict=True)
        }
    )


@given(rows_st)
def test_a_frame_of_samples_is_the_frame_of_the_rows(rows: list[Any]) -> None:
    """Values, order and types, and back again."""
    samples = Samples.of_rows(rows)
    pd.testing.assert_frame_equal(samples.frame(), frame_of(rows))
    pd.testing.assert_frame_equal(Samples.of_frame(samples.frame()).frame(), frame_of(rows))


@given(rows_st)
def test_order_is_that_of_sorting_by_every_column(rows: list[Any]) -> None:
    """Also among rows that start and end together, whatever codes their names have."""
    expected = frame_of(rows).sort_values(list(REQUEST_COLUMNS), kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(Samples.of_rows(rows).ordered().frame(), expected)


@given(rows_st)
def test_where_finds_the_rows_of_a_name(rows: list[Any]) -> None:
    """Nothing is found of a name that nobody has."""
    samples = Samples.of_rows(rows)
    assert samples.where("site", "cam").tolist() == [row[3] == "cam" for row in rows]
    assert not samples.where("site", "nowhere").any()
    assert len(samples.take(samples.where("outcome", "ok"))) == sum(row[7] == "ok" for row in rows)


class TestFiles:
    """Arrow and Parquet."""

    rows = [(0.5, 0.04, "load", "ral", "workflow", "password", 200, "ok", "cam")] * 1000

    def test_any_reader_of_parquet_sees_numbers_and_texts(self, tmp_path: Path) -> None:
        """Pandas gives back the frame, Arrow finds plain strings."""
        samples, path = Samples.of_rows(self.rows), tmp_path / "samples.parquet"
        samples.write(path)
        found = pd.read_parquet(path)
        assert found.to_dict("list") == samples.frame().to_dict("list")
        assert {str(kind) for kind in parquet.read_schema(path).types} == {"double", "string", "int16"}

    def test_an_arrow_table_names_its_columns_as_the_frame_does(self) -> None:
        """Names are dictionaries: a million rows hold each name once."""
        table = Samples.of_rows(self.rows).arrow()
        assert table.column_names == list(REQUEST_COLUMNS)
        assert table["site"].chunk(0).dictionary.to_pylist() == ["ral"]
        assert table.nbytes < 40 * len(self.rows)


class TestObservation:
    """An observation takes either and gives both."""

    @pytest.mark.parametrize("given_as", ["frame", "samples"])
    def test_frame_and_columns_hold_the_same(self, given_as: str) -> None:
        """Whichever was given, the other is made of it when it is asked for."""
        samples = Samples.of_rows([(0.5, 0.04, "load", "ral", "refresh", "refresh", 200, "ok", "cam")])
        if given_as == "frame":
            observation = Observation(samples.frame(), (), Audit(), 1.0, 0.0)
        else:
            observation = Observation.of(samples, (), Audit(), 1.0, 0.0)
        pd.testing.assert_frame_equal(observation.requests, samples.frame())
        assert observation.table.frame().equals(samples.frame())

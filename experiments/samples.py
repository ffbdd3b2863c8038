"""The requests of one run in columns: numbers, and small codes for names. One row takes 30 bytes.

Metrics are computed from this; people get a data frame or an Arrow table made of it.

Example:
    >>> row = (0.5, 0.04, "load", "ral", "workflow", "password", 200, "ok", "cam")
    >>> samples = Samples.of_rows([row])
    >>> samples.names["site"][samples.codes["site"][0]], len(samples)
    ('ral', 1)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

REQUEST_COLUMNS = {
    "start": "float64",  # seconds since the load started
    "latency": "float64",  # seconds until the response or the failure
    "source": "str",  # `load` or `probe`
    "site": "str",  # site next to which the client is
    "flow": "str",  # the user's flow, or the probe's
    "request": "str",  # the step, see experiments.workload.Request
    "status": "int64",  # HTTP status, 0 when there was none
    "outcome": "str",  # one of OUTCOMES
    "front_end": "str",  # site of the front end that was asked, empty when none was reached
}
NAMED = tuple(name for name, kind in REQUEST_COLUMNS.items() if kind == "str")
"""Columns that hold names."""

Codes = NDArray[np.int16]


@dataclass(frozen=True)
class Samples:
    """Requests, in columns of equal length.

    Attributes:
        start: seconds since the load started.
        latency: seconds until the response or the failure.
        status: HTTP status, 0 when there was none.
        codes: by column of `NAMED`, the place of the row's name in ``names``.
        names: by column of `NAMED`.
    """

    start: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.int16]
    codes: Mapping[str, Codes]
    names: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def of_columns(cls, columns: Mapping[str, Iterable[Any]]) -> Samples:
        """From columns of plain values, named as in `REQUEST_COLUMNS`."""
        codes: dict[str, Codes] = {}
        names: dict[str, tuple[str, ...]] = {}
        for name in NAMED:
            seen: dict[str, int] = {}
            found = [seen.setdefault(str(value), len(seen)) for value in columns[name]]
            codes[name], names[name] = np.array(found, dtype=np.int16), tuple(seen)
        start = np.array(list(columns["start"]), dtype=np.float64)
        latency = np.array(list(columns["latency"]), dtype=np.float64)
        return cls(start, latency, np.array(list(columns["status"]), dtype=np.int16), codes, names)

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[Any, ...]]) -> Samples:
        """From rows in the order of `REQUEST_COLUMNS`."""
        columns = zip(*rows, strict=True) if rows else ((),) * len(REQUEST_COLUMNS)
        return cls.of_columns(dict(zip(REQUEST_COLUMNS, columns, strict=True)))

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Samples:
        """From a data frame with (at least) the columns of `REQUEST_COLUMNS`."""
        import pandas as pd

        codes: dict[str, Codes] = {}
        names: dict[str, tuple[str, ...]] = {}
        for name in NAMED:
            found, seen = pd.factorize(frame[name])
            codes[name], names[name] = found.astype(np.int16), tuple(str(value) for value in seen)
        start = frame["start"].to_numpy(dtype=np.float64)
        latency = frame["latency"].to_numpy(dtype=np.float64)
        return cls(start, latency, frame["status"].to_numpy(dtype=np.int16), codes, names)

    def where(self, column: str, name: str) -> NDArray[np.bool_]:
        """The rows with that name in a column of `NAMED`."""
        names = self.names[column]
        found: NDArray[np.bool_] = self.codes[column] == (names.index(name) if name in names else -1)
        return found

    def take(self, rows: NDArray[Any]) -> Samples:
        """Some rows: their places, in the wanted order, or a mask."""
        codes = {name: found[rows] for name, found in self.codes.items()}
        return Samples(self.start[rows], self.latency[rows], self.status[rows], codes, self.names)

    def ordered(self) -> Samples:
        """By start, then by latency, then by all other columns: equal sets of rows come out equal."""
        order = np.lexsort((self.latency, self.start))
        start, latency = self.start[order], self.latency[order]
        if np.any((start[1:] == start[:-1]) & (latency[1:] == latency[:-1])):
            keys: dict[str, NDArray[Any]] = {"start": self.start, "latency": self.latency}
            keys["status"] = self.status
            for name in NAMED:
                rank = np.argsort(np.argsort(np.array(self.names[name], dtype=object)))
                keys[name] = rank[self.codes[name]] if len(self) else self.codes[name]
            order = np.lexsort([keys[name] for name in reversed(REQUEST_COLUMNS)])
        return self.take(order)

    def frame(self) -> pd.DataFrame:
        """As a data frame with the columns and types of `REQUEST_COLUMNS`."""
        import pandas as pd

        columns: dict[str, Any] = {"start": self.start, "latency": self.latency, "status": self.status}
        for name in NAMED:
            columns[name] = np.array(self.names[name] or ("",), dtype=object)[self.codes[name]]
        return pd.DataFrame(
            {name: pd.Series(columns[name], dtype=kind) for name, kind in REQUEST_COLUMNS.items()}
        )

    def arrow(self) -> pa.Table:
        """As an Arrow table, names as dictionaries: what `samples.parquet` of a run holds."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "start": pa.array(self.start),
            "latency": pa.array(self.latency),
            "status": pa.array(self.status),
        }
        for name in NAMED:
            names = pa.array(self.names[name], pa.string())
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(self.codes[name]), names)
        return pa.table({name: columns[name] for name in REQUEST_COLUMNS})

    def write(self, path: Any) -> None:
        """Write a Parquet file, which any reader sees as numbers and texts."""
        from pyarrow import parquet

        parquet.write_table(self.arrow(), path, compression="zstd", store_schema=False)

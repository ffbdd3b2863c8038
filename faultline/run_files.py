"""A run directory, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.observation import Event
from faultline.home import RunDirectory
from faultline.results import RunResult
from topologies.errors import InputError


@dataclass(frozen=True)
class RunFiles:
    """A run directory, read. What a run did not reach is None or empty."""

    record: dict[str, Any]
    prediction: dict[str, Any]
    measurement: dict[str, Any] | None
    result: RunResult | None
    events: tuple[Event, ...]
    requests: pd.DataFrame | None

    @classmethod
    def read(cls, run: RunDirectory) -> RunFiles:
        """Read ``run``.

        Raises:
            InputError: it holds no prediction yet, or a file cannot be read.
        """
        measurement = run.read_json("measurement") if run.has("measurement.json") else None
        return cls(
            record=run.read_json("record") if run.has("record.json") else {"run_id": run.id},
            prediction=run.read_json("prediction"),
            measurement=measurement,
            result=RunResult.from_json(run.read_json("verdict")) if run.has("verdict.json") else None,
            events=read_events(run.path / "events.jsonl"),
            requests=_read_samples(run.path / "samples.parquet"),
        )


def read_events(path: Path) -> tuple[Event, ...]:
    """Events from a JSON-lines file; none when there is no file.

    Raises:
        InputError: a line is not an event.
    """
    if not path.is_file():
        return ()
    events = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            events.append(Event(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(f"not an event: {error}", file=str(path), line=number) from None
    return tuple(events)


def _read_samples(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as Parquet: {error}", file=str(path)) from None

"""What a run leaves behind: requests, events and the fate of every write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import simpy

from experiments.observation import REQUEST_COLUMNS, Audit, Event, Observation

Row = tuple[float, float, str, str, str, str, int, str, str]


class Recorder:
    """Collects rows and events in the vocabulary of experiments.observation."""

    def __init__(self, env: simpy.Environment, sites: Sequence[str]) -> None:
        self._env = env
        self._sites = sites
        self.rows: list[Row] = []
        self.events: list[Event] = []

    def event(self, component: str, kind: str, detail: str = "") -> None:
        """Log a component's event now."""
        self.events.append(Event(self._env.now, component, kind, detail))

    def observation(
        self,
        duration: float,
        warmup: float,
        windows: tuple[tuple[float, float], ...],
        audit: Audit,
        extra: dict[str, Any],
    ) -> Observation:
        """Everything in the common shape, requests ordered by start."""
        rows = sorted(self.rows)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(REQUEST_COLUMNS)
        frame = pd.DataFrame(
            {
                name: pd.Series(list(values), dtype=kind)
                for (name, kind), values in zip(REQUEST_COLUMNS.items(), columns, strict=True)
            }
        )
        return Observation(frame, tuple(self.events), audit, duration, warmup, windows, extra)

"""What a run leaves behind: requests, events and the fate of every write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import simpy

from experiments.observation import Audit, Event, Observation
from experiments.samples import Samples

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
        samples = Samples.of_rows(sorted(self.rows))
        return Observation.of(samples, tuple(self.events), audit, duration, warmup, windows, extra)

"""What a simulated deployment has whichever engine runs it: parameters, draws, a clock to call by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from sim.program import Program
from sim.random import Streams, lognormal


class Setting(ABC):
    """The part of a world that no engine does in its own way.

    Attributes:
        program: what is simulated.
        streams: of all random numbers.
    """

    def __init__(self, program: Program, seed: int) -> None:
        self.program = program
        self.streams = Streams(seed)

    @abstractmethod
    def at(self, delay: float, call: Callable[[], None]) -> None:
        """Call ``call`` after ``delay`` seconds."""

    def every(self, period: float, first: float, call: Callable[[], None]) -> None:
        """Call ``call`` after ``first`` seconds and then every ``period`` seconds."""

        def tick() -> None:
            self.at(period, tick)
            call()

        self.at(first, tick)

    def service(self, kind: str) -> dict[str, dict[str, Any]]:
        """Parameters of the services of ``kind``, by name."""
        return {name: data for name, data in self.program.services.items() if data["kind"] == kind}

    def cost(self, name: str, stream: str, entity: str) -> float:
        """One draw of a calibrated cost, in seconds."""
        mean, cv = self.program.costs[name]
        if not cv:
            return mean
        source = self.streams.get(stream, entity)
        return mean * lognormal(source.normal(source.next()), cv)

    def cpu_settings(self) -> Iterator[tuple[int, tuple[float, float, float]]]:
        """Set of shared cores (-1: none) of every CPU station; own cores, quota in cores, its period in s."""
        arrays = self.program.arrays
        columns = (arrays[name].tolist() for name in ("cpu_cores", "cpu_quota", "cpu_period"))
        return zip(arrays["cpu_set"].tolist(), zip(*columns, strict=True), strict=True)

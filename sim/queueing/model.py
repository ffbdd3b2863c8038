"""What can be simulated: stations in a row, visited by arrivals or by a fixed number of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sim.statistics import BatchMeans

Discipline = Literal["fcfs", "ps", "delay"]
DISCIPLINES: tuple[Discipline, ...] = ("fcfs", "ps", "delay")


@dataclass(frozen=True)
class Station:
    """Where customers are served.

    Attributes:
        name: for people.
        service: mean service time in seconds.
        servers: of an `fcfs` station; cores that a `ps` station shares evenly, one per customer at most.
        discipline: `fcfs` in order of arrival, `ps` processor sharing, `delay` without waiting.
        cv: coefficient of variation of the service time: 0 is constant, 1 exponential; between them a
            constant and an exponential part, above two exponential phases with balanced means.
    """

    name: str
    service: float
    servers: int = 1
    discipline: Discipline = "fcfs"
    cv: float = 1.0

    def __post_init__(self) -> None:
        if self.service <= 0 or self.servers < 1 or not 0 <= self.cv < 100:
            raise ValueError(f"station {self.name!r}: service > 0, servers >= 1 and 0 <= cv < 100 are needed")
        if self.discipline not in DISCIPLINES:
            raise ValueError(
                f"station {self.name!r}: {self.discipline!r} is none of {', '.join(DISCIPLINES)}"
            )


@dataclass(frozen=True)
class Closed:
    """A fixed number of users who think, then visit every station in order, and so on.

    Attributes:
        think: mean pause before each round in seconds, exponential; 0 for none.
    """

    stations: tuple[Station, ...]
    users: int
    think: float = 0.0

    def __post_init__(self) -> None:
        if self.users < 1 or self.think < 0 or not self.stations:
            raise ValueError("a closed network needs users, a station and a think time that is not negative")


@dataclass(frozen=True)
class Open:
    """Poisson arrivals that visit every station in order and leave.

    Attributes:
        rate: arrivals per second.
    """

    stations: tuple[Station, ...]
    rate: float

    def __post_init__(self) -> None:
        if self.rate <= 0 or not self.stations:
            raise ValueError("an open network needs a positive rate and a station")
        for station in self.stations:
            load = self.rate * station.service
            if station.discipline != "delay" and load >= station.servers:
                raise ValueError(
                    f"station {station.name!r} is offered {load:g} of {station.servers}: "
                    "its queue grows for ever"
                )


Network = Closed | Open


@dataclass(frozen=True)
class StationResult:
    """What a station did after the warm-up.

    Attributes:
        customers: mean number present, in service or waiting.
        busy: mean number of servers, or cores, at work.
    """

    name: str
    customers: float
    busy: float


@dataclass(frozen=True)
class Result:
    """What a simulation came to, its warm-up left out.

    Attributes:
        customers: rounds (closed) or departures (open) counted.
        events: carried out in all, warm-up included.
        elapsed: simulated seconds counted.
        throughput: customers per second.
        response: time from arrival (or the end of thinking) to the last station's end, by batches in
            order of completion.
        stations: in order.
        samples: every response in order of completion, if asked for.
    """

    customers: int
    events: int
    elapsed: float
    throughput: float
    response: BatchMeans
    stations: tuple[StationResult, ...]
    samples: NDArray[np.float64] | None = None

"""The same networks on SimPy: a process per customer, one event after the other, to be read.

Draws the numbers that the kernels draw, so that every response is the same, not only the mean.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from sim.engine.stations import Cpu
from sim.queueing.model import Closed, Network, Open, Result, Station, StationResult
from sim.queueing.run import STREAM
from sim.random import key_of
from sim.statistics.series import of_batches

Steps = Generator[simpy.Event, Any, Any]


class Draws:
    """Uniform numbers of one entity, by index: words of Philox with the entity in its second counter."""

    def __init__(self, key: Any, entity: int) -> None:
        self._key = key
        self._entity = entity
        self._block = -1
        self._units: list[float] = []

    def uniform(self, index: int) -> float:
        """Draw ``index``."""
        block, place = divmod(index, 256)
        if block != self._block:
            counter = [block * 64, self._entity, 0, 0]
            words = np.random.Philox(key=self._key, counter=counter).random_raw(256)
            self._units = ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54).tolist()
            self._block = block
        return self._units[place]


def service_time(u: float, mean: float, cv: float) -> float:
    """As the kernels': see `sim.queueing.model.Station.cv`."""
    if cv == 0:
        return mean
    if cv <= 1:
        return mean * (1 - cv) - mean * cv * math.log(u)
    p = 0.5 * (1 + math.sqrt((cv * cv - 1) / (cv * cv + 1)))
    if u < p:
        return -mean / (2 * p) * math.log(u / p)
    return -mean / (2 * (1 - p)) * math.log((u - p) / (1 - p))


class _Place:
    """A station in the simulation, with the areas below its numbers."""

    def __init__(self, env: simpy.Environment, station: Station) -> None:
        self.env = env
        self.station = station
        self.cpu = Cpu(env, station.servers) if station.discipline == "ps" else None
        self.servers = simpy.Resource(env, station.servers) if station.discipline == "fcfs" else None
        self.present = 0
        self.area = self.busy = self.since = 0.0

    def account(self) -> None:
        passed = self.env.now - self.since
        self.area += self.present * passed
        limit = math.inf if self.station.discipline == "delay" else self.station.servers
        self.busy += min(self.present, limit) * passed
        self.since = self.env.now

    def visit(self, u: float) -> Steps:
        need = service_time(u, self.station.service, self.station.cv)
        self.account()
        self.present += 1
        if self.cpu is not None:
            yield self.cpu.work(need)
        elif self.servers is not None:
            with self.servers.request() as turn:
                yield turn
                yield self.env.timeout(need)
        else:
            yield self.env.timeout(need)
        self.account()
        self.present -= 1


class _Run:
    def __init__(self, network: Network, warm: int, size: int, batches: int, seed: int, keep: bool) -> None:
        self.env = simpy.Environment()
        self.network = network
        self.key = key_of(seed, STREAM, "")
        self.warm, self.size = warm, size
        self.sums = np.zeros(batches)
        self.goal = warm + size * batches
        self.samples: list[float] | None = [] if keep else None
        self.done = 0
        self.start = 0.0
        self.finished = self.env.event()
        self.places = [_Place(self.env, station) for station in network.stations]

    def record(self, response: float) -> None:
        if self.done >= self.goal:
            return
        if self.done >= self.warm:
            self.sums[(self.done - self.warm) // self.size] += response
            if self.samples is not None:
                self.samples.append(response)
        self.done += 1
        if self.done == self.warm:
            self.start = self.env.now
            for place in self.places:
                place.account()
                place.area = place.busy = 0.0
        if self.done == self.goal:
            self.finished.succeed()

    def user(self, number: int, think: float) -> Steps:
        draws, index = Draws(self.key, number), 0
        # The first pause takes the first number even where it is no pause.
        while True:
            if think or not index:
                u = draws.uniform(index)
                index += 1
                yield self.env.timeout(-think * math.log(u) if think else 0.0)
            start = self.env.now
            for place in self.places:
                u = draws.uniform(index)
                index += 1
                yield from place.visit(u)
            self.record(self.env.now - start)

    def customer(self, number: int, draws: list[Draws]) -> Steps:
        start = self.env.now
        for place, mine in zip(self.places, draws, strict=True):
            yield from place.visit(mine.uniform(number))
        self.record(self.env.now - start)

    def arrivals(self, rate: float) -> Steps:
        gaps = Draws(self.key, 0)
        draws = [Draws(self.key, row + 1) for row in range(len(self.places))]
        number = 0
        while True:
            yield self.env.timeout(-math.log(gaps.uniform(number)) / rate)
            self.env.process(self.customer(number, draws))
            number += 1


def simulate(
    network: Network,
    customers: int,
    *,
    seed: int = 0,
    warmup: int | None = None,
    batches: int = 30,
    samples: bool = False,
) -> Result:
    """As `sim.queueing.simulate`, on SimPy; `Result.events` counts customers only."""
    size = customers // batches
    if size < 1 or batches < 2:
        raise ValueError(f"{customers} customers do not make {batches} batches")
    warm = customers // 10 if warmup is None else warmup
    run = _Run(network, warm, size, batches, seed, samples)
    if isinstance(network, Closed):
        for number in range(network.users):
            run.env.process(run.user(number, network.think))
    else:
        run.env.process(run.arrivals(network.rate))
    run.env.run(until=run.finished)
    for place in run.places:
        place.account()
    elapsed = float(run.env.now) - run.start
    return Result(
        customers=size * batches,
        events=run.done,
        elapsed=elapsed,
        throughput=size * batches / elapsed,
        response=of_batches(run.sums / size, size),
        stations=tuple(
            StationResult(place.station.name, place.area / elapsed, place.busy / elapsed)
            for place in run.places
        ),
        samples=np.array(run.samples) if run.samples is not None else None,
    )


__all__ = ["Draws", "Open", "service_time", "simulate"]

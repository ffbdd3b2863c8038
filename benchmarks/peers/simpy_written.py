"""SimPy, written by hand for the work: a process per customer or user, a Resource per station."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

import simpy

NAME = "SimPy, hand-written"


def missing() -> str | None:
    """It is one of our own dependencies."""
    return None


def line(rate: float, service: float, servers: int, customers: int, seed: int) -> float:
    """Poisson arrivals at one station."""
    draw = random.Random(seed).expovariate
    env = simpy.Environment()
    station = simpy.Resource(env, servers)
    total = 0.0

    def customer() -> Generator[simpy.Event, Any, None]:
        nonlocal total
        start = env.now
        with station.request() as turn:
            yield turn
            yield env.timeout(draw(1 / service))
        total += env.now - start

    def arrivals() -> Generator[simpy.Event, Any, None]:
        for _ in range(customers):
            yield env.timeout(draw(rate))
            env.process(customer())

    env.process(arrivals())
    env.run()
    return total / customers


def closed(services: list[float], think: float, users: int, customers: int, seed: int) -> float:
    """Users who think and visit every station."""
    draw = random.Random(seed).expovariate
    env = simpy.Environment()
    stations = [simpy.Resource(env, 1) for _ in services]
    enough = env.event()
    total, done = 0.0, 0

    def user() -> Generator[simpy.Event, Any, None]:
        nonlocal total, done
        while True:
            yield env.timeout(draw(1 / think))
            start = env.now
            for station, service in zip(stations, services, strict=True):
                with station.request() as turn:
                    yield turn
                    yield env.timeout(draw(1 / service))
            total += env.now - start
            done += 1
            if done == customers:
                enough.succeed()

    for _ in range(users):
        env.process(user())
    env.run(until=enough)
    return total / done

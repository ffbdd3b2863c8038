"""salabim: components that request resources, with its default monitors."""

from __future__ import annotations

import random
from importlib.util import find_spec

NAME = "salabim"


def missing() -> str | None:
    """Whether it is installed."""
    return None if find_spec("salabim") else "not installed (pip install -r requirements/bench.txt)"


def line(rate: float, service: float, servers: int, customers: int, seed: int) -> float:
    """Poisson arrivals at one station."""
    import salabim

    salabim.yieldless(False)
    draw = random.Random(seed).expovariate
    env = salabim.Environment(trace=False)
    station = salabim.Resource("station", capacity=servers)
    times: list[float] = []

    class Customer(salabim.Component):  # type: ignore[misc]
        def process(self):  # type: ignore[no-untyped-def]
            start = env.now()
            yield self.request(station)
            yield self.hold(draw(1 / service))
            self.release()
            times.append(env.now() - start)

    class Arrivals(salabim.Component):  # type: ignore[misc]
        def process(self):  # type: ignore[no-untyped-def]
            for _ in range(customers):
                yield self.hold(draw(rate))
                Customer()

    Arrivals()
    env.run()
    return sum(times) / len(times)


def closed(services: list[float], think: float, users: int, customers: int, seed: int) -> float:
    """Users who think and visit every station."""
    import salabim

    salabim.yieldless(False)
    draw = random.Random(seed).expovariate
    env = salabim.Environment(trace=False)
    stations = [salabim.Resource(f"station{number}") for number in range(len(services))]
    enough = salabim.State("enough")
    times: list[float] = []

    class User(salabim.Component):  # type: ignore[misc]
        def process(self):  # type: ignore[no-untyped-def]
            while True:
                yield self.hold(draw(1 / think))
                start = env.now()
                for station, service in zip(stations, services, strict=True):
                    yield self.request(station)
                    yield self.hold(draw(1 / service))
                    self.release(station)
                times.append(env.now() - start)
                if len(times) == customers:
                    env.main().activate()

    for _ in range(users):
        User()
    del enough
    env.run()
    return sum(times) / len(times)

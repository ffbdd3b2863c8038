"""happysim: a source, a server, a sink, as in its own first example. It has no closed population."""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec

NAME = "happysim"


def missing() -> str | None:
    """Whether it can be imported."""
    if sys.version_info < (3, 13):
        return "needs Python 3.13 or newer"
    return None if find_spec("happysimulator") else "not installed (pip install '.[bench]')"


def line(rate: float, service: float, servers: int, customers: int, seed: int) -> float:
    """Poisson arrivals at one station."""
    from happysimulator import Instant, Server, Simulation, Sink, Source
    from happysimulator.distributions import ExponentialLatency

    random.seed(seed)
    sink = Sink()
    server = Server("server", concurrency=servers, service_time=ExponentialLatency(service), downstream=sink)
    source = Source.poisson(rate=rate, target=server)
    Simulation(
        sources=[source], entities=[server, sink], end_time=Instant.from_seconds(customers / rate)
    ).run()
    return float(sink.average_latency())

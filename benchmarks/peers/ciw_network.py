"""Ciw: an open network; a closed one is made of customers who arrive at once and never leave."""

from __future__ import annotations

import math
from importlib.util import find_spec

NAME = "Ciw"


def missing() -> str | None:
    """Whether it is installed."""
    return None if find_spec("ciw") else "not installed (pip install -r requirements/bench.txt)"


def line(rate: float, service: float, servers: int, customers: int, seed: int) -> float:
    """Poisson arrivals at one station."""
    import ciw

    ciw.seed(seed)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)],
        service_distributions=[ciw.dists.Exponential(1 / service)],
        number_of_servers=[servers],
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(customers)
    records = simulation.get_all_records()
    return math.fsum(record.exit_date - record.arrival_date for record in records) / len(records)


def closed(services: list[float], think: float, users: int, customers: int, seed: int) -> float:
    """Users who think (a node with as many servers) and visit every station."""
    import ciw

    ciw.seed(seed)
    nodes = len(services) + 1
    routing = [
        [1.0 if after == (node + 1) % nodes else 0.0 for after in range(nodes)] for node in range(nodes)
    ]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([0.0, math.inf])] + [None] * len(services),
        batching_distributions=[ciw.dists.Deterministic(users)] + [None] * len(services),
        service_distributions=[ciw.dists.Exponential(1 / seconds) for seconds in (think, *services)],
        number_of_servers=[math.inf] + [1] * len(services),
        routing=routing,
    )
    simulation = ciw.Simulation(network)
    # Records are made at the end of each visit: the time that many rounds take is known from theory.
    from sim.analytic import mva

    rate, _ = mva(services, think, users)
    simulation.simulate_until_max_time(customers / rate)
    records = [record for record in simulation.get_all_records() if record.node > 1]
    visits = math.fsum(record.exit_date - record.arrival_date for record in records)
    return visits / len(records) * len(services)

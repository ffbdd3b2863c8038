"""How the time grows: with events, with users, with members."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.timing import timed
from experiments.workload import Workload
from sim.queueing import Closed, Station, simulate

USERS = (1_000, 10_000, 100_000, 1_000_000)
LINEAR_SLACK = 1.3
"""Ten times the events may take this many times ten times as long, and be called linear."""

TIMING_SLACK = 1.1
"""Two timings of the same work differ by this much."""


def _network(users: int) -> Closed:
    """Users who mostly think; a line and a shared CPU at 60 %, whatever their number."""
    return Closed((Station("line", 6.0 / users), Station("cpu", 6.0 / users, 1, "ps")), users, 10.0)


def run(quick: bool) -> dict[str, Any]:
    """One record: seconds per event over events, over users, and messages per commit over members."""
    rounds = 30_000 if quick else 400_000
    events = {
        count: timed(lambda n: simulate(_network(1000), n, warmup=0), count)
        for count in (rounds, 10 * rounds)
    }
    few, many = (found.seconds / found.result.events for found in events.values())
    users = USERS[:3] if quick else USERS
    by_users = {}
    for count in users:
        found = timed(
            lambda n, count=count: simulate(_network(count), n, warmup=0), max(5 * count, rounds), 2
        )
        by_users[count] = found.seconds / found.result.events
    # Work for n users is n times what one costs: n log n lets the cost of an event grow with the log.
    allowed = {count: math.log(count) / math.log(users[0]) for count in users}
    grown = {count: cost / by_users[users[0]] for count, cost in by_users.items()}
    return {
        "nanoseconds per event, by events": {
            str(found.result.events): round(found.seconds / found.result.events * 1e9, 1)
            for found in events.values()
        },
        "nanoseconds per event, by users": {str(n): round(cost * 1e9, 1) for n, cost in by_users.items()},
        "growth of an event's cost": {str(n): round(value, 2) for n, value in grown.items()},
        "n log n allows": {str(n): round(value, 2) for n, value in allowed.items()},
        "messages per lone commit, by members": (sent := messages()),
        "held": {
            "linear in events": many <= LINEAR_SLACK * few,
            "n log n in users": all(grown[count] <= TIMING_SLACK * allowed[count] for count in users),
            # Everybody tells everybody that it has the message, then that it knows that all have.
            "2 n (n - 1) messages for three members and more": all(
                count == 2 * int(n) * (int(n) - 1) for n, count in sent.items() if int(n) > 2
            ),
        },
    }


def messages(members: tuple[int, ...] = (2, 3, 4, 5, 7)) -> dict[str, int]:
    """Packets between members for one commit when nobody else writes."""
    return {str(count): packets(count) for count in members}


def packets(members: int) -> int:
    """Count them: write once, and see what the simulated members send one another until all is quiet."""
    from sim.engine.deployment import Deployment
    from sim.program import compile_program
    from topologies.model import Topology

    names = [f"s{number}" for number in range(members)]
    deployed = Topology.model_validate(
        {
            "topology": "ring",
            "sites": {name: {} for name in names},
            "links": [{"between": [a, b], "rtt": 0.03} for i, a in enumerate(names) for b in names[i + 1 :]],
            "services": {
                # Timers so long that no keepalive falls into the count.
                "db": {
                    "kind": "galera",
                    "members": dict.fromkeys(names, 1),
                    "suspect_timeout": 9000.0,
                    "inactive_timeout": 20000.0,
                    "keepalive_period": 3000.0,
                },
                "iam": {"kind": "indigo-iam", "replicas": {names[0]: 1}, "database": "db"},
                "frontend": {"kind": "haproxy", "sites": [names[0]], "backend": "iam"},
            },
            "clients": {"users": {"site": names[0]}},
        }
    )
    quiet = Workload(users=1, think=1e5, duration=60.0, warmup=1.0, probes=())
    deployment = Deployment(compile_program(deployed, quiet), seed=1)
    galera = deployment.databases["db"]
    env = deployment.world.env
    sent = 0
    send = galera.group._evs_arrival

    def counted(*given: Any) -> Any:
        nonlocal sent
        sent += 1
        return send(*given)

    galera.group._evs_arrival = counted
    env.run(until=20.0)
    before = sent

    def write() -> Any:
        transaction = galera.members[0].begin(env.active_process)
        yield from galera.commit(transaction, 4000)

    env.process(write())
    env.run(until=20.5)
    return sent - before

"""Closed forms that predict published rows: each a plain function of the row's arguments.

None has a constant that was fitted to what it predicts. Units are those of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sim import steps
from sim.analytic import conflicts, ordering
from sim.calibration import Calibration, Estimate
from sim.profile import load
from sim.protocols import flowcontrol, tcp
from topologies.model import IndigoIam

SYSBENCH_STATEMENTS = 18
"""Statements of a sysbench OLTP transaction without its framing: 10 point selects, 4 ranges, 4 changes."""

SYSBENCH_CHANGES = 4
"""Two updates, one delete, one insert: what a write set holds, and the last statements of a transaction."""

SYSBENCH_ROWS = 3
"""Rows drawn for them: the insert puts back what the delete took."""

HOT_ROWS, HOT_SHARE = 0.01, 0.75
"""sysbench's `special` distribution: 75 % of the accesses go to 1 % of the rows (`dist-pct`, `dist-res`)."""


def sysbench_throughput(nodes: float, single: float) -> float:
    """Transactions per second of a saturated cluster: a node executes its own and applies the others'.

    Applying costs as many statements' worth as the write set has changes; execution and application share
    the node's bottleneck (Elnikety et al., EuroSys 2009, with the profile of one node).
    """
    apply = SYSBENCH_CHANGES / SYSBENCH_STATEMENTS
    return nodes * single / (1 + (nodes - 1) * apply)


def same_row(rows: float) -> float:
    """Probability that two accesses of the `special` distribution meet in one row."""
    hot, cold = HOT_ROWS * rows, (1 - HOT_ROWS) * rows
    return HOT_SHARE**2 / hot + (1 - HOT_SHARE) ** 2 / cold


def sysbench_deadlocks(nodes: float, users: float, rows: float, single: float) -> float:
    """Aborts per second by write sets of other nodes that arrive while a transaction holds row locks.

    The window is the part of the response in which changes are made, and the commit (the last five of
    twenty statements): certification and brute-force aborts alike. Response by Little's law.
    """
    rate = sysbench_throughput(nodes, single)
    response = users / rate
    window = response * (SYSBENCH_CHANGES + 1) / (SYSBENCH_STATEMENTS + 2)
    remote = rate * (nodes - 1) / nodes
    return rate * (1 - math.exp(-remote * window * SYSBENCH_ROWS**2 * same_row(rows)))


def gray_growth(nodes: float) -> float:
    """How much deadlocks grow when nodes grow ``nodes``-fold and each brings its own load (Gray 1996)."""
    base = conflicts.eager_deadlocks(100, 0.01, 4, 1e6, 1)
    return conflicts.eager_deadlocks(100, 0.01, 4, 1e6, int(nodes)) / base


def _equidistant(sites: float, rtt: float) -> list[list[float]]:
    count = int(sites)
    return [[0.0 if i == j else rtt / 2 for j in range(count)] for i in range(count)]


def galera_commit(sites: float, rtt: float) -> float:
    """Ordering time at the origin, in the unit of ``rtt``."""
    return ordering.commit_latency(_equidistant(sites, rtt), 0)


def galera_visible(sites: float, rtt: float) -> float:
    """Ordering time at the last member."""
    delay = _equidistant(sites, rtt)
    return ordering.commit_latency(delay, 0) + ordering.visibility(delay, 0)


def flow_control_limit(members: float) -> float:
    """Receive queue at which flow control stops the group."""
    return float(flowcontrol.limits(int(members))[1])


def total(one_way: float, apply_and_flush: float) -> float:
    """A way and what is done at its end."""
    return one_way + apply_and_flush


def tcp_rounds(bytes: float) -> float:
    """Round trips of a connection, a request and a reply of ``bytes``."""
    return 1 + tcp.rounds(bytes)


def cache_rate(clients: float, hit: float, t_miss: float, cpu: float, cores: float) -> float:
    """Requests per second of closed-loop clients at a cache: bound by upstream round trips or by CPU."""
    latency = hit * cpu + (1 - hit) * (t_miss + cpu)
    return min(clients / latency, cores / cpu)


def cache_response(clients: float, hit: float, t_miss: float, cpu: float, cores: float) -> float:
    """Response time at that rate."""
    return clients / cache_rate(clients, hit, t_miss, cpu, cores)


def cache_elapsed(
    clients: float, hit: float, t_miss: float, cpu: float, cores: float, requests: float
) -> float:
    """Seconds for ``requests``."""
    return requests / cache_rate(clients, hit, t_miss, cpu, cores)


def little(rate: float, response: float) -> float:
    """Requests under way."""
    return rate * response


def little_response(concurrency: float, rate: float) -> float:
    """Response time."""
    return concurrency / rate


def indigo_write_transaction(request: str) -> float:
    """Milliseconds of a write transaction of INDIGO IAM by itself."""
    profile = load("indigo-iam")
    iam = IndigoIam(kind="indigo-iam", replicas={"a": 1}, database="db")
    base = Calibration.default().model_copy(update={"proxy_cpu": Estimate(mean=0.0)})
    calibration = profile.calibrated(base)
    tables = steps.compile_steps(iam, calibration)
    place = steps.KINDS.index(request)
    seconds = calibration.local_commit.mean
    for row in range(int(tables.first[place]), int(tables.first[place + 1])):
        if tables.kind[row] == steps.WORK:
            seconds += float(tables.app_cpu[row] + tables.db_cpu[row] + tables.wait[row])
    return 1e3 * seconds


FORMULAS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (
        sysbench_throughput,
        sysbench_deadlocks,
        gray_growth,
        galera_commit,
        galera_visible,
        flow_control_limit,
        total,
        tcp_rounds,
        cache_rate,
        cache_response,
        cache_elapsed,
        little,
        little_response,
        indigo_write_transaction,
    )
}
"""By name."""

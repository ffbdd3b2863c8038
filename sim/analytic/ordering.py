"""How long a Galera commit takes to be ordered when nobody else writes (components.md 1.2)."""

from __future__ import annotations

from collections.abc import Sequence

from topologies.graph import link_between, one_way_delay
from topologies.model import Galera, Topology

__all__ = ["commit_latency", "member_delays", "order_time", "ordering_times", "visibility"]


def order_time(delay: list[list[float]], origin: int, member: int) -> float:
    """Seconds until a lone message of ``origin`` is delivered at ``member``, all others idle.

    ``t(A, i) = max_k { max_j [d(A,j) + d(j,k)] + d(k,i) }`` over one-way delays ``delay[a][b]``
    (components.md 1.2). For two members the origin needs one RTT, for three and more 1.5 RTT.
    """
    n = len(delay)
    return max(max(delay[origin][j] + delay[j][k] for j in range(n)) + delay[k][member] for k in range(n))


def ordering_times(delay: Sequence[Sequence[float]]) -> list[list[float]]:
    """``t[origin][member]``: seconds until a lone message of ``origin`` is delivered at ``member``."""
    table = [list(row) for row in delay]
    members = range(len(table))
    return [[order_time(table, origin, member) for member in members] for origin in members]


def commit_latency(delay: Sequence[Sequence[float]], origin: int) -> float:
    """Ordering part of a lone COMMIT's latency at ``origin``: the delivery at itself."""
    return ordering_times(delay)[origin][origin]


def visibility(delay: Sequence[Sequence[float]], origin: int) -> float:
    """Seconds after the acknowledgement at ``origin`` until the last member can start to apply."""
    times = ordering_times(delay)[origin]
    return max(0.0, max(times) - times[origin])


def member_delays(topology: Topology, database: str) -> tuple[list[str], list[list[float]]]:
    """Site of each member of the Galera service ``database``, and one-way delays between them.

    Raises:
        ValueError: it is no Galera service.
    """
    service = topology.services.get(database)
    if not isinstance(service, Galera):
        raise ValueError(f"{database!r} is no Galera service of {topology.topology}")
    sites = [site for site, count in service.members.items() for _ in range(count)]

    def delay(a: str, b: str) -> float:
        if a == b:
            return 0.0
        link = link_between(topology, a, b)
        # Two sites with a link talk over it, whatever a detour would cost.
        return one_way_delay(topology, a, b) if link is None else link.one_way(a)

    return sites, [[delay(a, b) for b in sites] for a in sites]

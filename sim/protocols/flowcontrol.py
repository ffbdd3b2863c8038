"""Galera flow control: a member that cannot keep up with applying stops all writers.

Source: galera gcs/src/gcs.cpp (`_set_fc_limits`, fc_stop, fc_cont), components.md 1.10.

Example:
    >>> limits(3)
    (28, 28)
    >>> flow = new_flow(3)
    >>> queue_changed(flow, member=2, length=29)       # broadcast STOP in total order
    1
    >>> ordered(flow, member=0, sender=2, stop=True)   # delivered at member 0
    >>> is_paused(flow, 0), is_paused(flow, 1)
    (True, False)
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from sim.protocols.tables import Ints

CONTINUE, NOTHING, STOP = -1, 0, 1

STOP_BYTES = 64
"""Size of the flow-control message in bytes (order of magnitude: a header and three integers)."""


class Flow(NamedTuple):
    """State of all members: ``stopped[member * n + sender]``: member has seen sender's STOP."""

    n: int
    lower: int
    upper: int
    sent: Ints
    offset: Ints
    desynced: Ints
    stopped: Ints


def limits(
    members: int, fc_limit: int = 16, fc_factor: float = 1.0, single_primary: bool = False
) -> tuple[int, int]:
    """(lower, upper) length of the receive queue: ``fc_limit * sqrt(N)``; no root for a single primary."""
    upper = int(fc_limit * (1.0 if single_primary else sqrt(members)) + 0.5)
    return int(upper * fc_factor + 0.5), upper


def new_flow(n: int, fc_limit: int = 16, fc_factor: float = 1.0, single_primary: bool = False) -> Flow:
    """No member is stopped. Make a new one at each view change."""
    lower, upper = limits(n, fc_limit, fc_factor, single_primary)
    return Flow(n, lower, upper, [0] * n, [0] * n, [0] * n, [0] * (n * n))


def queue_changed(flow: Flow, member: int, length: int) -> int:
    """``member``'s receive queue has ``length`` write sets now: STOP or CONTINUE to broadcast, or NOTHING.

    A desynced member (donor, backup) never sends STOP; a joined one that catches up compares with its
    ``offset``, the queue it began with.
    """
    if not flow.sent[member]:
        if not flow.desynced[member] and length > flow.upper + flow.offset[member]:
            flow.sent[member] = 1
            return STOP
    elif length <= flow.lower + flow.offset[member] or flow.desynced[member]:
        flow.sent[member] = 0
        return CONTINUE
    return NOTHING


def ordered(flow: Flow, member: int, sender: int, stop: bool) -> None:
    """A STOP or CONTINUE of ``sender`` was delivered at ``member``, about one t_order after it was sent."""
    flow.stopped[member * flow.n + sender] = 1 if stop else 0


def is_paused(flow: Flow, member: int) -> bool:
    """Whether commits at ``member`` must wait before replicating (they hang without error; reads run)."""
    for sender in range(flow.n):  # noqa: SIM110 - a generator cannot be compiled
        if flow.stopped[member * flow.n + sender]:
            return True
    return False

"""Galera flow control: a member that cannot keep up with applying stops all writers.

Source: galera gcs/src/gcs.cpp (`_set_fc_limits`, `gcs_fc_stop_begin`, `gcs_fc_cont_begin`,
`gcs_become_joined`, `gcs_handle_act_conf`), components.md 1.10.

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
    """State of all members: ``stopped[member * n + sender]``: member has seen sender's STOP.

    A desynced member (joiner, donor, backup) never sends STOP; one that has joined and catches up
    compares its queue with what waited when it joined, its ``offset``.
    """

    n: int
    lower: Ints
    upper: Ints
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
    """All ``n`` members are in one view and none is stopped."""
    lower, upper = limits(n, fc_limit, fc_factor, single_primary)
    return Flow(n, [lower] * n, [upper] * n, [0] * n, [0] * n, [0] * n, [0] * (n * n))


def entered(flow: Flow, member: int, lower: int, upper: int) -> None:
    """``member`` enters a view with these `limits`: what anybody stopped ended with the view before."""
    flow.lower[member] = lower
    flow.upper[member] = upper
    flow.sent[member] = 0
    for sender in range(flow.n):
        flow.stopped[member * flow.n + sender] = 0


def joined(flow: Flow, member: int, length: int) -> None:
    """``member`` has its state transfer; ``length`` write sets that were ordered meanwhile wait."""
    flow.desynced[member] = 0
    flow.offset[member] = length if length > flow.lower[member] else 0


def queue_changed(flow: Flow, member: int, length: int) -> int:
    """``member``'s receive queue has ``length`` write sets now: STOP or CONTINUE to broadcast, or NOTHING.

    The offset shrinks with the queue, and is gone where a member says that it is synced (SYNC).
    """
    shorter = length < flow.offset[member]
    if shorter:
        flow.offset[member] = length if length > flow.lower[member] else 0
    if not flow.sent[member]:
        if not flow.desynced[member] and length > flow.upper[member] + flow.offset[member]:
            flow.sent[member] = 1
            return STOP
    elif length <= flow.lower[member] or shorter or flow.desynced[member]:
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

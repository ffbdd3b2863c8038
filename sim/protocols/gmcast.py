"""Galera's connections (gmcast) and what a joining member copies: reconnecting, relaying, state transfer.

Source: gcomm/src/gmcast.cpp (check_liveness, handle_failed, reconnect, gmcast_forget, handle_established),
gmcast_proto.cpp (wait_handshake),
components.md 1.11 and 1.12. Seconds throughout.

Example:
    >>> reconnect_at(cut=0.0, healed=18.0, excluded_at=6.0, age=0.0, draw=0.0)     # SYNs at ..., 16, 17, 20 s
    20.0
"""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

from sim.protocols.membership_state import DEFAULT_TIMERS, Timers
from sim.protocols.tcp import syn_retransmissions

GMCAST_CHECK_PERIOD = 0.5
"""Seconds between looks at gmcast connections (hard-coded)."""

HANDSHAKE_ROUND_TRIPS = 3.0
"""From SYN to use: TCP, then HANDSHAKE, its response and OK (gmcast_proto.cpp)."""


def reconnect_at(
    cut: float,
    healed: float,
    excluded_at: float,
    age: float,
    draw: float,
    *,
    left: bool = False,
    timers: Timers = DEFAULT_TIMERS,
    syn_linear: int = 0,
) -> float:
    """When a member that lost the others gets its first SYN through to one of them, in seconds.

    gmcast gives a connection up after `peer_timeout` of silence, also one that is still being made, and
    connects again 1 s later: so SYNs go out at 0, 1 (and, with linear retransmission, 2) s of every 4 s. The
    members of the primary component forget the peer and do not call it; for time_wait / 2 after excluding it
    (time_wait if it left) they also hang up on it, whereupon it calls again every second.

    Args:
        cut: when packets stopped.
        healed: when they pass again.
        excluded_at: when the others installed a view without it.
        age: seconds between the last message before the cut and the cut.
        draw: uniform in [0, 1): phase of gmcast's check timer.
        left: whether it had left gracefully.
        timers: see :class:`Timers`.
        syn_linear: `net.ipv4.tcp_syn_linear_timeouts` (4 since Linux 6.5).
    """
    if healed - cut + age < timers.peer_timeout:
        return healed
    at = cut - age + timers.peer_timeout + GMCAST_CHECK_PERIOD * draw + timers.reconnect_period
    cycle = sum(
        GMCAST_CHECK_PERIOD * ceil(period / GMCAST_CHECK_PERIOD)
        for period in (timers.peer_timeout, timers.reconnect_period)
    )
    # The SYN due just when gmcast gives up comes too late: the kernel's timer is never early.
    waits = [0.0, *(wait for wait in syn_retransmissions(syn_linear) if wait < timers.peer_timeout)]
    at += cycle * max(0, floor((healed - at) / cycle))
    at = next((at + wait for wait in waits if at + wait >= healed), at + cycle)
    allowed = excluded_at + timers.time_wait / (1 if left else 2)
    while at < allowed:
        at += timers.reconnect_period
    return at


def relayed(delay: list[list[float]], connected: list[list[bool]]) -> list[list[float]]:
    """One-way delays when a pair that cannot talk goes through the best common peer (inf if there is none).

    gmcast members relay for peers that lost their direct connection, after about `gmcast.peer_timeout`.
    """
    n = len(delay)
    paths = [[delay[a][b] if a == b or connected[a][b] else float("inf") for b in range(n)] for a in range(n)]
    direct = [row[:] for row in paths]
    for a in range(n):
        for b in range(n):
            if direct[a][b] == float("inf"):
                paths[a][b] = min(direct[a][c] + direct[c][b] for c in range(n))
    return paths


class Rejoin(NamedTuple):
    """How a member gets the data it missed.

    Attributes:
        kind: `ist` or `sst`.
        seconds: how long it takes.
        donor_blocked: whether the donor's writes hang meanwhile (rsync holds a global read lock).
    """

    kind: str
    seconds: float
    donor_blocked: bool


def state_transfer(
    missing_bytes: float,
    data_bytes: float,
    bandwidth: float,
    rtt: float,
    *,
    position_known: bool,
    gcache_bytes: float = 128 * 2.0**20,
    fixed: float = 0.0,
    method: str = "rsync",
) -> Rejoin:
    """IST when the position is known and the donor's cache still holds what is missing, else SST.

    Args:
        missing_bytes: write sets ordered since the joiner's position.
        data_bytes: size of the data directory.
        bandwidth: bits per second between donor and joiner.
        rtt: round-trip time between them.
        position_known: a live process after a partition knows it, and a crashed one started with
            `--wsrep-start-position`; one started bare after a crash does not (components.md 1.12).
        gcache_bytes: `gcache.size` of the donor (128 MiB).
        fixed: seconds of local work (starting scripts, recovering the storage engine).
        method: `rsync` or `mariabackup`.
    """
    if position_known and missing_bytes <= gcache_bytes:
        # Request in total order, then a stream of its own: connect and request.
        return Rejoin("ist", 1.5 * rtt + 2 * rtt + 8 * missing_bytes / bandwidth, False)
    seconds = fixed + 3.5 * rtt + 8 * (data_bytes + missing_bytes) / bandwidth
    return Rejoin("sst", seconds, method == "rsync")

"""TCP over a wide-area link: how many round trips, and what a blackout costs after it is over.

All durations in seconds, sizes in bytes. Source: components.md 7.2 (Linux defaults, measured there).

Example:
    >>> connect_time(0.1)
    0.1
    >>> rounds(14_600), rounds(100_000)
    (1, 3)
    >>> round(resumed_after(sent=0.0, healed=5.0, rto=0.3), 1)     # tries at 0.3, 0.9, 2.1, 4.5, 9.3
    9.3
"""

from __future__ import annotations

from math import ceil, inf, log2, sqrt

MSS = 1460
"""Maximum segment size on Ethernet; 1380 inside a WireGuard tunnel (MTU 1420)."""

INITIAL_WINDOW = 10 * MSS
"""Initial congestion window (IW10)."""

MIN_RTO = 0.2
"""Linux TCP_RTO_MIN."""

MAX_RTO = 120.0
"""Linux TCP_RTO_MAX."""

INITIAL_RTO = 1.0
"""First SYN retransmission."""

PROBE_SLACK = 0.002
"""What a tail loss probe adds to two round trips when several packets are out (Linux TCP_TIMEOUT_MIN_US)."""

SYN_RETRIES = 6
"""net.ipv4.tcp_syn_retries: connect gives up after about 127 s."""

SYN_GIVES_UP = 64.0
"""Seconds from the last SYN retransmission until the kernel reports a timeout."""

DATA_RETRIES = 15
"""net.ipv4.tcp_retries2: an established connection gives up after 13-30 minutes."""


def connect_time(rtt: float, tls: float = 0.0) -> float:
    """Time until the first request byte can be sent: one RTT, plus 2 for TLS 1.2 or 1 for TLS 1.3.

    Args:
        rtt: round-trip time.
        tls: TLS version, 0 for none.
    """
    return rtt * (1 + (0 if not tls else 1 if tls >= 1.3 else 2))


def rounds(size: float, window: float = INITIAL_WINDOW) -> int:
    """Slow-start rounds to send ``size`` bytes: the window doubles each round trip."""
    if size <= 0:
        return 0
    return ceil(log2(size / window + 1) - 1e-12)


def transfer_time(size: float, rtt: float, bandwidth: float = inf, window: float = INITIAL_WINDOW) -> float:
    """From the first byte sent to the last byte received, without loss.

    Half an RTT of propagation, one RTT for each further slow-start round until the window covers the
    bandwidth-delay product, and the bytes at ``bandwidth`` (bits per second).
    """
    if size <= 0:
        return 0.0
    seconds_per_byte = 8.0 / bandwidth
    waited, sent, flight = 0.0, 0.0, window
    while sent + flight < size and flight * seconds_per_byte < rtt:
        # The sender idles from the end of this flight to the first acknowledgement.
        sent += flight
        waited += rtt - flight * seconds_per_byte
        flight *= 2
    return waited + size * seconds_per_byte + rtt / 2


def rto(rtt: float, variation: float = 0.0) -> float:
    """Retransmission timeout on a link: the smoothed RTT plus max(200 ms, 4 variations).

    Linux bounds the variation term below (tcp_rto_min), not the sum: RTT 100 ms gives 300 ms.
    """
    return min(MAX_RTO, rtt + max(MIN_RTO, 4 * variation))


def retransmissions(first: float, retries: int) -> list[float]:
    """Times of the retransmissions after a first try at 0: the timeout doubles up to MAX_RTO."""
    times, at, wait = [], 0.0, first
    for _ in range(retries):
        at += wait
        times.append(at)
        wait = min(MAX_RTO, wait * 2)
    return times


def resumed_after(sent: float, healed: float, rto: float, retries: int = DATA_RETRIES) -> float:
    """When a segment sent at ``sent`` into a dead link leaves again and gets through.

    The first retransmission at or after ``healed``: with the back-off a blackout of P s holds data up to 2 P.

    Returns:
        Its time, ``sent`` itself when the link was alive, or inf when the connection gave up before.
    """
    if sent >= healed:
        return sent
    at, wait = 0.0, rto
    for _ in range(retries):
        at += wait
        if sent + at >= healed:
            return sent + at
        wait = min(MAX_RTO, wait * 2)
    return inf


def in_order(now: float, at: float, before: float) -> float:
    """Seconds from ``now`` until a segment arrives that is due ``at`` but not ahead of the one ``before`` it.

    ``now`` plus the result is never less than ``before``, however the sum is rounded.
    """
    delay = max(at, before) - now
    while now + delay < before:
        delay += before - (now + delay)
    return delay


def syn_retransmissions(linear: int = 0) -> list[float]:
    """Times of the SYN retransmissions after a connect at 0.

    1, 3, 7, 15, 31, 63 s; since Linux 6.5 (`net.ipv4.tcp_syn_linear_timeouts`, 4) the first ``linear`` come
    every second and the doubling starts after them: 1, 2, 3, 4, 5, 7, 11, 19, 35, 67 s.
    """
    first = [INITIAL_RTO * (i + 1) for i in range(linear)]
    return first + [linear * INITIAL_RTO + at for at in retransmissions(INITIAL_RTO, SYN_RETRIES)]


def connected_after(
    started: float, healed: float, rtt: float, timeout: float = inf, syn_linear: int = 0
) -> float:
    """When a connect begun at ``started`` into a link dead until ``healed`` succeeds, or inf.

    Args:
        started: time of the first SYN.
        healed: when packets pass again.
        rtt: round-trip time.
        timeout: the application's.
        syn_linear: see :func:`syn_retransmissions`.
    """
    at = started
    if started < healed:
        at = inf
        for second in range(1, syn_linear + 1):
            if started + second * INITIAL_RTO >= healed:
                at = started + second * INITIAL_RTO
                break
        offset, wait = 0.0, INITIAL_RTO
        for _ in range(SYN_RETRIES):
            if at < inf:
                break
            offset += wait
            if started + (syn_linear * INITIAL_RTO + offset) >= healed:
                at = started + (syn_linear * INITIAL_RTO + offset)
            wait = min(MAX_RTO, wait * 2)
    return at + rtt if at + rtt - started <= timeout else inf


def loss_limited_bandwidth(rtt: float, loss: float, mss: int = MSS) -> float:
    """Bits per second of one Reno connection under random loss (Mathis): 1.22 MSS / (RTT sqrt(p))."""
    return inf if loss <= 0 else 1.22 * mss * 8 / (rtt * sqrt(loss))


def expected_extra_delay(rtt: float, loss: float) -> float:
    """Mean extra seconds of one short request or reply (a single segment) under random loss.

    No later segment reveals the loss, so each lost copy costs the whole, doubling timeout.
    """
    return sum(loss**n * wait for n, wait in enumerate(_waits(rto(rtt)), start=1))


def loss_delay(rtt: float, losses: int, packets: int = 1) -> float:
    """Extra seconds of a message of ``packets`` segments of which ``losses`` copies of one were lost in turn.

    With more than one segment out, a probe comes before the first timeout: after two round trips
    (tcp_schedule_loss_probe; a single one waits 200 ms more, which is past its timeout). A loss that a later
    segment's acknowledgement reveals sooner is taken for one of the last.
    """
    at, wait = 0.0, rto(rtt)
    for lost in range(losses):
        if lost == 0 and packets > 1:
            at += min(wait, 2 * rtt + PROBE_SLACK)
        else:
            at += wait
            wait = min(MAX_RTO, wait * 2)
    return at


def syn_loss_delay(losses: int) -> float:
    """Extra seconds of a connect when the first ``losses`` copies of its SYN, or of the answer, were lost."""
    at, wait = 0.0, INITIAL_RTO
    for _ in range(losses):
        at += wait
        wait = min(MAX_RTO, wait * 2)
    return at


def _waits(first: float) -> list[float]:
    return [min(MAX_RTO, first * 2**n) for n in range(DATA_RETRIES)]

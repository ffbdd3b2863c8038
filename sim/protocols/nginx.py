"""nginx open source as a load balancer: weighted round robin with passive health.

A peer with `max_fails` failures is left out until `fail_timeout` has passed since the last one, then one
live request tries it. With a single peer failures do not count. Source: nginx 1.22
src/http/ngx_http_upstream_round_robin.c and ngx_http_upstream.c, components.md 4.3.
The clock nginx compares is in whole seconds.

Example:
    >>> group = new_group(2)
    >>> choose(group, now=0.0)
    0
    >>> failed(group, 0, now=0.0)
    >>> [choose(group, now=1.0), choose(group, now=2.0)]
    [1, 1]
    >>> [choose(group, now=11.0), choose(group, now=11.1), choose(group, now=11.2)]     # on trial again
    [1, 1, 0]
"""

from __future__ import annotations

from typing import NamedTuple

from sim.protocols.tables import Floats, Ints

BAD_GATEWAY = 502
GATEWAY_TIMEOUT = 504


class Group(NamedTuple):
    """An upstream group: settings and flat tables by peer."""

    max_fails: int
    fail_timeout: float
    weight: Ints
    effective: Ints
    current: Ints
    fails: Ints
    accessed: Floats
    checked: Floats


def new_group(
    peers: int, *, max_fails: int = 1, fail_timeout: float = 10.0, weights: list[int] | None = None
) -> Group:
    """A group of ``peers`` healthy peers, with nginx's defaults."""
    weight = list(weights) if weights is not None else [1] * peers
    return Group(
        max_fails,
        fail_timeout,
        weight,
        list(weight),
        [0] * peers,
        [0] * peers,
        [-1e18] * peers,
        [-1e18] * peers,
    )


def choose(group: Group, now: float, tried: int = 0) -> int:
    """The peer for the next try, or -1 when there is none left (502 "no live upstreams").

    Args:
        group: the state.
        now: seconds.
        tried: bit mask of the peers this request has already tried.
    """
    clock = float(int(now))
    if len(group.weight) == 1:
        return -1 if tried else 0
    best, total = -1, 0
    for peer in range(len(group.weight)):
        if tried >> peer & 1 or is_benched(group, peer, now):
            continue
        group.current[peer] += group.effective[peer]
        total += group.effective[peer]
        if group.effective[peer] < group.weight[peer]:
            group.effective[peer] += 1
        if best < 0 or group.current[peer] > group.current[best]:
            best = peer
    if best < 0:
        return -1
    group.current[best] -= total
    if clock - group.checked[best] > group.fail_timeout:
        group.checked[best] = clock
    return best


def is_benched(group: Group, peer: int, now: float) -> bool:
    """Whether ``peer`` is left out now."""
    return (
        len(group.weight) > 1
        and group.max_fails > 0
        and group.fails[peer] >= group.max_fails
        and float(int(now)) - group.checked[peer] <= group.fail_timeout
    )


def failed(group: Group, peer: int, now: float) -> None:
    """A try on ``peer`` failed (`proxy_next_upstream error timeout`; a 5xx answer is not a failure)."""
    if len(group.weight) == 1:
        return
    clock = float(int(now))
    group.fails[peer] += 1
    group.accessed[peer] = group.checked[peer] = clock
    if group.max_fails > 0:
        step = group.weight[peer] // group.max_fails
        group.effective[peer] = max(0, group.effective[peer] - step)


def succeeded(group: Group, peer: int) -> None:
    """``peer`` answered: its failures are forgotten if it was on trial since the last of them."""
    if group.accessed[peer] < group.checked[peer]:
        group.fails[peer] = 0


def may_retry(sent: bool, idempotent: bool) -> bool:
    """Whether a failed try may go to another peer: a POST that was sent may not (no `non_idempotent`)."""
    return not sent or idempotent


def status_of(timed_out: bool) -> int:
    """HTTP status when no peer is left to try: 504 if the last try timed out, else 502."""
    return GATEWAY_TIMEOUT if timed_out else BAD_GATEWAY

"""A Galera member's timers: looking for inactive peers, sending again, giving up an agreement.

The retransmission timer sends keepalives in OPERATIONAL and starts over when GATHER or INSTALL is
entered; the inactivity timer starts over at every change of state.
Used through :mod:`sim.protocols.membership`.
Source: gcomm/src/evs_proto.cpp (handle_timers, next_expiration, check_inactive, handle_retrans_timer,
handle_install_timer).
"""

from __future__ import annotations

from math import inf

from sim.protocols import evs
from sim.protocols.installing import close, gap, install_message, propose_if, say_goodbye
from sim.protocols.joining import agreed, consistent, drop, gather, send_join
from sim.protocols.membership_state import (
    CLOSED,
    COMMIT_GAP,
    GATHER,
    INSTALL,
    INSTALLED_GAP,
    LEAVING,
    OPERATIONAL,
    Group,
    Step,
)
from sim.protocols.primary_component import nothing, representative
from sim.protocols.tables import Floats, members_of


def next_timer(group: Group, member: int) -> float:
    """When :func:`timers` is due for ``member``; never (inf) for a dead one."""
    if group.evs[member] == CLOSED:
        return inf
    return min(group.check_at[member], group.retrans_at[member], group.install_at[member])


def timers(group: Group, member: int, now: float) -> Step:
    """Whatever timers of ``member`` have expired, in the order in which they did (handle_timers)."""
    step = nothing()
    periods = group.timers
    while (due := next_timer(group, member)) <= now:
        if group.check_at[member] == due:
            _check(group, member, now, step)
            group.check_at[member] = now + periods.inactive_check_period
        elif group.retrans_at[member] == due:
            _retransmit(group, member, now, step)
            quiet = group.evs[member] in (OPERATIONAL, LEAVING)
            group.retrans_at[member] = now + (
                periods.keepalive_period if quiet else periods.join_retrans_period
            )
        else:
            _install_expired(group, member, now, step)
            waiting = group.evs[member] in (GATHER, INSTALL)
            group.install_at[member] = now + periods.install_timeout if waiting else inf
    return step


def check(group: Group, member: int, now: float) -> Step:
    """The inactivity check of ``member`` (every `evs.inactive_check_period`).

    A member that was itself stopped for three periods skips one look: it first hears what has come in.
    """
    step = nothing()
    _check(group, member, now, step)
    return step


def _check(group: Group, member: int, now: float, step: Step) -> None:
    n, periods = group.n, group.timers
    late = now - group.last_check[member] > 3 * periods.inactive_check_period
    group.last_check[member] = now
    if group.evs[member] == CLOSED or late:
        return
    known = group.known[member] & ~(1 << member)
    if all_heard(n, member, known, group.heard, periods.suspect_timeout, now):
        group.suspected[member] &= ~known
        return
    peers = members_of(known)
    suspects, found = 0, False
    for peer in peers:
        silence = now - group.heard[member * n + peer]
        if silence <= periods.suspect_timeout:
            group.suspected[member] &= ~(1 << peer)
            continue
        found = True
        group.suspected[member] |= 1 << peer
        if silence > periods.inactive_timeout:
            drop(group, member, peer)
        elif group.operational[member] >> peer & 1:
            suspects += 1
            # Nobody that sends JOINs is dropped on suspicion alone.
            if group.joins[member * n + peer] is None:
                drop(group, member, peer)
    if len(peers) > 1 and suspects == len(peers):
        for peer in peers:
            drop(group, member, peer)
    if found and group.evs[member] == OPERATIONAL:
        gather(group, member, now, step, send=True)
    elif found and group.evs[member] == LEAVING and group.operational[member] == 1 << member:
        close(group, member, step)


def all_heard(n: int, member: int, peers: int, heard: Floats, patience: float, now: float) -> bool:
    """Whether ``member`` has heard everyone in the mask ``peers`` within ``patience`` seconds."""
    silent = 0
    for peer in range(n):
        if peers >> peer & 1 and now - heard[member * n + peer] > patience:
            silent += 1
    return silent == 0


def retransmit(group: Group, member: int, now: float) -> Step:
    """The retransmission timer of ``member``: a keepalive in OPERATIONAL, else JOIN or gaps once more."""
    step = nothing()
    _retransmit(group, member, now, step)
    return step


def _retransmit(group: Group, member: int, now: float, step: Step) -> None:
    state, order = group.evs[member], group.order[member]
    if state == OPERATIONAL:
        if order is not None:
            step.order.append(evs.keepalive(order, member))
    elif state == GATHER and group.install_id[member] < 0:
        propose_if(group, member, send_join(group, member, now, step, handle=True), now, step)
    elif state == LEAVING:
        say_goodbye(group, member, step)
    elif state in (GATHER, INSTALL):
        install = group.install_join[member]
        if state == GATHER and group.install_from[member] == member and install is not None:
            step.sends.append(install_message(group, member, group.install_id[member], install.nodes))
        step.sends.append(gap(group, member, COMMIT_GAP))
        if state == INSTALL:
            step.sends.append(gap(group, member, INSTALLED_GAP))


def _install_expired(group: Group, member: int, now: float, step: Step) -> None:
    """The install timer expired: drop who proposes something else or did not commit, and start over.

    After `evs.max_install_timeouts` the member drops everybody and hears nobody for a while. (The real one
    aborts if even that does not help.)
    """
    if group.evs[member] not in (GATHER, INSTALL):
        return
    last = group.install_timeouts[member] >= group.timers.max_install_timeouts
    installing = group.install_id[member] >= 0
    for peer in members_of(group.known[member] & ~(1 << member)):
        proposal = group.joins[member * group.n + peer]
        committed = group.committed[member] >> peer & 1
        same = proposal is not None and consistent(group, member, proposal)
        if last or not same or (installing and not committed):
            drop(group, member, peer)
    if last:
        group.isolated_until[member] = now + group.timers.suspect_timeout + group.timers.inactive_timeout
    group.install_timeouts[member] += 1
    gather(group, member, now, step, send=True)
    lowest = representative(group.operational[member])
    propose_if(group, member, lowest == member and agreed(group, member), now, step)

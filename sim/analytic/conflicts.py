"""How conflicts grow: with nodes, rate, size of transactions, size of the database.

Gray, Helland, O'Neil and Shasha, "The dangers of replication and a solution" (1996), for uniform
access and few conflicts; what counts is the slopes, and that eager replication pays the third power
of the nodes. The certification form is the same argument for optimistic conflict detection: an
ordered write set fails when another one that it has not seen touched one of its rows.
"""

from __future__ import annotations

from math import exp


def wait_probability(tps: float, action_time: float, actions: int, rows: float) -> float:
    """Probability that a transaction at one node waits for a lock.

    Args:
        tps: transactions per second of the node.
        action_time: seconds per action.
        actions: updates per transaction.
        rows: in the database, equally likely.
    """
    return tps * action_time * actions**3 / (2 * rows)


def local_deadlocks(tps: float, action_time: float, actions: int, rows: float) -> float:
    """Deadlocks per second at a single node."""
    return tps**2 * action_time * actions**5 / (4 * rows**2)


def eager_deadlocks(tps: float, action_time: float, actions: int, rows: float, nodes: int) -> float:
    """Deadlocks per second of eager replication, all nodes: the third power of the nodes."""
    return local_deadlocks(tps, action_time, actions, rows) * nodes**3


def lazy_group_reconciliations(
    tps: float, action_time: float, actions: int, rows: float, nodes: int
) -> float:
    """Reconciliations per second of lazy group replication: again the third power."""
    return tps**2 * action_time * (actions * nodes) ** 3 / (2 * rows)


def lazy_master_deadlocks(tps: float, action_time: float, actions: int, rows: float, nodes: int) -> float:
    """Deadlocks per second with one primary copy: the second power only."""
    return (tps * nodes) ** 2 * action_time * actions**5 / (4 * rows**2)


def certification_failure(rate: float, window: float, keys: int, rows: float) -> float:
    """Probability that a write set fails certification.

    Each of the ``rate x window`` write sets of other members that were ordered unseen spoils it with
    probability ``keys**2 / rows``. Failures per second of n equal nodes go with n(n - 1) while the window
    stays, and with the third power of n once the window grows with the nodes: Gray's slope.

    Args:
        rate: write sets per second that pass certification, of all *other* members together.
        window: seconds from the last commit seen (at COMMIT) to the own place in the order.
        keys: rows per write set.
        rows: in the table, equally likely.
    """
    return 1 - exp(-rate * window * keys * keys / rows)

"""How long something takes: CPU seconds of this process, the best of a few."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """Work that was timed.

    Attributes:
        customers: how many customers (or rounds, or requests) it served.
        seconds: CPU seconds of this process, the best of the repetitions.
        result: whatever the work returned the last time.
        note: what else is to be known of it.
    """

    customers: int
    seconds: float
    result: Any = None
    note: str = ""

    @property
    def rate(self) -> float:
        """Customers per second."""
        return self.customers / self.seconds

    def data(self) -> dict[str, Any]:
        """For the record."""
        found: dict[str, Any] = {
            "customers": self.customers,
            "seconds": float(f"{self.seconds:.4g}"),
            "per_second": float(f"{self.rate:.4g}"),
        }
        return found | {"note": self.note} if self.note else found


def timed(work: Callable[[int], Any], customers: int, repetitions: int = 3) -> Run:
    """Time ``work(customers)``, warm: one small call comes before and does not count."""
    work(max(60, customers // 1000))
    best, result = float("inf"), None
    for _ in range(repetitions):
        start = time.process_time()
        result = work(customers)
        best = min(best, time.process_time() - start)
    return Run(customers, max(best, 1e-9), result)


def within(work: Callable[[int], Any], most: int, seconds: float, least: int = 600) -> Run:
    """Time ``work`` on as many customers as fit into about ``seconds``, ``most`` at the most.

    For what is slow and linear in the customers: a rate does not need the full number. Warm, as in `timed`.
    """
    work(min(least, most))
    count, spent, result = min(least, most), 0.0, None
    while True:
        start = time.process_time()
        result = work(count)
        spent = time.process_time() - start
        if count >= most or spent >= seconds / 4:
            return Run(count, max(spent, 1e-9), result)
        count = min(most, int(count * max(2.0, min(20.0, seconds / max(spent, 1e-3)))))

"""How fast the machine computes now: what neighbours on the host take is not in any counter of a guest.

A fixed piece of work that needs neither memory nor caches, timed by its own CPU clock: what else runs here
does not lengthen it (`python -m benchmarks.pace`; docs/decisions/0014-a-host-with-neighbours.md).
"""

from __future__ import annotations

import hashlib
import os
import time

ROUNDS = 10_000
MOST = 4
"""CPUs that are visited: those that a lab ties its sites to come first, and many would take too long."""


def measure() -> float:
    """CPU seconds of the work, mean over the first CPUs that this thread may use; it visits them in turn."""
    usable = os.sched_getaffinity(0)
    took = []
    try:
        for cpu in sorted(usable)[:MOST]:
            os.sched_setaffinity(0, {cpu})
            began = time.thread_time()
            hashlib.pbkdf2_hmac("sha256", b"pace", b"salt", ROUNDS)
            took.append(time.thread_time() - began)
    finally:
        os.sched_setaffinity(0, usable)
    return sum(took) / len(took)

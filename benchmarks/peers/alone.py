"""One peer in an interpreter of its own, for those that need a newer Python than the lab's.

Called by `benchmarks.peers.measured`: `python -m benchmarks.peers.alone MODULE`, the work on standard input.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from benchmarks.timing import within


def main(name: str) -> None:
    """Time the peer's queue and print the record; or why it cannot run here."""
    work = json.load(sys.stdin)
    peer = import_module(f"benchmarks.peers.{name}")
    reason = peer.missing()
    if reason is not None:
        print(json.dumps({"missing": reason}))
        return
    rate, service, servers = work["rate"], work["service"], work["servers"]
    found = within(
        lambda count: peer.line(rate, service, servers, count, 1), work["customers"], work["seconds"]
    )
    python = ".".join(str(part) for part in sys.version_info[:3])
    print(json.dumps({"customers": found.customers, "seconds": found.seconds, "python": python}))


if __name__ == "__main__":
    main(sys.argv[1])

"""How steady this machine's pace is, with its other CPU idle and busy: what neighbours on the host take.

python -m benchmarks.pace      (half a minute)
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

from chaos.measure import pace

SECONDS = 12.0
EVERY = 0.1


def spin(cpu: int) -> None:
    """Use a CPU up, until ended."""
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


def watched(cpu: int) -> list[float]:
    """Paces of one CPU, in order of size."""
    usable = os.sched_getaffinity(0)
    found = []
    try:
        os.sched_setaffinity(0, {cpu})
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found.append(pace.measure())
            time.sleep(EVERY)
    finally:
        os.sched_setaffinity(0, usable)
    return sorted(found)


def main() -> int:
    """Measure and print; 64 where there is only one CPU."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        print("benchmarks.pace needs two CPUs", file=sys.stderr)
        return 64
    print(f"{'other CPU':10} {'10 %':>8} {'median':>8} {'90 %':>8}  ms")
    for busy in (False, True):
        other = multiprocessing.Process(target=spin, args=(usable[1],), daemon=True)
        if busy:
            other.start()
        found = watched(usable[0])
        if busy:
            other.kill()
            other.join()
        shown = [1000 * found[int(share * (len(found) - 1))] for share in (0.1, 0.5, 0.9)]
        print(f"{'busy' if busy else 'idle':10} {' '.join(f'{one:8.2f}' for one in shown)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

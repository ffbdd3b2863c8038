"""What requests cost a site: on all CPUs and on one, at once and after pauses, alone and in a crowd.

    python -m benchmarks.site_cpu    (root, at least two CPUs, about three minutes; nothing else may run)

It has the lab's lock and control groups: after a SIGKILL, `faultline heal` ends what is left.

One replica of the lab's identity service and one database.

1. Under a CPU quota as in the lab, users who ask for access tokens without a pause: why a lab ties a site to
   one CPU (docs/decisions/0013-one-cpu-per-site.md), and what a crowd costs (sim/protocols/caches.py).
2. On one CPU without a quota, one user who pauses: what caches cost that have grown cold (the same file).
3. The same beside an endless loop of passwords, whose hash takes 50 ms of CPU at a stretch: fair sharing
   makes a token take twice its time (docs/validation.md).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.host.cgroups import Cgroups
from chaos.iam import schema
from chaos.iam.profile import USER_SCOPES, Client, cpu_seconds, only_child
from chaos.iam.sandbox import database, replica
from chaos.lab.layout import lab_directory
from chaos.lock import LabLock
from faultline.signals import patient_with_signals

QUOTA = 0.5
"""Cores, as a site of the library in lab size."""

USERS = (1, 4, 8, 24, 40)
SECONDS = 8.0
"""How long each load lasts."""

PAUSES = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Seconds between an answer and the next request."""

GROUP = "site-cpu"
TOKEN, PASSWORD = "client_credentials", "password"
FORMS = {
    TOKEN: {"scope": "scim:read scim:write"},
    PASSWORD: {"scope": USER_SCOPES, "username": "test1", "password": schema.PASSWORD},
}


@contextmanager
def site(cpus: Sequence[int], cores: float | None) -> Iterator[tuple[int, int, int]]:
    """A service and its database on these CPUs and under this quota: port, pids of service and database."""
    cgroups = Cgroups()
    cgroups.create(GROUP, cores=cores)
    try:
        with database(schema.Seed(users=3, bcrypt_cost=10)) as db, replica(db.directory, db.port) as iam:
            service = only_child(iam.process.pid)
            for process in (iam.process.pid, service, db.process.pid):
                cgroups.add(GROUP, process)
                for thread in Path(f"/proc/{process}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), cpus)
            yield int(iam.config["listen"].rpartition(":")[2]), service, db.process.pid
    finally:
        cgroups.remove()


def load(port: int, kind: str, users: int, told: Any) -> None:
    """Users who ask for one thing after the other; tells how often they got it and how long each took."""
    took: list[list[float]] = [[] for _ in range(users)]
    end = time.monotonic() + SECONDS

    def user(mine: list[float]) -> None:
        client = Client(port)
        while (start := time.monotonic()) < end:
            client.post("/token", grant_type=kind, **FORMS[kind])
            mine.append(time.monotonic() - start)

    threads = [threading.Thread(target=user, args=(mine,)) for mine in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [one for mine in took for one in mine]
    told.put((kind, len(every), sum(every) / len(every)))


def under(port: int, *loads: tuple[str, int]) -> dict[str, tuple[int, float]]:
    """Count and mean seconds of each kind of request, asked for by so many users at the same time."""
    told: Any = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=load, args=(port, *one, told)) for one in loads]
    for process in processes:
        process.start()
    found = [told.get(timeout=4 * SECONDS) for _ in loads]
    for process in processes:
        process.join()
    return {kind: (count, mean) for kind, count, mean in found}


def on_half_a_core(usable: Sequence[int]) -> None:
    """CPU of a token under a quota, on all CPUs and on one, by users."""
    print(f"half a core\n{'CPUs':>5} {'users':>6} {'tokens/s':>9} {'service ms':>11} {'database ms':>12}")
    for cpus in (usable, usable[:1]):
        with site(cpus, QUOTA) as (port, service, db):
            under(port, (TOKEN, 1))
            for users in USERS:
                before = cpu_seconds(service), cpu_seconds(db), time.monotonic()
                count = under(port, (TOKEN, users))[TOKEN][0]
                spent = [cpu_seconds(service) - before[0], cpu_seconds(db) - before[1]]
                rate = count / (time.monotonic() - before[2])
                costs = [1000 * one / count for one in spent]
                print(f"{len(cpus):5} {users:6} {rate:9.0f} {costs[0]:11.1f} {costs[1]:12.1f}", flush=True)


def after_pauses(cpus: Sequence[int]) -> None:
    """CPU of a request by how long service and database have not run, without a quota."""
    print(f"one CPU, no quota\n{'request':20} {'pause ms':>9} {'service ms':>11} {'database ms':>12}")
    with site(cpus, None) as (port, service, db):
        client = Client(port)
        for kind, pauses in ((TOKEN, (0.0, *PAUSES)), (PASSWORD, (0.0, PAUSES[0], PAUSES[-1]))):
            for pause in pauses:
                count = round(min(200.0, SECONDS / max(pause, 0.02 if kind == TOKEN else 0.1)))
                before = ran(service), ran(db)
                for _ in range(count):
                    time.sleep(pause)
                    client.post("/token", grant_type=kind, **FORMS[kind])
                costs = [1000 * one / count for one in (ran(service) - before[0], ran(db) - before[1])]
                print(f"{kind:20} {1000 * pause:9.0f} {costs[0]:11.2f} {costs[1]:12.2f}", flush=True)


def ran(process: int) -> float:
    """CPU seconds of all threads of a process that live, to the nanosecond (proc(5), schedstat)."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def beside_passwords(cpus: Sequence[int]) -> None:
    """Response times of tokens and passwords, alone and together, without a quota."""
    print(f"one CPU, no quota\n{'users':32} {'token ms':>9} {'password ms':>12}")
    with site(cpus, None) as (port, _, _):
        for loads in (((TOKEN, 1),), ((PASSWORD, 1),), ((TOKEN, 1), (PASSWORD, 1))):
            means = {kind: 1000 * mean for kind, (_, mean) in under(port, *loads).items()}
            who = " and ".join(f"one for {kind}" for kind, _ in loads)
            shown = [f"{means[kind]:.1f}" if kind in means else "" for kind in (TOKEN, PASSWORD)]
            print(f"{who[:32]:32} {shown[0]:>9} {shown[1]:>12}", flush=True)


def main() -> int:
    """Measure and print both tables; 64 where that is not possible."""
    usable = sorted(os.sched_getaffinity(0))
    if os.geteuid() != 0 or len(usable) < 2:
        print("benchmarks.site_cpu needs root and at least two CPUs", file=sys.stderr)
        return 64
    try:
        with patient_with_signals(), LabLock(lab_directory()):
            on_half_a_core(usable)
            after_pauses(usable[:1])
            beside_passwords(usable[:1])
    except KeyboardInterrupt:
        return 130
    except LabError as error:
        print(error, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())

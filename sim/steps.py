"""What each request does in the database, as a table of steps.

The order and number of statements are those of the identity service (facts/iam.md 1.2, 2 and
2.1). Consecutive statements between two points of interest are one step: what matters is where
a connection is taken, where a token is read that another member may not have yet, where the
lock on `token_scope` is taken, and where the transaction commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.workload import Request
from sim.calibration import Calibration
from topologies.model import IndigoIam

READ, CHECK_REFRESH, CHECK_ACCESS, BEGIN, WORK, LOCK_INSERT, LOCK_RANGE, COMMIT = range(8)
"""Kinds of step: statements outside the write transaction; reading a token by value; opening the
write transaction; statements in it; inserting into token_scope; the full scan of token_scope by
the clear-access-tokens delete; commit."""

KINDS: tuple[Request, ...] = ("access-token", "password", "refresh", "token-exchange", "health")
"""Request kinds in the order of the step tables."""

SIGNATURE_SECONDS = 1.25e-3
"""One RS256 signature with a 2048-bit key (facts/iam.md section 4), made inside the write transaction."""


class Counts(NamedTuple):
    """Statements of a request (facts/iam.md 1.2).

    Attributes:
        total: all statements.
        write: those of the write transaction, its framing included.
        before_check: statements before the presented token is read (client loads, 15 each with
            framing: facts/iam.md section 2), 0 when no token is presented.
        after_lock: statements from the token_scope delete to the commit.
        bytes: write set.
        keys: certification keys of the write set.
    """

    total: int
    write: int
    before_check: int
    after_lock: int
    bytes: int
    keys: int


_COUNTS: dict[str, Counts] = {
    "access-token": Counts(92, 32, 0, 0, 3632, 25),
    "password": Counts(151, 70, 0, 0, 6260, 39),
    "token-exchange": Counts(154, 57, 45, 0, 6340, 32),
    "refresh reuse clear": Counts(156, 62, 30, 34, 4144, 26),
    "refresh reuse": Counts(153, 59, 30, 0, 2752, 20),
    "refresh rotate": Counts(156, 62, 30, 0, 2752, 24),
    "refresh rotate clear": Counts(160, 66, 30, 34, 4144, 30),
    "health": Counts(1, 0, 0, 0, 0, 0),
}


def counts(request: Request, *, reuse: bool = True, clear: bool = True) -> Counts:
    """Statement counts of ``request`` under the service's refresh settings."""
    if request != "refresh":
        return _COUNTS[request]
    return _COUNTS[f"refresh {'reuse' if reuse else 'rotate'}{' clear' if clear else ''}"]


def round_trips(request: Request) -> int:
    """Statements of ``request`` with the default settings: each is one round trip."""
    return counts(request).total


@dataclass(frozen=True)
class StepTables:
    """Steps of all request kinds, flat: those of kind k are rows first[k]..first[k + 1].

    Attributes:
        kind: kind of step.
        trips: statements, each one round trip to the database.
        app_cpu: mean CPU of the service, seconds.
        db_cpu: mean CPU of the database, seconds.
        wait: mean time in neither, seconds.
        bytes: write set size of a commit.
    """

    first: NDArray[np.int64]
    kind: NDArray[np.int64]
    trips: NDArray[np.int64]
    app_cpu: NDArray[np.float64]
    db_cpu: NDArray[np.float64]
    wait: NDArray[np.float64]
    bytes: NDArray[np.int64]


def compile_steps(iam: IndigoIam, calibration: Calibration) -> StepTables:
    """Lay out the steps of every request kind with the demands of ``calibration``.

    CPU is shared out by statements, after the password hash (before the transaction) and the
    signature (inside it) have been taken out. The cost of the hash is what a password request
    costs beyond its statements, priced as in an access-token request.
    """
    rows: list[tuple[int, int, float, float, float, int]] = []
    first = [0]
    plain = calibration.requests["access-token"].app_cpu.mean
    sign = min(SIGNATURE_SECONDS, 0.5 * plain)
    per_statement = (plain - sign) / counts("access-token").total
    for request in KINDS:
        demand = calibration.requests[request]
        count = counts(request, reuse=iam.reuse_refresh_token, clear=iam.clear_access_tokens_on_refresh)
        app = demand.app_cpu.mean
        db_each = demand.db_cpu.mean / count.total
        wait_each = demand.wait.mean / count.total
        signing = 0.0 if request == "health" else min(sign, 0.5 * app)
        hashing = 0.0
        if request == "password":
            hashing = max(0.0, app - signing - per_statement * count.total)
        app_each = (app - signing - hashing) / count.total

        def lump(kind: int, statements: int, extra: float = 0.0, size: int = 0) -> None:
            rows.append(
                (
                    kind,
                    statements,
                    app_each * statements + extra,  # noqa: B023 - called within this iteration only
                    db_each * statements,  # noqa: B023
                    wait_each * statements,  # noqa: B023
                    size,
                )
            )

        if request == "health":
            lump(READ, count.total)
        else:
            reading = count.total - count.write
            if count.before_check:
                lump(READ, count.before_check)
                lump(CHECK_REFRESH if request == "refresh" else CHECK_ACCESS, 0)
            lump(READ, reading - count.before_check, hashing)
            lump(BEGIN, 0)
            if count.after_lock:
                lump(WORK, count.write - count.after_lock)
                lump(LOCK_RANGE, 0)
                lump(WORK, count.after_lock, signing)
            else:
                # The inserts into token_scope are the last statements before the commit.
                lump(WORK, count.write, signing)
                lump(LOCK_INSERT, 0)
            lump(COMMIT, 0, size=count.bytes)
        first.append(len(rows))
    kind, trips, app_cpu, db_cpu, wait, size = zip(*rows, strict=True)
    return StepTables(
        first=np.array(first, dtype=np.int64),
        kind=np.array(kind, dtype=np.int64),
        trips=np.array(trips, dtype=np.int64),
        app_cpu=np.array(app_cpu),
        db_cpu=np.array(db_cpu),
        wait=np.array(wait),
        bytes=np.array(size, dtype=np.int64),
    )

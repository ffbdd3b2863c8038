"""What each request does in the database, as a table of steps.

The steps are those of the service profile (:mod:`sim.profile`, facts/iam.md 1.2, 2 and 2.1).
Consecutive statements between two points of interest are one step: what matters is where a
connection is taken, where a token is read that another member may not have yet, where the lock on
`token_scope` is taken, and where the transaction commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.workload import STEPS, Request, Workload
from sim import profile as profiles
from sim.calibration import Calibration, Demand
from sim.profile import Profile, RequestProfile
from sim.profile_steps import Commit, Work
from topologies.model import IndigoIam, Isolation

READ, HASH, CHECK_REFRESH, CHECK_ACCESS, BEGIN, WORK, LOCK_INSERT, LOCK_RANGE, COMMIT = range(9)
"""Kinds of step: statements outside the write transaction; checking a password; reading a token by
value; opening the write transaction; statements in it; inserting the access token and its
rows of token_scope; the full scan of token_scope by the clear-access-tokens delete; commit."""

NO_TOKEN, HELD, NEW = range(3)
"""The refresh token that a request's access token belongs to: none, the user's, a new one."""

LOCK_OLDEST, LOCK_ROW = 9, 10
"""Kinds of step of background jobs (`sim.jobs`): deleting the oldest rows of token_scope, where that scan
begins; deleting one row by its key."""

SCAN_ROWS = 11
"""Kind of step: the scan of LOCK_RANGE at READ COMMITTED."""

KINDS: tuple[Request, ...] = (
    "access-token",
    "password",
    "refresh",
    "token-exchange",
    "health",
    "introspect",
    "userinfo",
    "revoke",
)
"""Request kinds in the order of the step tables. A kind that the profile lacks has no steps."""

MOST_SIGNING = 0.5
"""A signature takes at most this share of what a request costs the service."""


def refusal(workload: Workload, calibration: Calibration, iam: IndigoIam) -> str:
    """Why ``workload`` cannot be simulated with these demands, empty when it can."""
    profile = calibration.profile or profiles.load()
    for kind in STEPS[workload.flow]:
        reason = profile.refuse(kind) or ("" if iam.store_access_tokens else _refuse_unstored(kind, profile))
        if reason:
            return f"the flow {workload.flow} cannot be predicted: {reason}"
    return ""


def round_trips(request: Request, profile: Profile | None = None) -> int:
    """Statements of ``request`` with the default settings: each is one round trip."""
    found = (profile or profiles.load()).request(request)
    return found.statements if found is not None else 0


@dataclass(frozen=True)
class StepTables:
    """Steps of all request kinds, flat: those of kind k are rows first[k]..first[k + 1].

    Attributes:
        kind: kind of step.
        trips: statements, each one round trip to the database; COMMIT is not among them: its round trip
            belongs to the commit.
        app_cpu: mean CPU of the service, seconds.
        db_cpu: mean CPU of the database, seconds.
        wait: mean time in neither, seconds.
        bytes: write set size of a commit.
        apply_factor: what applying the write set costs, relative to that of an access-token request.
        row_cpu: CPU of the database per row of token_scope that a LOCK_RANGE passes, seconds.
        rows: rows that a commit adds to token_scope.
        points: transactions and autocommitted SELECTs that begin in the step: where `wsrep_sync_wait`
            may wait.
        refresh_token: of a lock: NO_TOKEN, HELD or NEW.
    """

    first: NDArray[np.int64]
    kind: NDArray[np.int64]
    trips: NDArray[np.int64]
    app_cpu: NDArray[np.float64]
    db_cpu: NDArray[np.float64]
    wait: NDArray[np.float64]
    bytes: NDArray[np.int64]
    apply_factor: NDArray[np.float64]
    row_cpu: NDArray[np.float64]
    rows: NDArray[np.int64]
    points: NDArray[np.int64]
    refresh_token: NDArray[np.int64]


class Row(NamedTuple):
    """One step; fields as the columns of `StepTables`."""

    kind: int
    trips: int = 0
    app_cpu: float = 0.0
    db_cpu: float = 0.0
    wait: float = 0.0
    bytes: int = 0
    apply_factor: float = 1.0
    row_cpu: float = 0.0
    rows: int = 0
    points: int = 0
    refresh_token: int = NO_TOKEN


def compile_steps(
    iam: IndigoIam, calibration: Calibration, isolation: Isolation = "repeatable-read"
) -> StepTables:
    """Lay out the steps of every request kind with the demands of ``calibration``.

    CPU is shared out by statements, after the password hash (before the transaction), the signature
    (inside it) and what the profile names as extra have been taken out. Where the profile does not say
    what the hash costs, it is what a password request costs beyond its statements, priced as in an
    access-token request.

    Args:
        iam: settings of the service.
        calibration: demands.
        isolation: of the database's transactions.
    """
    profile = calibration.profile or profiles.load()
    stored = iam.store_access_tokens
    rows: list[Row] = []
    first = [0]
    for kind in KINDS:
        request = profile.request(kind, reuse=iam.reuse_refresh_token, clear=iam.clears_access_tokens)
        if request is not None and kind in calibration.requests:
            token = NEW if kind == "password" else NO_TOKEN
            if kind == "refresh":
                token = HELD if iam.reuse_refresh_token else NEW
            found = _rows(profile, request, calibration.requests[kind], calibration, token)
            rows += found if stored else _unstored(kind, request, profile, found)
        first.append(len(rows))
    if isolation == "read-committed":
        rows = [_read_committed(row) for row in rows]
    kinds, trips, app_cpu, db_cpu, wait, size, apply_factor, row_cpu, added, points, tokens = zip(
        *rows, strict=True
    )
    return StepTables(
        first=np.array(first, dtype=np.int64),
        kind=np.array(kinds, dtype=np.int64),
        trips=np.array(trips, dtype=np.int64),
        app_cpu=np.array(app_cpu),
        db_cpu=np.array(db_cpu),
        wait=np.array(wait),
        bytes=np.array(size, dtype=np.int64),
        apply_factor=np.array(apply_factor),
        row_cpu=np.array(row_cpu),
        rows=np.array(added, dtype=np.int64),
        points=np.array(points, dtype=np.int64),
        refresh_token=np.array(tokens, dtype=np.int64),
    )


def _rows(
    profile: Profile, request: RequestProfile, demand: Demand, calibration: Calibration, token: int
) -> list[Row]:
    app, db = demand.app_cpu.mean, demand.db_cpu.mean
    plain = profile.requests["access-token"]
    plain_app = calibration.requests["access-token"].app_cpu.mean
    sign = min(profile.signature, MOST_SIGNING * plain_app)
    per_statement = (plain_app - sign) / plain.statements
    work = [step for step in request.steps if step.do in ("read", "work")]
    signatures = sum(step.signatures for step in work if step.do == "work")
    sign = min(sign, MOST_SIGNING * app / max(1, signatures))
    # Parts of a measured demand move with it when it is drawn anew.
    app_scale = app / request.app_cpu.mean if request.app_cpu is not None and request.app_cpu.mean else 1.0
    db_scale = db / request.db_cpu.mean if request.db_cpu is not None and request.db_cpu.mean else 1.0
    app_extra = sum(step.app_extra for step in work) * app_scale
    db_extra = sum(step.db_extra for step in work) * db_scale
    left = max(0.0, app - sign * signatures - app_extra)
    hashing = 0.0
    if any(step.do == "hash" for step in request.steps):
        hashing = app - sign * signatures - per_statement * request.statements
        if profile.password_hash is not None:
            hashing = profile.password_hash * app_scale
        hashing = min(max(0.0, hashing), left)
    app_each = (left - hashing) / request.statements
    wait_each = demand.wait.mean / request.statements
    weights = {
        id(step): profile.db_weights.of(step) if profile.db_weights else step.statements for step in work
    }
    db_each = max(0.0, db - db_extra) / (sum(weights.values()) or 1.0)

    found: list[Row] = []
    last = max((place for place, step in enumerate(request.steps) if step.do == "work"), default=-1)
    points = _points(request)
    for place, step in enumerate(request.steps):
        match step.do:
            case "read" | "work":
                extra = step.app_extra * app_scale
                if step.do == "work":
                    extra += sign * step.signatures
                found.append(
                    Row(
                        READ if step.do == "read" else WORK,
                        trips=step.statements - (place == last),
                        points=points.get(place, 0),
                        app_cpu=app_each * step.statements + extra,
                        db_cpu=db_each * weights[id(step)] + step.db_extra * db_scale,
                        # What a round trip costs within a machine, COMMIT's too.
                        wait=wait_each * step.statements
                        + (calibration.statement_rtt.mean if place == last else 0.0),
                    )
                )
            case "hash":
                found.append(Row(HASH, app_cpu=hashing))
            case "check":
                found.append(Row(CHECK_REFRESH if step.token == "refresh" else CHECK_ACCESS))
            case "begin":
                found.append(Row(BEGIN))
            case "lock" if step.mode == "scan":
                found.append(Row(LOCK_RANGE, row_cpu=request.scan_cpu_per_row, refresh_token=HELD))
            case "lock":
                found.append(Row(LOCK_INSERT, refresh_token=token))
            case "commit":
                found.append(
                    Row(
                        COMMIT,
                        bytes=step.bytes,
                        apply_factor=apply_factor(profile, step.rows),
                        rows=request.rows_added,
                    )
                )
    return found


def apply_factor(profile: Profile, rows: int) -> float:
    """Cost of applying ``rows`` rows; an access-token request's, which is calibrated, is the unit."""
    weights = profile.apply_weights
    return weights.of(rows) / weights.of(profile.requests["access-token"].write_rows) if weights else 1.0


def _points(request: RequestProfile) -> dict[int, int]:
    """Wait points by step: one for the write transaction, the rest over the reads by their statements."""
    reads = {place: step.statements for place, step in enumerate(request.steps) if step.do == "read"}
    found: dict[int, int] = {}
    left, statements = request.points - request.writes, sum(reads.values())
    for place, count in reads.items():
        found[place] = max(1, round(left * count / statements)) if count else 0
        left, statements = left - found[place], statements - count
    work = [place for place, step in enumerate(request.steps) if step.do == "work"]
    if work:
        found[work[0]] = 1
    return found


def _read_committed(row: Row) -> Row:
    """The same step at READ COMMITTED.

    The clear-access-tokens delete still reads every row, and waits for those that another one has
    deleted, but locks no gap that a new row would go to (facts/iam.md 2.1, T1 and T1').
    """
    return row._replace(kind=SCAN_ROWS) if row.kind == LOCK_RANGE else row


TRANSACTION = 3
"""Statements that begin and end a transaction (facts/iam.md section 1); the rest of a write transaction's
framing is `SELECT LAST_INSERT_ID()`."""


def _refuse_unstored(kind: Request, profile: Profile) -> str:
    """Why ``kind`` cannot be predicted without stored access tokens, empty when it can."""
    if kind == "revoke":
        return "what it costs to revoke a token that is not stored was not measured"
    request = profile.request(kind, clear=False)
    if request is not None and (
        request.writes and not any(isinstance(step, Work) and step.dml for step in request.steps)
    ):
        return f"the service profile {profile.profile} does not tell which statements change rows"
    return ""


def _unstored(kind: Request, request: RequestProfile, profile: Profile, rows: list[Row]) -> list[Row]:
    """The steps when access tokens are not stored but checked by their signature (facts/iam.md section 4).

    No token that is looked up can be stale then. Only a request that makes a refresh token still writes: a
    password grant, and a refresh that rotates. Taken away are the statements that write an access token
    (all that write, where nothing else is written) and the SELECT LAST_INSERT_ID() after it. What still
    writes keeps the place of its insert, and with it the rare conflict there (an upper bound).
    """
    keeps = kind == "password" or request is profile.refresh.rotate
    scopes = request.rows_added if kind == "password" else profile.refresh.reuse.rows_added
    pairs = list(zip(request.steps, rows, strict=True))
    works = [(step, row) for step, row in pairs if isinstance(step, Work)]
    whole = {name: sum(getattr(step, name) for step, _ in works) for name in ("statements", "framing", "dml")}
    dml = min(whole["dml"], 1 + scopes) if keeps else whole["dml"]
    ids = 1 if keeps else max(0, whole["framing"] - TRANSACTION)
    found: list[Row] = []
    for step, row in pairs:
        if isinstance(step, Work) and step is works[0][0]:
            before = step.model_copy(update=whole)
            after = step.model_copy(
                update={
                    "statements": whole["statements"] - dml - ids,
                    "framing": max(0, whole["framing"] - ids),
                    "dml": whole["dml"] - dml,
                }
            )
            weights = profile.db_weights
            share = after.statements / before.statements
            read = next(one for one in rows if one.kind == READ)
            per_statement = read.app_cpu / max(1, read.trips)
            found.append(
                row._replace(
                    kind=WORK if keeps else READ,
                    trips=after.statements - keeps,  # COMMIT's round trip belongs to the commit
                    app_cpu=max(0.0, sum(one.app_cpu for _, one in works) - per_statement * (dml + ids)),
                    db_cpu=sum(one.db_cpu for _, one in works)
                    * (weights.of(after) / weights.of(before) if weights else share),
                    wait=sum(one.wait for _, one in works) * share,
                )
            )
        elif isinstance(step, Commit) and keeps:
            found.append(row._replace(apply_factor=apply_factor(profile, step.rows - 1 - scopes), rows=0))
        elif row.kind in (READ, HASH, CHECK_REFRESH) or (keeps and row.kind in (BEGIN, LOCK_INSERT)):
            found.append(row)
    return found


def writing_kinds(tables: StepTables) -> frozenset[Request]:
    """Request kinds that commit something: those an audit asks about."""
    first = tables.first.tolist()
    return frozenset(
        kind for number, kind in enumerate(KINDS) if COMMIT in tables.kind[first[number] : first[number + 1]]
    )

"""Background jobs of the identity service as tables: when they run and what a run does.

Every replica runs all jobs of its service profile on one thread, without a lock between replicas
(:class:`sim.profile.Job`, facts/iam.md 2.3). A run's statements are steps like those of requests, appended to
the step tables; a statement costs what it costs in an access-token request, because that is what has been
measured of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim import profile as profiles
from sim.calibration import Calibration
from sim.profile import Part, Profile
from sim.protocols.expiry import HOLDERS, NO_TOKEN, NOTHING, TOKEN, TOKEN_OF_REFRESH_TOKEN, TOKENS
from sim.steps import (
    BEGIN,
    COMMIT,
    KINDS,
    LOCK_OLDEST,
    LOCK_ROW,
    MOST_SIGNING,
    READ,
    WORK,
    Row,
    StepTables,
    apply_factor,
)
from topologies.model import IndigoIam

_ROWS = {None: NOTHING, "access-tokens": TOKENS, "holders": HOLDERS}

FOUND_GONE = 4
"""Statements of a transaction whose row is not there any more: its framing of three, and the SELECT."""

_ISSUES = {
    "access-token": TOKEN,
    "token-exchange": TOKEN,
    "password": TOKEN_OF_REFRESH_TOKEN,
    "refresh": TOKEN_OF_REFRESH_TOKEN,
}
"""Access tokens that requests issue; `refresh` reuses the holder of its refresh token (facts/iam.md 2)."""

_PERIODS = {"clean-up": "token_cleanup_period", "notifications": "notification_task_delay"}
"""Jobs whose period is a setting of the service: the topology's field."""


@dataclass(frozen=True)
class JobTables:
    """All jobs, flat: the parts of job k are parts part_first[k]..part_first[k + 1].

    Attributes:
        period: pause between two runs, seconds.
        first: from the start of the process to the first run, seconds.
        budget: after which a part reads no further page, seconds.
        page: rows read at once.
        pages: most pages of a part of a run.
        part_first: first part of each job.
        rows: by part, NOTHING, TOKENS or HOLDERS.
        load: by part, SELECTs per row of a page.
        gone: by part, place in the step tables of what is done for a row that is gone; of all statements
            where nothing is deleted.
        remove: by part, place in the step tables of what deletes a row.
        select: CPU of the service and of the database for one SELECT, seconds.
        issues: by request kind, NO_TOKEN, TOKEN_OF_REFRESH_TOKEN or TOKEN.
        replaces: by request kind, whether the access token that is presented, or that belongs to the refresh
            token, is deleted.
    """

    period: NDArray[np.float64]
    first: NDArray[np.float64]
    budget: NDArray[np.float64]
    page: NDArray[np.int64]
    pages: NDArray[np.int64]
    part_first: NDArray[np.int64]
    rows: NDArray[np.int64]
    load: NDArray[np.int64]
    gone: NDArray[np.int64]
    remove: NDArray[np.int64]
    select: NDArray[np.float64]
    issues: NDArray[np.int64]
    replaces: NDArray[np.int64]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays of a program."""
        return {f"job_{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> JobTables | None:
        """Those of a program; None when its service has no jobs."""
        if "job_period" not in arrays:
            return None
        return cls(**{field.name: arrays[f"job_{field.name}"] for field in fields(cls)})

    def due(self, up_for: float) -> list[float]:
        """Seconds until each job is due at a replica that has been up, with nothing to do, for ``up_for``."""
        found = []
        for first, period in zip(self.first.tolist(), self.period.tolist(), strict=True):
            wait = first - up_for
            found.append(wait if wait >= 0 else wait + period * ceil(-wait / period))
        return found


@dataclass(frozen=True)
class Prices:
    """CPU per statement in seconds: of the service, and of the database by kind of statement."""

    app: float
    framing: float
    select: float
    dml: float


def prices(profile: Profile, calibration: Calibration) -> Prices:
    """What a statement costs in an access-token request, the signature taken out."""
    plain, demand = profile.requests["access-token"], calibration.requests["access-token"]
    sign = min(profile.signature, MOST_SIGNING * demand.app_cpu.mean)
    weights = profile.db_weights
    work = [step for step in plain.steps if step.do in ("read", "work")]
    total = sum(weights.of(step) if weights else step.statements for step in work)
    unit = demand.db_cpu.mean / total
    shares = (weights.framing, weights.select, weights.dml) if weights else (1.0, 1.0, 1.0)
    return Prices((demand.app_cpu.mean - sign) / plain.statements, *(unit * share for share in shares))


def with_jobs(
    steps: StepTables, iam: IndigoIam, calibration: Calibration
) -> tuple[StepTables, JobTables | None]:
    """``steps`` followed by those of the background jobs, and the jobs; None where the service has none."""
    profile = calibration.profile or profiles.load()
    if not profile.jobs:
        return steps, None
    price = prices(profile, calibration)
    columns: dict[str, list[float]] = {name: [] for name in ("period", "first", "budget", "page", "pages")}
    parts: dict[str, list[int]] = {name: [] for name in ("rows", "load", "gone", "remove")}
    part_first = [0]
    extra: list[list[Row]] = []
    for name, job in profile.jobs.items():
        setting = getattr(iam, _PERIODS[name]) if name in _PERIODS else None
        for column, values in columns.items():
            values.append(getattr(job, column) if column != "period" else setting or job.period)
        for part in job.parts:
            parts["rows"].append(_ROWS[part.rows])
            parts["load"].append(part.load)
            place = len(steps.first) - 1 + len(extra)
            if part.rows is None:
                extra.append([_read(part.statements, part.framing, price)])
                found = (place, place)
            else:
                extra.append([_read(FOUND_GONE, FOUND_GONE - 1, price)])
                applying = apply_factor(profile, part.changes)
                extra.append(_removal(part, price, calibration.statement_rtt.mean, applying))
                found = (place, place + 1)
            for column, index in zip(("gone", "remove"), found, strict=True):
                parts[column].append(index)
        part_first.append(len(parts["rows"]))
    replaced = {"revoke"}
    if iam.clear_access_tokens_on_refresh or not iam.reuse_refresh_token:
        replaced.add("refresh")  # deleting the old refresh token takes its access tokens along
    tables = JobTables(
        period=np.array(columns["period"]),
        first=np.array(columns["first"]),
        budget=np.array(columns["budget"]),
        page=np.array(columns["page"], dtype=np.int64),
        pages=np.array(columns["pages"], dtype=np.int64),
        part_first=np.array(part_first, dtype=np.int64),
        rows=np.array(parts["rows"], dtype=np.int64),
        load=np.array(parts["load"], dtype=np.int64),
        gone=np.array(parts["gone"], dtype=np.int64),
        remove=np.array(parts["remove"], dtype=np.int64),
        select=np.array([price.app, price.select]),
        issues=np.array([_ISSUES.get(kind, NO_TOKEN) for kind in KINDS], dtype=np.int64),
        replaces=np.array([kind in replaced for kind in KINDS], dtype=np.int64),
    )
    return _appended(steps, extra), tables


def _read(statements: int, framing: int, price: Prices) -> Row:
    """Statements that change nothing."""
    selects = statements - framing
    return Row(
        READ,
        trips=statements,
        app_cpu=price.app * statements,
        db_cpu=price.framing * framing + price.select * selects,
        points=max(1, selects),
    )


def _removal(part: Part, price: Prices, round_trip: float, applying: float) -> list[Row]:
    """The transaction that deletes a row: it is looked up, locked by the first DELETE, deleted, committed."""
    look = part.statements - part.framing - part.dml + 1  # SET autocommit and the SELECTs
    rest = part.statements - look
    found = [
        Row(BEGIN),
        Row(
            WORK,
            trips=look,
            app_cpu=price.app * look,
            db_cpu=price.framing + price.select * (look - 1),
            points=1,
        ),
    ]
    if part.rows == "access-tokens":
        found.append(Row(LOCK_OLDEST))
    return [
        *found,
        Row(LOCK_ROW),
        Row(
            WORK,
            trips=rest - 1,  # that of COMMIT belongs to the commit
            app_cpu=price.app * rest,
            db_cpu=price.framing * (part.framing - 1) + price.dml * part.dml,
            wait=round_trip,
        ),
        Row(COMMIT, bytes=part.bytes, apply_factor=applying),
    ]


def _appended(steps: StepTables, extra: list[list[Row]]) -> StepTables:
    rows = [row for group in extra for row in group]
    columns = {
        name: np.concatenate([getattr(steps, name), np.array([getattr(row, name) for row in rows])]).astype(
            getattr(steps, name).dtype
        )
        for name in Row._fields
    }
    ends = int(steps.first[-1]) + np.cumsum([len(group) for group in extra])
    return replace(steps, first=np.concatenate([steps.first, ends]), **columns)

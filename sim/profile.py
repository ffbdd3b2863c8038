"""A service profile: what each request of an identity service does and costs, as data.

A profile is a YAML file of `sim/profiles/` (or the user's own): the steps of every request with their
statements, the locks and the moment of the commit, write-set sizes, pools and background jobs, each
with its source. `lab-iam` takes CPU demands from the machine's calibration; `indigo-iam` brings
those that were measured on the real service.

Example:
    >>> load("indigo-iam").requests["access-token"].statements
    92
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from experiments.workload import Request
from sim.profile_steps import Begin, Check, Commit, Count, Hash, Lock, Read, Statements, Step, Work
from topologies.base import Model
from topologies.document import read
from topologies.errors import InputError, Misfit, MisfitError, nearest
from topologies.loader import is_there
from topologies.quantities import Duration, Ratio

if TYPE_CHECKING:
    from sim.calibration import Calibration, Estimate
    from topologies.model import Topology

ROOM = Path(__file__).with_name("profiles")
DEFAULT = "lab-iam"

Source = Annotated[str, Field(min_length=3)]


class Cost(Model):
    """A measured duration.

    Attributes:
        mean: of it.
        cv: coefficient of variation of single requests.
        uncertainty: standard error of the mean, as a share of it.
    """

    mean: Duration = Field(ge=0)
    cv: float = Field(0.0, ge=0, le=10)
    uncertainty: Ratio = Field(0.0, ge=0, le=1)

    @property
    def estimate(self) -> Estimate:
        """The same as the calibration has it."""
        from sim.calibration import Estimate

        return Estimate(mean=self.mean, cv=self.cv, sem=self.mean * self.uncertainty)


class RequestProfile(Model):
    """One kind of request.

    Attributes:
        statements: all of them; must be what the steps add up to.
        points: transactions and autocommitted SELECTs: where `wsrep_sync_wait` may wait.
        steps: in the order in which they happen.
        app_cpu: of the service; None: the calibration's.
        db_cpu: of the database; None: the calibration's.
        wait: time in neither, beyond round trips and commit; None: the calibration's.
        scan_cpu_per_row: CPU of the database per row that the `scan` lock passes.
        rows_added: rows that the request leaves in `token_scope`, those it removes taken off.
        source: where the numbers are from.
    """

    statements: Count
    points: Count
    steps: tuple[Step, ...] = Field(min_length=1)
    app_cpu: Cost | None = None
    db_cpu: Cost | None = None
    wait: Cost | None = None
    scan_cpu_per_row: Duration = Field(0.0, ge=0)
    rows_added: int = 0
    source: Source

    @model_validator(mode="after")
    def _order(self) -> RequestProfile:
        total = sum(step.statements for step in self.steps if isinstance(step, Read | Work))
        if total != self.statements:
            raise MisfitError(
                [Misfit(("statements",), f"the steps have {total} statements", f"{total}, or other steps")]
            )
        opened = False
        for place, step in enumerate(self.steps):
            if isinstance(step, Begin | Read | Hash | Check) and opened:
                raise MisfitError(
                    [
                        Misfit(
                            ("steps", place, "do"), f"{step.do!r} inside a write transaction", "after commit"
                        )
                    ]
                )
            if isinstance(step, Work | Lock | Commit) and not opened:
                raise MisfitError(
                    [
                        Misfit(
                            ("steps", place, "do"), f"{step.do!r} outside a write transaction", "begin first"
                        )
                    ]
                )
            opened = isinstance(step, Begin) or (opened and not isinstance(step, Commit))
        if opened:
            raise MisfitError([Misfit(("steps",), "the write transaction does not end", "a commit step")])
        if sum(isinstance(step, Commit) for step in self.steps) > 1:
            raise MisfitError([Misfit(("steps",), "two write transactions", "one commit at most")])
        return self

    @property
    def writes(self) -> bool:
        """Whether it has a write transaction."""
        return any(isinstance(step, Commit) for step in self.steps)

    @property
    def write_rows(self) -> int:
        """Rows that its write set inserts, changes or deletes."""
        return sum(step.rows for step in self.steps if isinstance(step, Commit))

    @property
    def write_statements(self) -> int:
        """Statements of the write transaction."""
        return sum(step.statements for step in self.steps if isinstance(step, Work))


class RefreshProfiles(Model):
    """The refresh grant by the client's settings: token reused or rotated, access tokens cleared or not."""

    reuse_clear: RequestProfile
    reuse: RequestProfile
    rotate_clear: RequestProfile
    rotate: RequestProfile


class Pools(Model):
    """Request threads and database connections of one process.

    Attributes:
        threads: request threads.
        pool: database connections.
        pool_timeout: wait for a connection.
    """

    threads: int = Field(ge=1)
    pool: int = Field(ge=1)
    pool_timeout: Duration = Field(gt=0)
    source: Source


class Part(Model):
    """What a background job does: statements, or the same for every row that it deletes.

    Attributes:
        rows: what is deleted, row by row and each in a transaction of its own: access tokens that have
            expired, or authentication holders that no token refers to any more; nothing when not given.
        load: SELECTs per row when a page of them is read.
        statements: of the transaction that deletes a row, or of the whole part; each one round trip.
        framing: of these, those that only begin and end transactions.
        dml: of these, DELETEs.
        bytes: write set of a deleted row.
        keys: certification keys in it.
        changes: rows in it, those of other tables that go with the row among them.
    """

    rows: Literal["access-tokens", "holders"] | None = None
    load: Count = 0
    statements: int = Field(ge=1, le=100_000)
    framing: Count = 0
    dml: Count = 0
    bytes: Count = 0
    keys: Count = 0
    changes: Count = 0

    @model_validator(mode="after")
    def _order(self) -> Part:
        if self.framing + self.dml > self.statements:
            raise MisfitError([Misfit(("statements",), "fewer than framing and dml together", "more")])
        if self.rows is not None and not (self.dml and self.framing >= 3 and self.bytes and self.changes):
            raise MisfitError(
                [Misfit(("rows",), "rows are deleted in transactions", "dml, bytes, changes and framing: 3")]
            )
        if self.rows is None and any((self.dml, self.load, self.bytes, self.keys, self.changes)):
            raise MisfitError([Misfit(("rows",), "nothing is deleted", "`rows:`, or statements only")])
        return self


class Job(Model):
    """A background job that every replica runs.

    Attributes:
        period: pause between two runs.
        first: time from the start of the process to the first run.
        parts: what a run does, one after the other.
        page: rows read at once.
        pages: most of them in one part of a run.
        budget: no further page is read when a part has taken this long.
    """

    period: Duration = Field(ge=1e-3)
    first: Duration = Field(0.0, ge=0)
    parts: tuple[Part, ...] = Field(min_length=1)
    page: int = Field(100, ge=1, le=10_000)
    pages: int = Field(1000, ge=1)
    budget: Duration = Field(600.0, gt=0)
    source: Source


class Costs(Model):
    """Costs that replace the calibration's, because they were measured together with the requests.

    Attributes:
        statement_rtt: round trip of a statement inside a machine, CPU of either end not counted.
        local_commit: engine commit with its flush.
        apply_cpu: CPU to apply the write set of an access-token request on another member.
        source: where they are from.
    """

    statement_rtt: Cost | None = None
    local_commit: Cost | None = None
    apply_cpu: Cost | None = None
    source: Source


class Weights(Model):
    """What statements cost the database relative to each other.

    Attributes:
        framing: SET autocommit, COMMIT without its flush, SELECT LAST_INSERT_ID().
        select: a SELECT.
        dml: an INSERT, UPDATE or DELETE by key.
        source: where they are from.
    """

    framing: float = Field(ge=0)
    select: float = Field(gt=0)
    dml: float = Field(ge=0)
    source: Source

    def of(self, step: Statements) -> float:
        """Cost of a step's statements."""
        selects = step.statements - step.framing - step.dml
        return self.framing * step.framing + self.select * selects + self.dml * step.dml


class ApplyWeights(Model):
    """What write sets cost a member that applies them, relative to each other.

    Attributes:
        fixed: receiving, ordering, beginning and committing one.
        row: a row that it inserts, changes or deletes.
        source: where they are from.
    """

    fixed: float = Field(gt=0)
    row: float = Field(ge=0)
    source: Source

    def of(self, rows: int) -> float:
        """Cost of a write set of ``rows`` rows."""
        return self.fixed + self.row * rows


class Profile(Model):
    """All of it.

    Attributes:
        profile: its name.
        service: what it describes.
        demands: where CPU demands are from: the machine's `calibration`, or this file (`here`).
        signature: CPU of one RS256 signature.
        password_hash: CPU of one password check; None: what a password request costs beyond its
            statements, priced as in an access-token request.
        db_weights: how the database's CPU is shared out over statements; evenly when not given.
        token_row: bytes of a row of access_token in its clustered index.
        apply_weights: how the cost of applying follows the write set; all cost the same when not given.
        requests: by kind; a kind that is missing cannot be asked for.
        refresh: the refresh grant, by the client's settings.
        jobs: background jobs by name. The topology sets the period of `clean-up` and of `notifications`
            (`token_cleanup_period` and `notification_task_delay` of the identity service).
        unsupported: requests that are known and cannot be simulated, with the reason.
    """

    profile: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: int = Field(1, ge=1)
    service: str
    demands: Literal["calibration", "here"]
    signature: Duration = Field(gt=0)
    password_hash: Duration | None = None
    token_row: int = Field(900, ge=100, le=8000)
    db_weights: Weights | None = None
    apply_weights: ApplyWeights | None = None
    requests: dict[Request, RequestProfile]
    refresh: RefreshProfiles
    costs: Costs | None = None
    pools: Pools
    jobs: dict[str, Job] = Field(default_factory=dict)
    unsupported: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Profile:
        wrong = [
            Misfit(("requests", "refresh"), "refresh stands by its settings", "`refresh:` with four variants")
            for kind in self.requests
            if kind == "refresh"
        ]
        wrong += [
            Misfit(("requests",), f"the request {kind!r} is missing", f"`{kind}: ...`")
            for kind in ("access-token", "health")
            if kind not in self.requests
        ]
        if self.apply_weights is not None:
            wrong += [
                Misfit((*path, "steps"), "`apply_weights` need the rows of every commit", "`rows: ...`")
                for path, request in self._all()
                if request.writes and not request.write_rows
            ]
        if self.demands == "here":
            for path, request in self._all():
                wrong += [
                    Misfit((*path, name), "demands are `here`, and this one is missing", f"`{name}: ...`")
                    for name in ("app_cpu", "db_cpu", "wait")
                    if getattr(request, name) is None
                ]
        if wrong:
            raise MisfitError(wrong)
        return self

    def _all(self) -> list[tuple[tuple[str, ...], RequestProfile]]:
        found: list[tuple[tuple[str, ...], RequestProfile]] = [
            (("requests", kind), request) for kind, request in self.requests.items()
        ]
        found += [(("refresh", name), getattr(self.refresh, name)) for name in RefreshProfiles.model_fields]
        return found

    def request(self, kind: Request, *, reuse: bool = True, clear: bool = True) -> RequestProfile | None:
        """What ``kind`` does under the client's refresh settings; None when the profile does not know it."""
        if kind != "refresh":
            return self.requests.get(kind)
        name = f"{'reuse' if reuse else 'rotate'}{'_clear' if clear else ''}"
        found: RequestProfile = getattr(self.refresh, name)
        return found

    def calibrated(self, calibration: Calibration, topology: Topology | None = None) -> Calibration:
        """``calibration`` as this profile has it: with its steps, and with the demands and costs it brings.

        Args:
            calibration: of the machine.
            topology: whose identity service says how its clients refresh; reused and cleared without it.
        """
        from sim.calibration import Demand
        from topologies.model import IndigoIam

        if self == load():
            return calibration  # that is what a calibration describes by itself
        if self.demands == "calibration":
            requests = calibration.requests
        else:
            services = topology.services.values() if topology is not None else ()
            iam = next((s for s in services if isinstance(s, IndigoIam)), None)
            reuse = iam is None or iam.reuse_refresh_token
            clear = iam is None or iam.clears_access_tokens
            requests = dict(calibration.requests)
            kinds: tuple[Request, ...] = (*self.requests, "refresh")
            for kind in kinds:
                found = self.request(kind, reuse=reuse, clear=clear)
                assert found is not None and found.app_cpu and found.db_cpu and found.wait
                requests[kind] = Demand(
                    app_cpu=found.app_cpu.estimate, db_cpu=found.db_cpu.estimate, wait=found.wait.estimate
                )
        update: dict[str, Any] = {"requests": requests, "profile": self}
        if self.demands != "calibration":
            update["refill"] = None  # its demands were measured under load, refills included
        for name in ("statement_rtt", "local_commit", "apply_cpu"):
            cost: Cost | None = getattr(self.costs, name) if self.costs is not None else None
            if cost is not None:
                update[name] = cost.estimate
        return calibration.model_copy(update=update)

    def refuse(self, kind: str) -> str:
        """Why ``kind`` cannot be predicted with this profile, empty when it can."""
        if kind == "refresh" or kind in self.requests:
            return ""
        reason = self.unsupported.get(kind, "")
        if reason:
            return f"the service profile {self.profile} cannot simulate {kind}: {reason}"
        return f"the service profile {self.profile} has no request {kind}"

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def library() -> dict[str, Path]:
    """The profiles that come with the product: name -> file."""
    return {path.stem: path for path in sorted(ROOM.glob("*.yaml"))}


def load(reference: str | Path = DEFAULT) -> Profile:
    """Read a profile: a library name or a file.

    Raises:
        InputError: there is none such, or it is wrong, with file, line and what to write instead.
    """
    text = str(reference)
    path = Path(text)
    looks_like_path = path.suffix in {".yaml", ".yml"} or len(path.parts) > 1
    if looks_like_path and is_there(path, anything=True):
        return read(path).validate(Profile)
    names = library()
    if text in names:
        return _from_library(text)
    near = nearest(path.stem, names)
    hint = f"did you mean {near!r}? " if near else ""
    raise InputError(
        f"there is no service profile {text!r}",
        file="--profile",
        expected="a path or a library name",
        hint=f"{hint}the library has {', '.join(names)}",
    )


@cache
def _from_library(name: str) -> Profile:
    return read(library()[name]).validate(Profile)

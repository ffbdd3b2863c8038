"""The steps of a request in a service profile (:mod:`sim.profile`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from topologies.base import Model
from topologies.errors import Misfit, MisfitError
from topologies.quantities import Duration

Count = Annotated[int, Field(ge=0, le=100_000)]


class Statements(Model):
    """Statements one after the other, each one round trip to the database.

    Attributes:
        statements: all of them.
        framing: of these, SET autocommit, COMMIT and SELECT LAST_INSERT_ID().
        dml: of these, INSERT, UPDATE and DELETE. The rest are SELECTs.
        app_extra: CPU of the service beyond that of as many ordinary statements.
        db_extra: the same of the database.
    """

    statements: Count
    framing: Count = 0
    dml: Count = 0
    app_extra: Duration = Field(0.0, ge=0)
    db_extra: Duration = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.framing + self.dml > self.statements:
            raise MisfitError([Misfit(("statements",), "fewer than framing and dml together", "more")])
        return self


class Read(Statements):
    """Statements outside the write transaction; the framing of read transactions is among them."""

    do: Literal["read"]


class Hash(Model):
    """A password is checked (BCrypt). The reads around it commit by themselves, so no connection is held."""

    do: Literal["hash"]


class Check(Model):
    """A token is read by its value: a member that does not have it yet refuses it."""

    do: Literal["check"]
    token: Literal["access", "refresh"]


class Begin(Model):
    """A connection is taken and the write transaction opened."""

    do: Literal["begin"]


class Work(Statements):
    """Statements of the write transaction.

    Attributes:
        signatures: tokens signed meanwhile.
    """

    do: Literal["work"]
    signatures: Count = 0


class Lock(Model):
    """A lock on `token_scope`, held until the end of the transaction.

    Attributes:
        mode: `insert` (a new row) or `scan` (all rows and the end of the index: what the
            clear-access-tokens delete takes at REPEATABLE READ).
    """

    do: Literal["lock"]
    mode: Literal["insert", "scan"]


class Commit(Model):
    """The transaction ends.

    Attributes:
        bytes: write set.
        keys: certification keys in it.
        rows: rows that it inserts, changes or deletes: what applying it elsewhere costs depends on them
            when the profile has `apply_weights`.
    """

    do: Literal["commit"]
    bytes: Count
    keys: Count
    rows: Count = 0


Step = Annotated[Read | Hash | Check | Begin | Work | Lock | Commit, Field(discriminator="do")]

"""System scopes and scope policies."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.iam.connection import Statements

COLUMNS = "scope, id, description, icon, restricted, default_scope, structured, structured_param_description"
BY_VALUE = f"SELECT {COLUMNS} FROM system_scope WHERE scope = %s"
ALL = f"SELECT {COLUMNS} FROM system_scope"
DEFAULT_POLICIES = (
    "SELECT rule, id, creation_time, description, last_update_time, matching_policy, account_id, group_id"
    " FROM iam_scope_policy WHERE account_id IS NULL AND group_id IS NULL"
)


def resolve(db: Statements, scopes: Iterable[str]) -> None:
    """Turn requested values into system scopes: 2 SELECTs each (a lazy view, sized and then iterated)."""
    for scope in scopes:
        db.select(BY_VALUE, scope, columns=1)
        db.select(BY_VALUE, scope, columns=1)


def load_all(db: Statements) -> None:
    """Read the whole table: 1 SELECT, repeated by its callers once per client scope."""
    db.select(ALL, columns=1)


def default_policy_permits(db: Statements) -> bool:
    """Whether the policies that bind everyone permit by default: 1 SELECT."""
    return all(row[0] != b"DENY" for row in db.select(DEFAULT_POLICIES, columns=1))

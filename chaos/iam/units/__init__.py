"""Named groups of SQL statements: what INDIGO IAM's ORM does for one load or one save.

Every flow is a sequence of these units, so the cost of a request can be read off its source and
checked against the general log (tests/chaos/test_chaos_iam_counts.py). Entities are loaded whole
and eagerly, one SELECT per collection, because that is what EclipseLink does here (facts/iam.md 1).
"""

"""Hashes of ledger rows that run directories remember, independently of the ledger."""

from __future__ import annotations

from faultline.home import Home, RunDirectory
from topologies.errors import InputError


def witnesses(home: Home) -> list[tuple[int, str]]:
    """(n, hash) of every row that a run of ``home`` noted when it wrote it.

    A record that cannot be read is no witness, and no reason to fail either: the chain itself and
    the other records are.
    """
    found: list[tuple[int, str]] = []
    for run_id in home.run_ids():
        try:
            record = RunDirectory(home.runs / run_id).read_json("record")
            found += [(int(row["n"]), str(row["hash"])) for row in record.get("ledger", {}).values()]
        except (InputError, KeyError, TypeError, ValueError):
            continue
    return found

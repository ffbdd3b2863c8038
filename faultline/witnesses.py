"""What run directories and the ledger remember of each other: hashes of rows, hashes of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from faultline.home import Home, RunDirectory
from faultline.ledger import LedgerError, Problem, Row
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


def altered_documents(home: Home, rows: Iterable[Row]) -> Iterator[Problem]:
    """Documents of ``home`` that are not what the row which registered them says.

    A run directory that is gone is nobody's fault: people clean up. The ledger needs none of them.
    """
    for row in rows:
        if row.kind not in ("prediction", "measurement"):
            continue
        path = home.runs / row.run_id / f"{row.kind}.json"
        try:
            expected = row.content.get("document_sha256")
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except (LedgerError, OSError):
            continue  # a damaged row is the chain's finding, a missing file is none
        if found != expected:
            yield Problem(row.n, f"{path} was changed after this row registered it")

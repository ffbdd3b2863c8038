"""The file a load generator writes its samples to."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.load.plan import COLUMNS
from experiments.observation import outcome_of


class SamplesFile:
    """A CSV file with one row per request, readable while it grows.

    Rows are flushed line by line: a generator that is killed loses at most the row it was writing.
    """

    def __init__(self, path: str | Path, site: str) -> None:
        self._site = site
        self._file = Path(path).open("w", newline="", buffering=1)  # noqa: SIM115 (closed in __exit__)
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(
        self,
        *,
        start: float,
        latency: float,
        source: str,
        flow: str,
        request: str,
        status: int,
        failure: str = "",
        front_end: str = "",
        body: bytes = b"",
        request_id: str = "",
        lateness: float = 0.0,
    ) -> str:
        """Write one row and return its outcome.

        Args:
            start: seconds since the load started.
            failure: outcome of a request that got no HTTP status (`timeout` or `refused`).
            body: the response, read for the access token it carries.
        """
        outcome = outcome_of(status, conflict=is_conflict(body)) if status else failure or "other"
        token = ""
        if outcome == "ok" and request != "health":
            digest = token_digest(body)
            outcome, token = ("ok", digest) if digest else ("other", "")
        self._rows.writerow(
            (
                f"{start:.6f}",
                f"{latency:.6f}",
                source,
                self._site,
                flow,
                request,
                status,
                outcome,
                front_end,
                token,
                request_id,
                f"{lateness:.6f}",
            )
        )
        return outcome


def token_digest(body: bytes) -> str:
    """SHA-256 hex of the access token in a token response, empty when there is none.

    It is the value the service looks tokens up by (`access_token.token_value_hash`), so the audit
    can find a token on any member without keeping the token itself.
    """
    try:
        token = json.loads(body)["access_token"]
    except (ValueError, KeyError, TypeError):
        return ""
    return hashlib.sha256(str(token).encode()).hexdigest()


def is_conflict(body: bytes) -> bool:
    """Whether an error response says that a write conflict was its cause.

    The identity service begins `error_description` with it (`chaos.iam.errors.DatabaseError.kind`).
    """
    try:
        return str(json.loads(body)["error_description"]).startswith("conflict:")
    except (ValueError, KeyError, TypeError):
        return False

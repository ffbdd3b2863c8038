"""Where results live: the home directory, run directories and the `latest` link."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from topologies.errors import InputError
from topologies.loader import is_there

ENVIRONMENT = "FAULTLINE_HOME"
SCHEMA_VERSION = 1
"""Version of every JSON file of a run directory, written as `schema: faultline/<file>/<version>`."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old or the new content, never a part.

    Raises:
        OSError: the disk is full or not writable; ``path`` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run; files appear in it as the run proceeds.

    Attributes:
        path: the directory, whose name is the run's id.
    """

    path: Path

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        """Write ``content`` as `<name>.json` with its schema; equal content gives equal bytes."""
        document = {"schema": f"faultline/{name}/{SCHEMA_VERSION}", **content}
        text = json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n"
        return self.write_text(f"{name}.json", text)

    def write_text(self, name: str, text: str) -> Path:
        """Write the file ``name`` at once or not at all.

        What is not text (a file's name need not be) is escaped.
        """
        write_atomically(self.path / name, text.encode("utf-8", "backslashreplace"))
        return self.path / name

    def read_json(self, name: str) -> dict[str, Any]:
        """Read `<name>.json`.

        Raises:
            InputError: it is missing, is not JSON, or has a schema this version cannot read.
        """
        path = self.path / f"{name}.json"
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; the run ended before it was written (stage reached: {self._stage()})"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None
        expected = f"faultline/{name}/{SCHEMA_VERSION}"
        if not isinstance(content, dict) or content.get("schema") != expected:
            found = content.get("schema") if isinstance(content, dict) else None
            raise InputError(
                f"{path}: schema is {found!r}, expected {expected!r}: written by another version"
            )
        return content

    def has(self, name: str) -> bool:
        """Whether the file ``name`` has been written."""
        return (self.path / name).is_file()

    def _stage(self) -> str:
        try:
            return str(json.loads((self.path / "record.json").read_text())["stage"])
        except (OSError, ValueError, KeyError, TypeError):
            return "unknown"


@dataclass(frozen=True)
class Home:
    """The home directory: `$FAULTLINE_HOME`, else `.faultline` in the working directory."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """The home of this process; it need not exist yet."""
        return cls(Path(os.environ.get(ENVIRONMENT) or ".faultline"))

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger.sqlite"

    @property
    def runs(self) -> Path:
        """The directory of all run directories."""
        return self.root / "runs"

    @property
    def latest(self) -> Path:
        """The link to the newest run."""
        return self.root / "latest"

    @property
    def calibration(self) -> Path:
        """The calibration measured on this machine, if there is one."""
        return self.root / "calibration.json"

    @property
    def sweeps(self) -> Path:
        """The journal of all sweeps."""
        return self.root / "sweeps.sqlite"

    def create(self) -> Home:
        """Make the directories.

        Raises:
            InputError: they cannot be made.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        return self

    def _unusable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.root}: cannot be used as home directory: {error.strerror}; "
            f"set {ENVIRONMENT} to a directory you can write to"
        )

    def new_run(self, title: str, now: datetime | None = None) -> RunDirectory:
        """Create a run directory whose id sorts by time, and point `latest` at it.

        Raises:
            InputError: the home cannot be written to.
            OSError: the disk is full.
        """
        self.create()
        stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        word = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:32].strip("-") or "run"
        while True:
            path = self.runs / f"{stamp}-{word}-{secrets.token_hex(2)}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
                    raise self._unusable(error) from None
                raise
            break
        link = self.root / f".latest.{os.getpid()}.{secrets.token_hex(3)}"
        try:
            link.symlink_to(Path("runs") / path.name)
            link.replace(self.latest)
        except OSError:  # a file system without links, or `latest` is a directory: the id is enough
            link.unlink(missing_ok=True)
        return RunDirectory(path)

    def run_ids(self) -> list[str]:
        """Ids of all runs, oldest first."""
        if not self.runs.is_dir():
            return []
        return sorted(path.name for path in self.runs.iterdir() if path.is_dir())

    def open_run(self, reference: str = "latest") -> RunDirectory:
        """Find a run by id, by the beginning of an id, by path, or as `latest`.

        Raises:
            InputError: there is no such run, or several begin like this.
        """
        if reference == "latest":
            ids = self.run_ids()
            if self.latest.is_dir():
                return RunDirectory(self.latest.resolve())
            if ids:
                return RunDirectory(self.runs / ids[-1])
            raise InputError(f"{self.runs}: there is no run yet; `faultline run <experiment>` makes one")
        direct = Path(reference)
        if (
            is_there(direct, anything=True)
            and direct.is_dir()
            and ((direct / "record.json").is_file() or (direct / "prediction.json").is_file())
        ):
            return RunDirectory(direct.resolve())
        found = [name for name in self.run_ids() if name.startswith(reference)] if reference else []
        if reference in found:
            found = [reference]
        if len(found) == 1:
            return RunDirectory(self.runs / found[0])
        if found:
            raise InputError(f"{reference!r} is ambiguous: {', '.join(found[:5])}; write more of the id")
        known = ", ".join(self.run_ids()[-3:]) or "none yet"
        raise InputError(f"{reference!r} is neither a run nor a run directory; the last runs are: {known}")

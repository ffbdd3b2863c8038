"""The data directory of a database server at its first start.

Every member makes the same one for itself: tables, clients and users of the identity service
depend on the topology only, and are written before replication begins. So members that start for
the first time agree already, and nobody has to copy data over the wide-area network.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 300.0
"""Seconds for one step: a pod may have a small part of a core."""


class InstallError(Exception):
    """The data directory cannot be made; the message holds the end of the log."""


def install(home: Path, settings: Mapping[str, Any]) -> bool:
    """Make `data` below ``home`` unless it is there; return whether it was made.

    It appears under its name complete or not at all: a pod that was killed over it begins anew.

    Args:
        home: the server's directory, on its volume.
        settings: `options`: daemon options that shape the data files; `database`: name of the schema;
            `seed`: keywords of `chaos.iam.schema.Seed`, or null for none; `accounts`: path of an SQL
            script that makes the accounts; `files`: name -> content of what else lies in the directory.

    Raises:
        InstallError: a step fails.
    """
    data = home / "data"
    if data.exists():
        return False
    draft = home / "data.new"
    if draft.exists():
        shutil.rmtree(draft)
    options = [str(one) for one in settings["options"]]
    _run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={draft}",
            # root without a password, but only through the socket file on the pod's own volume.
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *options,
        ]
    )
    server = ["mariadbd", "--no-defaults", "--bootstrap", f"--datadir={draft}", *options]
    _run(server, script(settings))
    (draft / "ib_buffer_pool").unlink(missing_ok=True)
    for name, text in settings["files"].items():
        (draft / name).write_text(text)
    draft.rename(data)
    return True


def script(settings: Mapping[str, Any]) -> str:
    """Everything that a server executes once, before it is first reachable."""
    parts = ["FLUSH PRIVILEGES;\n"]  # the server runs without its account tables until then
    if settings["seed"] is not None:
        from chaos.iam import schema

        parts.append(schema.script(schema.Seed(**settings["seed"]), settings["database"]))
    parts.append(Path(settings["accounts"]).read_text())
    return "".join(parts)


def _run(command: Sequence[str], text: str = "") -> None:
    try:
        done = subprocess.run(
            command,
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{command[0]}: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-10:])
        raise InstallError(f"{command[0]} failed with {done.returncode}\n{tail}")

"""The data directory of a database server at its first start.

Every member makes the same one for itself: tables, clients and users of the identity service
depend on the topology only, and are written before replication begins. So members that start for
the first time agree already, and nobody has to copy data over the wide-area network.

A Galera member has to have its position inside of its data files, or it cannot even receive what it has
missed: its server runs once as a cluster of one, whose first and only change is the cluster's founding.
"""

from __future__ import annotations

import shutil
import socket as socketlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.kube.entry import galera
from chaos.kube.entry.health import Health

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
            script that makes the accounts; `galera`: null, or `provider` (path), `state` (`grastate.dat` to
            begin with) and `view` (`gvwstate.dat`; empty for a member that is in none).

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
    if settings["galera"] is not None:
        _enter_history(draft, home / "i", options, settings["galera"])
    draft.rename(data)
    return True


def _enter_history(data: Path, socket: Path, options: Sequence[str], member: Mapping[str, str]) -> None:
    """Found a cluster of one and leave it in order; what remains is the position in the data files."""
    state = data / "grastate.dat"
    state.write_text(galera.with_permission(member["state"], True))
    log = data / "founding.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                f"--datadir={data}",
                f"--socket={socket}",
                f"--pid-file={data / 'pid'}",
                "--skip-networking",
                "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2",
                "--wsrep-on=ON",
                f"--wsrep-provider={member['provider']}",
                "--wsrep-cluster-address=gcomm://",
                "--wsrep-new-cluster",
                "--wsrep-node-address=127.0.0.1",
                # Nobody is to find this cluster: not on the address where the member listens later.
                f"--wsrep-provider-options=gcache.size=1M;gmcast.listen_addr=tcp://127.0.0.1:{_free_port()}",
                *options,
            ],
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        health = Health(socket, clustered=True)
        health.looking = None
        while not health.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise InstallError(
                    f"the server does not found its cluster\n{_tail(log.read_text('utf-8', 'replace'))}"
                )
            time.sleep(0.05)
        process.terminate()
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise InstallError("the server does not end") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    state.write_text(galera.with_permission(state.read_text(), False))
    for name in ("galera.cache", "gvwstate.dat", "founding.log", "ib_buffer_pool"):
        (data / name).unlink(missing_ok=True)
    if member["view"]:
        (data / "gvwstate.dat").write_text(member["view"])


def _free_port() -> int:
    with socketlib.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


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
        raise InstallError(f"{command[0]} failed with {done.returncode}\n{_tail(done.stdout)}")


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-10:])

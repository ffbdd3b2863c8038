"""A replica with a database of its own: for tests, for profiling, for trying the service out.

Everything lives in one temporary directory and on 127.0.0.1; nothing of the system's services is
touched. `python -m chaos.iam.sandbox` starts one and prints how to talk to it.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from chaos.errors import LabError, MissingCapability
from chaos.iam import schema

ACCOUNT = "iam"
PATIENCE = 30.0
"""Seconds a daemon gets to answer."""


def free_port() -> int:
    """A TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for ``process`` to become ready.

    Raises:
        LabError: it ended or took too long; the message holds the end of its log.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""
    raise LabError(f"{process.args!r} did not come up\n{tail}")


@dataclass
class DatabaseSandbox:
    """A throwaway mariadbd, seeded.

    Attributes:
        directory: holds its data, socket and log.
        port: on 127.0.0.1.
        process: the daemon.
    """

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        """The administrator's Unix socket."""
        return self.directory / "mariadb.sock"

    def admin(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """An administrator's connection in autocommit mode."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", database="iam", autocommit=True)


@contextmanager
def database(seed: schema.Seed, *options: str) -> Iterator[DatabaseSandbox]:
    """Run a seeded mariadbd for the time of the block.

    Args:
        seed: what to put into it.
        options: further daemon options.

    Raises:
        MissingCapability: MariaDB is not installed.
        LabError: it did not start.
    """
    for program in ("mariadb-install-db", "mariadbd"):
        if shutil.which(program) is None:
            raise MissingCapability(f"{program} is missing; install it with: apt install mariadb-server")
    directory = Path(tempfile.mkdtemp(prefix="fl-iam-"))
    user = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("mysql")
        os.chown(directory, account.pw_uid, account.pw_gid)
        user = ["--user=mysql"]
    log = directory / "mariadbd.log"
    sandbox: DatabaseSandbox | None = None
    try:
        data = directory / "data"
        install = ["--auth-root-authentication-method=normal", "--skip-test-db", f"--datadir={data}"]
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *user, *install], check=True, capture_output=True
        )
        port = free_port()
        process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                *user,
                f"--datadir={data}",
                f"--socket={directory / 'mariadb.sock'}",
                f"--pid-file={directory / 'pid'}",
                f"--log-error={log}",
                "--bind-address=127.0.0.1",
                f"--port={port}",
                "--character-set-server=latin1",
                "--innodb-buffer-pool-size=64M",
                "--max-connections=300",
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sandbox = DatabaseSandbox(directory, port, process)
        wait_until(sandbox.socket.exists, process, log)
        schema.apply(schema.script(seed, user=ACCOUNT, password=ACCOUNT), str(sandbox.socket))
        yield sandbox
    finally:
        if sandbox is not None:
            stop(sandbox.process)  # not `process`: a test may have restarted the daemon
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class ReplicaSandbox:
    """A running replica.

    Attributes:
        url: its base address.
        process: the gunicorn master.
        log: its standard output.
        config: what it was started with.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    config: dict[str, Any] = field(default_factory=dict)


@contextmanager
def replica(directory: Path, database_port: int, **settings: Any) -> Iterator[ReplicaSandbox]:
    """Run one replica for the time of the block.

    Args:
        directory: for its configuration, key and log.
        database_port: of its database on 127.0.0.1.
        settings: further keys of the configuration.

    Raises:
        LabError: it did not start.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    config: dict[str, Any] = {
        "listen": f"127.0.0.1:{port}",
        "issuer": url,
        "database": {"host": "127.0.0.1", "port": database_port, "user": ACCOUNT, "password": ACCOUNT},
        **settings,
    }
    path = directory / f"iam-{port}.json"
    log = directory / f"iam-{port}.log"
    path.write_text(json.dumps(config))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "chaos.iam", "--config", str(path)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: answers(f"{url}jwk"), process, log)
        yield ReplicaSandbox(url, process, log, config)
    finally:
        stop(process)


def answers(url: str) -> bool:
    """Whether ``url`` gives a response, whatever its status."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon we started: politely, then not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Run a sandbox until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.iam.sandbox", description="The identity service to play with."
    )
    parser.add_argument("--users", type=int, default=20)
    arguments = parser.parse_args()
    try:
        with database(schema.Seed(users=arguments.users)) as db, replica(db.directory, db.port) as iam:
            client = schema.LOADTEST
            print(
                f"curl -u {client.client_id}:{client.secret} -d grant_type=client_credentials {iam.url}token"
            )
            print(
                f"Users test1 ... test{arguments.users}, password {schema.PASSWORD}. Ctrl-C ends it.",
                flush=True,
            )
            iam.process.wait()
    except KeyboardInterrupt:
        return 130
    except LabError as error:
        print(error, file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())

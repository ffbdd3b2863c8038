"""The data directory every database server starts from: made once, then copied.

Made with `mariadb-install-db`, started once as a Galera cluster of one so that InnoDB holds a real
`uuid:seqno`, filled with schema and seed, and stopped cleanly. Copies of it agree on their
position, so members that start from them need no state transfer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pymysql

from chaos.errors import LabError
from chaos.host.commands import run
from chaos.services import galera, mariadb
from chaos.services.daemon import Daemon

FORMAT = "1"
"""Changes when the way templates are made changes, so that old ones are not used."""

KEPT = 3
"""Templates to keep; older ones are removed."""

_DROPPED = ("galera.cache", "gvwstate.dat", "grastate.dat", "error.log", "multi-master.info")


@dataclass(frozen=True)
class Template:
    """A data directory to copy.

    Attributes:
        data: the directory.
        uuid, seqno: the position its InnoDB files are at.
        digest: names everything it was made from.
    """

    data: Path
    uuid: str
    seqno: int
    digest: str

    def install(self, daemon: Daemon, members: int, number: int) -> None:
        """Give a server of ``daemon`` its own copy; what it had is replaced.

        Args:
            members: Galera members altogether; 0 for a server without Galera.
            number: of this member, from 1.
        """
        target = daemon.home / "data"
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A copy of its own for each: a hard link would let one server write into another's data.
        run(["cp", "-a", "--reflink=auto", "--sparse=auto", str(self.data), str(target)], timeout=120)
        if members:
            for name, text in (
                ("grastate.dat", galera.saved_state(self.uuid, self.seqno)),
                ("gvwstate.dat", galera.saved_view(number, members)),
            ):
                (target / name).write_text(text)
                shutil.chown(target / name, mariadb.USER, mariadb.USER)


def versions() -> str:
    """Versions of the server and the Galera provider, for the template's name.

    Raises:
        MissingCapability: the server is not installed.
        LabError: the provider is missing.
    """
    mariadb.check_provider(galera.PROVIDER)
    server = run(["mariadbd", "--version"]).stdout.strip()
    provider = galera.PROVIDER.stat()
    return f"{server} / {provider.st_size} {provider.st_mtime_ns}"


def ensure(statements: Sequence[str], cache: Path) -> Template:
    """The template with ``statements`` run in it, from the cache or made now (about a second).

    Args:
        statements: SQL scripts, run in order by the administrator.
        cache: directory to keep templates in.

    Raises:
        MissingCapability: MariaDB or Galera is not installed.
        LabError: the template cannot be made.
    """
    wanted = hashlib.sha256("\0".join([FORMAT, versions(), *statements]).encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "template.lock"):
        final = cache / f"mariadb-{wanted}"
        if not (final / "position").exists():
            _make(final, statements)
            _forget_old(cache, keep=final)
        os.utime(final)
        uuid, _, seqno = (final / "position").read_text().strip().rpartition(":")
        return Template(final / "data", uuid, int(seqno), wanted)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(final: Path, statements: Sequence[str]) -> None:
    """Make the template next to its place and move it there as a whole."""
    work = Path(tempfile.mkdtemp(prefix="making-", dir=final.parent))
    try:
        work.chmod(0o755)
        shutil.chown(work, mariadb.USER, mariadb.USER)
        data = work / "data"
        run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--user={mariadb.USER}",
                f"--datadir={data}",
                f"--innodb-log-file-size={mariadb.INNODB_LOG_SIZE}",
                # root without a password, but only through a socket file in root's own directory.
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            timeout=120,
        )
        _fill(work, data, statements)
        position = _position(data / "grastate.dat")
        for name in _DROPPED:
            (data / name).unlink(missing_ok=True)
        (work / "position").write_text(position + "\n")
        if final.exists():  # one that was left unfinished
            shutil.rmtree(final)
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _fill(work: Path, data: Path, statements: Sequence[str]) -> None:
    log = data / "error.log"
    path = work / "s"
    server = subprocess.Popen(
        [
            shutil.which("mariadbd", path=os.environ.get("PATH", "") + ":/usr/sbin") or "mariadbd",
            "--no-defaults",
            f"--user={mariadb.USER}",
            f"--datadir={data}",
            f"--socket={path}",
            f"--pid-file={work / 'pid'}",
            f"--log-error={log}",
            "--skip-networking",
            "--character-set-server=latin1",
            f"--innodb-log-file-size={mariadb.INNODB_LOG_SIZE}",
            "--innodb-autoinc-lock-mode=2",
            "--binlog-format=ROW",
            "--open-files-limit=1024",
            "--wsrep-on=ON",
            f"--wsrep-provider={galera.PROVIDER}",
            f"--wsrep-cluster-name={galera.CLUSTER}",
            "--wsrep-cluster-address=gcomm://",
            "--wsrep-node-address=127.0.0.1",
            f"--wsrep-provider-options=gcache.size=16M;gmcast.listen_addr=tcp://127.0.0.1:{_free_port()}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        connection = _connect(path, server, log)
        try:
            _run_all(connection, statements)
            connection.cursor().execute("SHUTDOWN")
        finally:
            connection.close()
        server.wait(timeout=60)
    except (pymysql.err.MySQLError, subprocess.TimeoutExpired) as error:
        raise LabError(f"cannot make the database template: {error}") from error
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _run_all(connection: pymysql.Connection, statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for script in statements:
            cursor.execute(script)
            while cursor.nextset():
                pass
        cursor.execute(
            f"GRANT REPLICATION SLAVE ON *.* TO {mariadb.REPLICATION_USER}@'%%' IDENTIFIED BY %s",
            (mariadb.REPLICATION_PASSWORD,),
        )


def _connect(path: Path, server: subprocess.Popen[bytes], log: Path) -> pymysql.Connection:
    """A connection to the server once it takes statements: it listens before it is ready for them."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(pymysql.err.OperationalError):
            connection = pymysql.connect(
                unix_socket=str(path),
                user="root",
                charset="latin1",
                autocommit=True,
                client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
            )
            if _is_ready(connection):
                return connection
            connection.close()
        if server.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            raise LabError(
                f"MariaDB did not start for the database template: {last[-1] if last else 'no log'}"
            )
        time.sleep(0.05)


def _is_ready(connection: pymysql.Connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")
        row = cursor.fetchone()
    return row is not None and row[1] == "ON"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _position(state: Path) -> str:
    text = state.read_text()
    uuid = re.search(r"^uuid:\s*(\S+)", text, re.MULTILINE)
    seqno = re.search(r"^seqno:\s*(-?\d+)", text, re.MULTILINE)
    if uuid is None or seqno is None or int(seqno[1]) < 0:
        raise LabError("the database template was not stopped cleanly")
    return f"{uuid[1]}:{seqno[1]}"


def _forget_old(cache: Path, keep: Path) -> None:
    old = sorted(
        (path for path in cache.glob("mariadb-*") if path != keep), key=lambda path: path.stat().st_mtime
    )
    for path in old[: max(0, len(old) - (KEPT - 1))]:
        shutil.rmtree(path, ignore_errors=True)
    for path in cache.glob("making-*"):  # of makers that were killed: we hold the lock, so nobody uses them
        shutil.rmtree(path, ignore_errors=True)

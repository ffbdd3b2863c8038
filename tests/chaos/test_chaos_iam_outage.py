"""Locks, lost databases and lost session stores: what a client sees, and how the replica recovers."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import requests

from chaos.iam.sandbox import DatabaseSandbox, ReplicaSandbox, database, free_port, replica, stop
from chaos.iam.schema import PASSWORD, Seed
from chaos.iam.units import access_token as access_tokens
from chaos.iam.units.client import BY_CLIENT_ID

pytestmark = pytest.mark.lab

AUTH = ("loadtest", "loadtest-secret")
CLIENT_CREDENTIALS = {"grant_type": "client_credentials", "scope": "scim:read"}


@pytest.fixture(scope="module")
def db() -> Iterator[DatabaseSandbox]:
    """A database whose lock waits end after 2 s."""
    with database(Seed(users=3, bcrypt_cost=4), "--innodb-lock-wait-timeout=2") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def iam(db: DatabaseSandbox) -> Iterator[ReplicaSandbox]:
    """A replica on the shared database."""
    with replica(db.directory, db.port, bcrypt_cost=4) as sandbox:
        token(sandbox)
        yield sandbox


def token(iam: ReplicaSandbox, client: str = "loadtest", **form: str) -> requests.Response:
    """Ask for a token."""
    auth = (client, f"{client}-secret")
    return requests.post(iam.url + "token", data=form or CLIENT_CREDENTIALS, auth=auth, timeout=60)


class TestLocks:
    """Conflicts inside one server (facts/iam.md 2.1)."""

    def test_issuance_waits_for_an_open_refresh(self, db: DatabaseSandbox, iam: ReplicaSandbox) -> None:
        """T1': a clear, even of a token without access tokens, blocks every issuance until its commit."""
        with db.admin() as other, ThreadPoolExecutor(1) as pool:
            other.autocommit(False)
            with other.cursor() as cursor:
                cursor.execute(access_tokens.CLEAR_SCOPES, (123456,))
            issued = pool.submit(token, iam)
            time.sleep(0.7)
            assert not issued.done()
            other.rollback()
            answer = issued.result()
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() > 0.6

    def test_read_committed_does_not_wait(self, db: DatabaseSandbox, iam: ReplicaSandbox) -> None:
        """The same under READ COMMITTED: no gap locks, so no wait."""
        with db.admin() as other:
            with other.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute("START TRANSACTION")
                cursor.execute(access_tokens.CLEAR_SCOPES, (123456,))
            assert token(iam).elapsed.total_seconds() < 0.6
            other.rollback()

    def test_lock_wait_timeout_is_a_server_error(self, db: DatabaseSandbox, iam: ReplicaSandbox) -> None:
        """1205 reaches the client as 500 `server_error`, nothing is retried, and nothing was written."""
        with db.admin() as other, db.admin() as reader, reader.cursor() as rows:
            rows.execute("SELECT COUNT(*) FROM authentication_holder")
            before = rows.fetchone()
            other.autocommit(False)
            with other.cursor() as cursor:
                cursor.execute(access_tokens.CLEAR_SCOPES, (123456,))
            answer = token(iam)
            other.rollback()
            rows.execute("SELECT COUNT(*) FROM authentication_holder")
            assert rows.fetchone() == before
        assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
        assert answer.json()["error_description"].startswith("conflict: (1205")
        assert 1.9 < answer.elapsed.total_seconds() < 3.5
        assert token(iam).status_code == 200

    def test_client_update_blocks_its_issuances(self, db: DatabaseSandbox, iam: ReplicaSandbox) -> None:
        """T4: an issuance needs the client's row as parent key, and only that client's."""
        with db.admin() as other, ThreadPoolExecutor(1) as pool:
            other.autocommit(False)
            with other.cursor() as cursor:
                cursor.execute(
                    "UPDATE client_details SET client_name = 'edited' WHERE client_id = 'loadtest'"
                )
            blocked = pool.submit(token, iam)
            form = {"grant_type": "client_credentials", "scope": "scim:read"}
            assert token(iam, "plain", **form).elapsed.total_seconds() < 0.6
            assert not blocked.done()
            other.rollback()
            assert blocked.result().status_code == 200

    def test_issuances_of_one_client_do_not_wait_for_each_other(
        self, db: DatabaseSandbox, iam: ReplicaSandbox
    ) -> None:
        """T2: fresh rows and shared parent keys only; 24 requests of one client at once all succeed."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: token(iam), range(24)))
        assert {answer.status_code for answer in answers} == {200}

    def test_reads_take_no_locks(self, db: DatabaseSandbox) -> None:
        """A client load in an open transaction does not hinder an update of that client."""
        with db.admin() as reader, db.admin() as writer:
            reader.autocommit(False)
            with reader.cursor() as cursor, writer.cursor() as update:
                cursor.execute(BY_CLIENT_ID, ("loadtest",))
                update.execute("UPDATE client_details SET client_name = 'x' WHERE client_id = 'loadtest'")
            reader.rollback()


class TestDatabaseLost:
    """The database stops answering."""

    def test_outage_and_recovery(self) -> None:
        """Health 503 and tokens 500 after the pool's patience; all well again once the database is back."""
        with (
            database(Seed(users=1, bcrypt_cost=4)) as db,
            replica(db.directory, db.port, bcrypt_cost=4, pool_timeout=1.0) as iam,
        ):
            assert requests.get(iam.url + "actuator/health", timeout=30).status_code == 200
            assert token(iam).status_code == 200
            command = db.process.args
            stop(db.process)
            health = requests.get(iam.url + "actuator/health", timeout=30)
            assert (health.status_code, health.json()) == (503, {"status": "DOWN"})
            refused = token(iam)
            assert (refused.status_code, refused.json()["error"]) == (500, "server_error")
            assert refused.json()["error_description"].startswith("unavailable: (2003")
            # The pool's patience, not an endless wait and not an instant failure.
            assert 0.9 < refused.elapsed.total_seconds() < 3.0
            logged = iam.log.read_text()
            assert '"kind": "unavailable"' in logged
            assert "Traceback" not in logged

            db.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                # The pool's back-off has grown to at most its own timeout of 1 s here.
                deadline = time.monotonic() + 15
                while token(iam).status_code != 200 and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert token(iam).status_code == 200
                assert requests.get(iam.url + "actuator/health", timeout=30).status_code == 200
            finally:
                stop(db.process)


class TestProcess:
    """The replica as a daemon."""

    def test_sigterm_ends_it_cleanly(self, db: DatabaseSandbox) -> None:
        """Exit 0, soon, and nothing on standard output."""
        with replica(db.directory, db.port) as iam:
            token(iam)
            iam.process.send_signal(signal.SIGTERM)
            assert iam.process.wait(10) == 0
            assert iam.log.read_text() == ""

    def test_replicas_share_one_key(self, db: DatabaseSandbox) -> None:
        """Two replicas publish the same keys, and one accepts what the other issued."""
        with replica(db.directory, db.port) as one, replica(db.directory, db.port) as two:
            keys = [requests.get(iam.url + "jwk", timeout=30).json() for iam in (one, two)]
            assert keys[0] == keys[1]
            value = token(one).json()["access_token"]
            seen = requests.post(two.url + "introspect", data={"token": value}, auth=AUTH, timeout=30)
            assert seen.json()["active"] is True

    def test_identity_headers(self, db: DatabaseSandbox) -> None:
        """Responses say which replica answered."""
        with replica(db.directory, db.port, site="edi", instance="iam-2") as iam:
            answer = requests.get(iam.url + "actuator/health", timeout=30)
            assert (answer.headers["X-Iam-Site"], answer.headers["X-Iam-Instance"]) == ("edi", "iam-2")


@contextmanager
def redis_with_sentinel(directory: Path) -> Iterator[tuple[int, int, subprocess.Popen[bytes]]]:
    """One Redis and one Sentinel that watches it; yields both ports and the Redis process."""
    port, sentinel_port = free_port(), free_port()
    config = directory / "sentinel.conf"
    config.write_text(f"port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor sessions 127.0.0.1 {port} 1\n")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    plain = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(directory),
    ]
    primary = subprocess.Popen(plain, **quiet)  # type: ignore[call-overload]
    sentinel = subprocess.Popen(["redis-server", str(config), "--sentinel"], **quiet)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 10
        for one in (port, sentinel_port):
            client = redis.Redis(port=one)
            while time.monotonic() < deadline:
                try:
                    client.ping()
                    break
                except redis.RedisError:
                    time.sleep(0.05)
        yield port, sentinel_port, primary
    finally:
        stop(sentinel)
        stop(primary)


class TestSessions:
    """Only requests with a session cookie touch Redis (facts/iam.md section 5)."""

    def test_login_session_and_outage(self, db: DatabaseSandbox, tmp_path: Path) -> None:
        """Login writes a session and the login time; cookie requests read it; others never need Redis."""
        with redis_with_sentinel(tmp_path) as (port, sentinel_port, primary):
            sessions = {"sentinels": [["127.0.0.1", sentinel_port]], "master": "sessions", "timeout": 1.0}
            with replica(db.directory, db.port, bcrypt_cost=4, redis=sessions) as iam:
                browser = requests.Session()
                wrong = {"username": "test1", "password": "wrong"}
                assert browser.post(iam.url + "login", data=wrong, timeout=30).status_code == 401
                right = {"username": "test1", "password": PASSWORD}
                answer = browser.post(iam.url + "login", data=right, timeout=30)
                assert (answer.status_code, answer.json()) == (200, {"username": "test1"})
                with db.admin() as admin, admin.cursor() as cursor:
                    cursor.execute(
                        "SELECT last_login_time IS NOT NULL FROM iam_account WHERE username = 'test1'"
                    )
                    assert cursor.fetchone() == (1,)

                stats = redis.Redis(port=port)
                session_id = browser.cookies["SESSION"]
                assert stats.exists(f"iam:session:sessions:{session_id}") == 1
                assert 1500 < stats.ttl(f"iam:session:sessions:expires:{session_id}") <= 1800

                def reads() -> int:
                    return int(stats.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))

                before = reads()
                browser.get(iam.url + "jwk", timeout=30)
                assert reads() == before + 1
                token(iam)
                assert reads() == before + 1

                stop(primary)
                assert browser.get(iam.url + "jwk", timeout=30).status_code == 500
                assert token(iam).status_code == 200

    def test_same_account_logging_in_twice_waits_for_its_row(
        self, db: DatabaseSandbox, tmp_path: Path
    ) -> None:
        """T6: the login time is one row per account; a lost update is a 500."""
        with redis_with_sentinel(tmp_path) as (_, sentinel_port, _primary):
            sessions = {"sentinels": [["127.0.0.1", sentinel_port]], "master": "sessions"}
            with replica(db.directory, db.port, bcrypt_cost=4, redis=sessions) as iam, db.admin() as other:
                other.autocommit(False)
                with other.cursor() as cursor:
                    cursor.execute("UPDATE iam_account SET last_login_time = NOW() WHERE username = 'test2'")
                form = {"username": "test2", "password": PASSWORD}
                answer = requests.post(iam.url + "login", data=form, timeout=30)
                other.rollback()
                assert answer.status_code == 500
                assert answer.json()["error_description"].startswith("conflict: (1205")

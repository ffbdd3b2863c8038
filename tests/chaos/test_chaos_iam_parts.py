"""The parts of the service that need no database: wire decoding, quoting, pool, tokens, configuration."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet

from chaos.iam import pool as pools
from chaos.iam import schema
from chaos.iam.config import Config, ConfigError, load
from chaos.iam.connection import _row, quote
from chaos.iam.database import Database
from chaos.iam.errors import DatabaseError, OAuthError, PoolTimeoutError
from chaos.iam.flows.request import is_storable
from chaos.iam.pool import Pool
from chaos.iam.tokens import Signer, is_jwt, load_or_create_key


def encode(row: list[bytes | None]) -> bytes:
    """A row packet's payload, as the server writes it."""
    parts = []
    for value in row:
        if value is None:
            parts.append(b"\xfb")
        elif len(value) < 251:
            parts.append(bytes([len(value)]) + value)
        else:
            parts.append(b"\xfc" + len(value).to_bytes(2, "little") + value)
    return b"".join(parts)


class TestWire:
    """The lean reader and the literals it sends."""

    @given(
        row=st.lists(st.none() | st.binary(max_size=40) | st.binary(min_size=251, max_size=300), max_size=8),
        columns=st.integers(0, 10),
        before=st.binary(max_size=5),
    )
    def test_row_decodes_the_asked_columns(
        self, row: list[bytes | None], columns: int, before: bytes
    ) -> None:
        """Any row comes back, cut to the columns asked for, wherever it lies in the buffer."""
        payload = encode(row)
        assert _row(before + payload + b"tail", len(before), len(before + payload), columns) == row[:columns]

    @given(st.text())
    def test_quoted_text_is_one_literal(self, value: str) -> None:
        """No text ends its own literal, and unescaping gives it back."""
        literal = quote(value)
        assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", literal, re.DOTALL)
        controls = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a"}
        back = re.sub(
            r"\\(.)", lambda match: controls.get(match[1], match[1]), literal[1:-1], flags=re.DOTALL
        )
        assert back == value

    @pytest.mark.parametrize(("value", "literal"), [(None, "NULL"), (True, "1"), (False, "0"), (-7, "-7")])
    def test_other_literals(self, value: Any, literal: str) -> None:
        """NULL, booleans and integers."""
        assert quote(value) == literal

    @given(st.text())
    def test_storable_is_what_latin1_tables_hold(self, value: str) -> None:
        """MariaDB's latin1 is code page 1252."""
        assert is_storable(value) is (value == value.encode("cp1252", "ignore").decode("cp1252", "ignore"))


class FakeConnection:
    """A connection that can be told to be dead."""

    def __init__(self) -> None:
        self.healthy = True
        self.closed = False
        self.sent: list[str] = []

    def alive(self, timeout: float) -> bool:
        """What the pool asks after a rest."""
        return self.healthy

    def execute(self, sql: str) -> int:
        """Note a statement; `BOOM n` fails with error n."""
        self.sent.append(sql)
        return 0

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Factory:
    """Makes fake connections, or fails while `down`."""

    def __init__(self) -> None:
        self.down = False
        self.made: list[FakeConnection] = []
        self.attempts: list[float] = []

    def __call__(self) -> Any:
        """Make one."""
        self.attempts.append(time.monotonic())
        if self.down:
            raise DatabaseError(2003, "08001", "cannot connect")
        self.made.append(FakeConnection())
        return self.made[-1]


def lent(connection: Any) -> Any:
    """What a pool of fakes lends is a fake, whatever its type says."""
    return connection


class TestPool:
    """HikariCP's behaviour (chaos/iam/pool.py cites it)."""

    @given(size=st.integers(1, 4), users=st.integers(1, 12))
    def test_never_more_connections_than_its_size(self, size: int, users: int) -> None:
        """However many threads ask, at most `size` hold a connection, and all get one in the end."""
        factory = Factory()
        pool = Pool(factory, size=size, minimum_idle=0, timeout=10)
        lock, held, most = threading.Lock(), [0], [0]

        def use(_: int) -> None:
            with pool.connection():
                with lock:
                    held[0] += 1
                    most[0] = max(most[0], held[0])
                time.sleep(0.0005)
                with lock:
                    held[0] -= 1

        with ThreadPoolExecutor(users) as threads:
            list(threads.map(use, range(users)))
        assert most[0] <= size
        assert len(factory.made) <= size

    def test_waits_for_its_patience_and_names_the_cause(self) -> None:
        """The error says how long was waited and why no connection could be made."""
        factory = Factory()
        factory.down = True
        pool = Pool(factory, timeout=0.3)
        start = time.monotonic()
        with pytest.raises(PoolTimeoutError, match=r"within 0.3 s.*cannot connect"), pool.connection():
            pass
        assert 0.29 < time.monotonic() - start < 1.0
        pool.close()

    def test_back_off_grows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pauses between attempts grow by half each time, up to the longest."""
        monkeypatch.setattr(pools, "FIRST_BACKOFF", 0.02)
        monkeypatch.setattr(pools, "LONGEST_BACKOFF", 0.06)
        factory = Factory()
        factory.down = True
        pool = Pool(factory, timeout=0.5)
        with pytest.raises(PoolTimeoutError), pool.connection():
            pass
        pool.close()
        pauses = [b - a for a, b in zip(factory.attempts, factory.attempts[1:], strict=False)]
        assert all(pause >= wanted for pause, wanted in zip(pauses, [0.02, 0.03, 0.045, 0.06], strict=False))
        assert len(factory.attempts) <= 12

    def test_recovers_when_the_database_does(self) -> None:
        """A request that waits while the database comes back is served."""
        factory = Factory()
        factory.down = True
        pool = Pool(factory, timeout=5)
        threading.Timer(0.1, lambda: setattr(factory, "down", False)).start()
        with pool.connection() as connection:
            assert lent(connection) in factory.made
        pool.close()

    @pytest.mark.parametrize(("state", "evicted"), [("08S01", True), ("40001", False)])
    def test_only_lost_connections_are_evicted(self, state: str, evicted: bool) -> None:
        """SQLSTATE class 08 throws the connection away, a deadlock does not."""
        factory = Factory()
        pool = Pool(factory, minimum_idle=0)
        with pytest.raises(DatabaseError), pool.connection():
            raise DatabaseError(1047 if evicted else 1213, state, "")
        assert factory.made[0].closed is evicted
        with pool.connection() as connection:
            assert (lent(connection) is factory.made[0]) is not evicted

    def test_refusing_a_request_keeps_the_connection(self) -> None:
        """A protocol error is not the connection's fault."""
        factory = Factory()
        pool = Pool(factory, minimum_idle=0)
        with pytest.raises(OAuthError), pool.connection():
            raise OAuthError("invalid_grant", "")
        assert not factory.made[0].closed

    def test_rested_connections_are_tested(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a rest a dead connection is replaced before anybody notices."""
        factory = Factory()
        pool = Pool(factory, minimum_idle=0)
        with pool.connection():
            pass
        factory.made[0].healthy = False
        with pool.connection() as connection:
            assert lent(connection) is factory.made[0], "not tested within half a second"
        monkeypatch.setattr(pools, "IDLE_WITHOUT_TEST", 0.0)
        time.sleep(0.01)
        with pool.connection() as connection:
            assert lent(connection) is factory.made[1]
        assert factory.made[0].closed

    def test_keeps_its_idle_minimum(self) -> None:
        """The background thread makes the idle connections and then stops."""
        factory = Factory()
        pool = Pool(factory, size=10, minimum_idle=4)
        pool.fill()
        deadline = time.monotonic() + 5
        while len(factory.made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(factory.made) == 4
        pool.close()
        assert all(connection.closed for connection in factory.made)


class TestTransaction:
    """Frames around statements (facts/iam.md section 1)."""

    def pool(self) -> tuple[Database, Factory]:
        """A database of fakes."""
        factory = Factory()
        return Database(Pool(factory, minimum_idle=0)), factory

    def test_commit(self) -> None:
        """Three frames."""
        database, factory = self.pool()
        with database.transaction() as db:
            db.execute("x")
        assert factory.made[0].sent == ["SET autocommit=0", "x", "COMMIT", "SET autocommit=1"]

    def test_rollback(self) -> None:
        """A conflict rolls back and leaves autocommit on for the next borrower."""
        database, factory = self.pool()
        with pytest.raises(DatabaseError), database.transaction():
            raise DatabaseError(1213, "40001", "deadlock")
        assert factory.made[0].sent == ["SET autocommit=0", "ROLLBACK", "SET autocommit=1"]

    def test_nothing_is_sent_on_a_lost_connection(self) -> None:
        """There is nobody to roll back with."""
        database, factory = self.pool()
        with pytest.raises(DatabaseError), database.transaction():
            raise DatabaseError(2013, "08S01", "lost")
        assert factory.made[0].sent == ["SET autocommit=0"]


class TestErrors:
    """Names of database errors."""

    @pytest.mark.parametrize(
        ("number", "state", "kind"),
        [
            (1213, "40001", "conflict"),
            (1205, "HY000", "conflict"),
            (1047, "08S01", "unavailable"),
            (2013, "08S01", "unavailable"),
            (1290, "HY000", "unavailable"),
            (1062, "23000", "database"),
        ],
    )
    def test_kind(self, number: int, state: str, kind: str) -> None:
        """Conflict, outage, or neither."""
        assert DatabaseError(number, state, "").kind == kind


class TestTokens:
    """Keys and tokens."""

    def test_racing_replicas_agree_on_the_key(self, tmp_path: Path) -> None:
        """Eight that start at once end up with one key, and no draft is left."""
        path = tmp_path / "key.pem"
        with ThreadPoolExecutor(8) as threads:
            keys = list(threads.map(lambda _: load_or_create_key(path), range(8)))
        assert len({key.private_numbers().d for key in keys}) == 1
        assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]
        assert path.stat().st_mode & 0o777 == 0o600

    def test_published_key_verifies_a_token(self, tmp_path: Path) -> None:
        """An independent library agrees."""
        signer = Signer(load_or_create_key(tmp_path / "key.pem"))
        claims = {"sub": "x", "scope": "a b"}
        decoded = jwt.decode(signer.sign(claims), KeySet.import_key_set(signer.jwks), algorithms=["RS256"])  # type: ignore[arg-type]
        assert (decoded.claims, decoded.header["kid"]) == (claims, signer.key_id)
        assert is_jwt(signer.sign(claims))
        assert is_jwt(signer.unsigned(claims))

    @given(st.text())
    def test_is_jwt_never_fails(self, value: str) -> None:
        """Whatever a client sends as a token is either a JWT or it is not."""
        assert is_jwt(value) in (True, False)

    def test_other_keys_are_refused(self, tmp_path: Path) -> None:
        """A file that holds no RSA key says so."""
        (tmp_path / "key.pem").write_text("nothing")
        with pytest.raises(ValueError, match="key"):
            load_or_create_key(tmp_path / "key.pem")


class TestConfig:
    """The configuration file."""

    GOOD: dict[str, Any] = {  # noqa: RUF012
        "listen": "127.0.0.1:8001",
        "database": {"host": "db", "user": "iam"},
        "pool_timeout": "30s",
        "redis": {"sentinels": [["10.0.0.1", 26379]]},
    }

    def write(self, directory: Path, **changes: Any) -> Path:
        """A file with some keys changed."""
        path = directory / "config.json"
        path.write_text(json.dumps({**self.GOOD, **changes}))
        return path

    def test_defaults_are_indigos(self, tmp_path: Path) -> None:
        """Pool 50, 30 s, 200 threads, 8 idle (facts/iam.md section 6)."""
        config = load(self.write(tmp_path))
        assert (config.pool, config.pool_timeout, config.threads, config.minimum_idle) == (50, 30.0, 200, 8)
        assert config.key_file == tmp_path / "signing-key.pem"
        assert config.redis is not None
        assert config.redis.timeout == 60.0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"listen": "8001"}, "listen: .*address:port"),
            ({"listen": "a:70000"}, "listen: .*address:port"),
            ({"poool": 5}, "poool: "),
            ({"pool": 0}, "pool: "),
            ({"database": {"user": "iam"}}, "database.host: "),
            ({"redis": {"sentinels": []}}, "redis.sentinels: "),
            ({"pool_timeout": "fast"}, "pool_timeout: "),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        """The message says where the mistake is."""
        path = self.write(tmp_path, **changes)
        with pytest.raises(ConfigError, match=f"{re.escape(str(path))}: {message}"):
            load(path)

    def test_broken_and_missing_files(self, tmp_path: Path) -> None:
        """A syntax error has a line number; a missing file says what to give."""
        path = tmp_path / "config.json"
        with pytest.raises(ConfigError, match="--config"):
            load(path)
        path.write_text('{"listen":\n oops}')
        with pytest.raises(ConfigError, match=r"config.json:2: not JSON"):
            load(path)

    def test_every_setting_is_documented(self) -> None:
        """The class's docstring and the manual name every key."""
        manual = (Path(__file__).parents[2] / "docs" / "identity-service.md").read_text()
        for name in Config.model_fields:
            assert f"    {name}: " in (Config.__doc__ or "")
            assert f"`{name}`" in manual


class TestSeed:
    """Schema and seed data."""

    def test_same_arguments_same_script(self) -> None:
        """Members seeded separately are equal byte for byte."""
        seed = schema.Seed(users=3, bcrypt_cost=4)
        assert schema.script(seed, user="iam", password="x") == schema.script(seed, user="iam", password="x")
        assert schema.script(seed) != schema.script(schema.Seed(users=4, bcrypt_cost=4))

    def test_seeded_hash_is_the_documented_password(self) -> None:
        """Users log in with `PASSWORD`, at the cost asked for."""
        stored = schema.password_hash(5)
        assert stored.startswith("$2b$05$")
        assert bcrypt.checkpw(schema.PASSWORD.encode(), stored.encode())

    def test_no_users_is_fine(self) -> None:
        """A schema for clients only."""
        assert "INSERT INTO iam_account " not in schema.script(schema.Seed(users=0, bcrypt_cost=4))

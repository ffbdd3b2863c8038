"""Decisions of the pods' entry points: who founds a Galera cluster, which role a Redis server has."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.kube.entry import __main__ as entry
from chaos.kube.entry import database, galera, redis
from chaos.kube.entry.galera import NOWHERE, Position
from chaos.kube.entry.health import Health, serve
from chaos.kube.entry.install import install
from chaos.kube.entry.redis import Opinion
from chaos.services.galera import PROVIDER, saved_state

UUID = "aaaaaaaa-0000-1000-8000-00000000abcd"
OTHER = "bbbbbbbb-0000-1000-8000-00000000abcd"

seqnos = st.integers(0, 10**6)
words = st.text(st.characters(codec="utf-8"), max_size=30)


class TestFounding:
    """No member founds a cluster while another one may be ahead of it or serve."""

    @given(st.dictionaries(st.integers(1, 7), seqnos, min_size=1, max_size=7))
    def test_the_farthest_founds_and_all_agree_on_it(self, known: dict[int, int]) -> None:
        """With all answers there is exactly one founder, nobody is ahead of it, ties go to the first."""
        positions = {number: Position(UUID, seqno) for number, seqno in known.items()}
        chosen = galera.founder(positions, len(positions))
        assert chosen is not None
        assert known[chosen] == max(known.values())
        assert chosen == min(number for number, seqno in known.items() if seqno == known[chosen])

    @given(st.dictionaries(st.integers(1, 7), seqnos, min_size=1, max_size=6), st.integers(1, 3))
    def test_nobody_founds_while_an_answer_is_missing(self, known: dict[int, int], missing: int) -> None:
        """A silent member may be serving, or ahead."""
        positions = {number: Position(UUID, seqno) for number, seqno in known.items()}
        assert galera.founder(positions, len(positions) + missing) is None

    def test_nobody_founds_over_two_histories_or_an_unknown_position(self) -> None:
        """Different data, or data nobody can read, is for people to decide."""
        assert galera.founder({1: Position(UUID, 5), 2: Position(OTHER, 7)}, 2) is None
        assert galera.founder({1: Position(UUID, 5), 2: None}, 2) is None
        assert galera.founder({1: Position(UUID, 5), 2: Position(UUID, -1)}, 2) is None

    def test_grastate_tells_position_and_permission(self) -> None:
        """The file that Galera writes is read, and changed in the one line that counts."""
        state = saved_state(UUID, 12)
        assert galera.saved_position(state) == Position(UUID, 12)
        assert not galera.may_found(state)
        assert galera.may_found(galera.with_permission(state, True))
        assert galera.with_permission(galera.with_permission(state, True), False) == state

    @given(st.text(max_size=60))
    def test_garbage_is_no_position(self, text: str) -> None:
        """A damaged file never crashes the start, and never looks like a position by chance."""
        assert Position.parse(text) is None
        assert galera.saved_position(text) is None
        assert galera.with_permission(text, True) == text or "safe_to_bootstrap" in text

    def test_a_member_of_no_history_has_no_position(self) -> None:
        """Galera writes zeros where it knows nothing."""
        assert Position.parse(f"{NOWHERE}:-1") is None
        assert Position.parse(f"{UUID}:-1") == Position(UUID, -1)
        assert Position.parse(f"{UUID}:7,0-1-2") == Position(UUID, 7)

    def test_a_member_knows_whether_others_still_count_it(self) -> None:
        """Addresses are compared whole: 10.201.0.3 is not 10.201.0.33."""
        status = {"wsrep_incoming_addresses": "10.201.0.33:3306,10.202.0.33:3306"}
        assert galera.counts(status, "10.202.0.33")
        assert not galera.counts(status, "10.201.0.3")
        assert not galera.counts({}, "10.201.0.33")
        assert not galera.counts({"wsrep_incoming_addresses": ""}, "")

    def test_founding_and_joining_differ_in_one_argument(self) -> None:
        """A founder says so; both tell where they stand if they know."""
        assert list(galera.arguments(Position(UUID, 7), True)) == [
            f"--wsrep-start-position={UUID}:7",
            "--wsrep-new-cluster",
        ]
        assert list(galera.arguments(None, False)) == []


@contextmanager
def members(count: int) -> Iterator[tuple[list[Health], dict[int, str]]]:
    """Health of members that have just started, and number -> where each answers."""
    found = [Health(Path("/nowhere"), clustered=True) for _ in range(count)]
    servers = [serve(one, 0) for one in found]
    try:
        yield found, {n: f"127.0.0.1:{one.server_address[1]}" for n, one in enumerate(servers, 1)}
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()


class TestLooking:
    """Members that were all stopped in order find out among themselves who begins."""

    @pytest.mark.parametrize("late", [0, 1, 2])
    def test_exactly_one_founds_whoever_comes_last(self, late: int) -> None:
        """The farthest founds, the others join it, also when one has not made up its mind for a while."""
        seqnos = [7, 9, 8]
        decided: dict[int, bool] = {}
        with members(3) as (found, addresses):

            def start(index: int) -> None:
                if index == late:
                    time.sleep(0.7)
                number = index + 1
                peers = {n: address for n, address in addresses.items() if n != number}
                position = Position(UUID, seqnos[index])
                decided[number] = database._look_for_others(position, number, peers, found[index])
                found[index].looking = None

            threads = [threading.Thread(target=start, args=(index,)) for index in range(3)]
            for one in threads:
                one.start()
            for one in threads:
                one.join(20)
        assert decided == {1: False, 2: True, 3: False}

    def test_whoever_runs_is_joined_at_once(self) -> None:
        """A member that is silent does not matter when another one runs."""
        with members(2) as (found, addresses):
            found[0].looking = None
            peers = {1: addresses[1], 3: "127.0.0.1:1"}
            assert not database._look_for_others(Position(UUID, 99), 2, peers, found[1])

    def test_a_killed_member_waits_until_the_others_have_noticed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It comes back under its old name, which must not be in use any more."""
        listed = "10.201.0.33:3306,10.202.0.33:3306"
        with members(1) as (found, addresses):
            found[0].looking = None
            until = time.monotonic() + 1.0

            def state() -> dict[str, Any]:
                gone = time.monotonic() > until
                status = {"wsrep_incoming_addresses": "10.202.0.33:3306" if gone else listed}
                return {"looking": False, "position": None, "status": status}

            monkeypatch.setattr(found[0], "state", state)
            database._wait_until_forgotten("10.201.0.33", tuple(addresses.values()))
            assert until < time.monotonic() < until + 3
            monkeypatch.setattr(database, "FORGOTTEN_WITHIN", 0.5)
            database._wait_until_forgotten("10.202.0.33", tuple(addresses.values()))
            assert time.monotonic() < until + 6


def encode(value: Any) -> bytes:
    """A reply as a Redis server writes it."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    text = str(value).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


replies = st.recursive(
    st.none() | st.integers(-(2**62), 2**62) | words, lambda inner: st.lists(inner, max_size=4), max_leaves=8
)


class TestRedis:
    """A server asks the sentinels before it takes a role."""

    @given(replies)
    def test_replies_are_read_back(self, value: Any) -> None:
        """Text, numbers, lists and nothing, nested as they come."""
        assert redis.reply(io.BytesIO(encode(value))) == value

    @given(replies.map(encode), st.data())
    def test_a_reply_that_is_cut_off_is_an_error(self, text: bytes, data: st.DataObject) -> None:
        """A sentinel that dies in the middle of its answer has not answered."""
        cut = data.draw(st.integers(0, len(text) - 1))
        with pytest.raises(ValueError):
            redis.reply(io.BytesIO(text[:cut]))

    def test_errors_are_errors(self) -> None:
        """A sentinel that does not know the name answers with an error."""
        with pytest.raises(ValueError, match="No such master"):
            redis.reply(io.BytesIO(b"-ERR No such master with that name\r\n"))

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"])), min_size=1))
    def test_the_most_recent_opinion_counts(self, found: list[tuple[int, str]]) -> None:
        """A sentinel that slept through a failover does not bring the old primary back."""
        chosen = redis.latest(Opinion(epoch, address, 6379) for epoch, address in found)
        assert chosen is not None and chosen.epoch == max(epoch for epoch, _ in found)

    def test_a_server_follows_another_and_not_itself(self) -> None:
        """The primary has no `replicaof`."""
        assert redis.role(Opinion(1, "10.201.0.35", 6379), "10.202.0.35") == "replicaof 10.201.0.35 6379\n"
        assert redis.role(Opinion(1, "10.202.0.35", 6379), "10.202.0.35") == ""

    def test_sentinels_are_asked_at_once_and_silent_ones_left_out(self) -> None:
        """One answers, one refuses, one accepts and says nothing: done after one patience."""
        answer = encode(["name", "cache", "ip", "10.202.0.35", "port", "6379", "config-epoch", "3"])
        with answering(answer) as good, answering(b"") as silent:
            free = socket.create_server(("127.0.0.1", 0))
            refusing = free.getsockname()[1]
            free.close()
            began = time.monotonic()
            found = redis.ask([("127.0.0.1", port) for port in (good, silent, refusing)], "cache")
        assert found == [Opinion(3, "10.202.0.35", 6379)]
        assert time.monotonic() - began < 2 * redis.ANSWER_WITHIN


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """A server that answers everything with ``text``, or with nothing if that is empty; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                if text:
                    connection.sendall(text)
                else:
                    connection.recv(1000)  # until the other side gives up

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_a_wrong_call_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown roles and unreadable settings end with a message, not with a traceback."""
    assert entry.main(["gardener", "x"]) == entry.USAGE
    (tmp_path / "s.json").write_text("{")
    assert entry.main(["redis", str(tmp_path / "s.json")]) == entry.USAGE
    assert "s.json" in capsys.readouterr().err


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the database's account can reach."""
    with tempfile.TemporaryDirectory(prefix="fl-entry-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def _install_settings(place: Path) -> dict[str, Any]:
    accounts = place / "accounts.sql"
    accounts.write_text(
        "CREATE USER 'observer'@'%' IDENTIFIED BY 'pw';\nGRANT SELECT ON iam.* TO 'observer'@'%';\n"
    )
    return {
        "options": ["--innodb-log-file-size=8M", "--character-set-server=latin1", "--user=mysql"],
        "database": "iam",
        "seed": {"users": 3, "bcrypt_cost": 4},
        "accounts": str(accounts),
        "galera": None,
    }


@pytest.mark.lab
def test_a_replication_server_is_installed_serves_and_ends_as_its_process_does(place: Path) -> None:
    """First start makes the data, health follows the server, SIGTERM ends it, a restart keeps the data."""
    home = place / "home"
    home.mkdir()
    shutil.chown(home, "mysql", "mysql")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, health = one.getsockname()[1], two.getsockname()[1]
    (place / "my.cnf").write_text(
        f"[mysqld]\nuser=mysql\ndatadir={home}/data\nsocket={home}/mariadb.sock\nport={port}\n"
        f"bind-address=127.0.0.1\npid-file={home}/pid\ninnodb-log-file-size=8M\nopen-files-limit=1024\n"
    )
    settings = {
        "home": str(home),
        "options": str(place / "my.cnf"),
        "health_port": health,
        "install": _install_settings(place),
        "galera": None,
    }
    (place / "settings.json").write_text(json.dumps(settings))

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{health}{path}", timeout=3) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    command = [sys.executable, "-m", "chaos.kube.entry", "database", str(place / "settings.json")]
    for number, end in ((0, signal.SIGTERM), (1, signal.SIGKILL)):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 60
            while status("/ready") != 200:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            assert status("/live") == 200 and status("/elsewhere") == 404
            users = subprocess.run(
                [
                    *("mariadb", "--no-defaults", "-uobserver", "-ppw", "-h127.0.0.1", f"-P{port}"),
                    *("-Nse", "SELECT COUNT(*) FROM iam.iam_account"),
                ],
                capture_output=True,
                text=True,
            )
            assert users.stdout.strip() == "3", users.stderr
            server = int((home / "pid").read_text())
            # The server's own death ends the container with the code of a killed process, as in a pod.
            os.kill(process.pid if end == signal.SIGTERM else server, end)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == (0 if end == signal.SIGTERM else 137)
        assert ("data directory made" in told) == (number == 0)


def _install_as_mysql(place: Path, settings: dict[str, Any]) -> None:
    """As in a pod everything is done by one account, which owns what it has written."""
    settings["options"].remove("--user=mysql")
    (place / "settings.json").write_text(json.dumps(settings))
    code = (
        "import json, pathlib; from chaos.kube.entry.install import install; "
        f"place = pathlib.Path({str(place)!r}); "
        "print(install(place / 'home', json.loads((place / 'settings.json').read_text())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        user="mysql",
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.lab
def test_a_pod_that_died_over_its_data_begins_anew(place: Path) -> None:
    """Half a data directory is never taken for a whole one; a member's data knows its position."""
    home = place / "home"
    (home / "data.new").mkdir(parents=True)
    (home / "data.new" / "ibdata1").write_text("half of it")
    for path in (home, home / "data.new", home / "data.new" / "ibdata1"):
        shutil.chown(path, "mysql", "mysql")
    settings = _install_settings(place)
    settings["galera"] = {"provider": str(PROVIDER), "state": saved_state(UUID, 0), "view": "my_uuid: x\n"}
    _install_as_mysql(place, settings)
    assert not (home / "data.new").exists() and (home / "data" / "iam").is_dir()
    state = (home / "data" / "grastate.dat").read_text()
    # The founding itself is the first change of the history.
    assert galera.saved_position(state) == Position(UUID, 1) and not galera.may_found(state)
    assert (home / "data" / "gvwstate.dat").read_text() == "my_uuid: x\n"
    (place / "my.cnf").write_text(
        f"[mysqld]\nuser=mysql\ndatadir={home}/data\ninnodb-log-file-size=8M\nwsrep-on=ON\n"
        f"wsrep-provider={PROVIDER}\nwsrep-cluster-address=gcomm://\nbinlog-format=ROW\n"
    )
    assert galera.recover(place / "my.cnf", home) == Position(UUID, 1)
    assert not install(home, settings)

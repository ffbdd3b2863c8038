"""Configuration of database servers, from the topology's model alone."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.lab.layout import Layout
from chaos.services import deployment, galera, replication
from chaos.services.daemon import Daemon
from topologies.loader import load
from topologies.model import Galera, MariadbReplication

LAYOUT = Layout(("ral", "cam", "edi"), Path("/lab"))


def options_of(text: str) -> dict[str, str]:
    """The `[mysqld]` group of an option file."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(text)
    return dict(parser["mysqld"])


def provider_of(options: dict[str, str]) -> dict[str, str]:
    """The provider options of a member."""
    text = options["wsrep-provider-options"].strip('"')
    return dict(part.split("=", 1) for part in text.split(";"))


def galera_model(**changes: object) -> Galera:
    """Three members."""
    return Galera.model_validate({"kind": "galera", "members": {"ral": 1, "cam": 1, "edi": 1}, **changes})


def test_every_timer_of_the_model_reaches_the_provider() -> None:
    """Timers, windows and flow control are set from the topology, none is left to a default."""
    model = galera_model(
        suspect_timeout=4.5,
        inactive_timeout=12.0,
        inactive_check_period=0.25,
        keepalive_period=0.75,
        install_timeout=6.5,
        user_send_window=3,
        send_window=5,
        fc_limit=32,
    )
    member = galera.daemons("db", model, LAYOUT, 80)[0]
    found = provider_of(options_of(member.files["my.cnf"]))
    assert found["evs.suspect_timeout"] == "PT4.5S"
    assert found["evs.inactive_timeout"] == "PT12S"
    assert found["evs.inactive_check_period"] == "PT0.25S"
    assert found["evs.keepalive_period"] == "PT0.75S"
    assert found["evs.install_timeout"] == "PT6.5S"
    assert (found["evs.user_send_window"], found["evs.send_window"]) == ("3", "5")
    assert found["gcs.fc_limit"] == "32"


def test_server_settings_come_from_the_model() -> None:
    """What the SQL side is asked for in the topology stands in the option file."""
    model = galera_model(
        slave_threads=4, retry_autocommit=0, sync_wait=7, flush_log_at_trx_commit=2
    ).model_copy(update={"isolation": "read-committed"})
    options = options_of(galera.daemons("db", model, LAYOUT, 80)[1].files["my.cnf"])
    assert options["wsrep-slave-threads"] == "4"
    assert options["wsrep-retry-autocommit"] == "0"
    assert options["wsrep-sync-wait"] == "7"
    assert options["innodb-flush-log-at-trx-commit"] == "2"
    assert options["transaction-isolation"] == "READ-COMMITTED"
    assert int(options["max-connections"]) >= 80
    assert options["wsrep-node-address"] == "198.19.2.1"
    assert options["skip-log-bin"] == "ON"


def test_members_know_each_other_by_their_vpn_addresses() -> None:
    """The cluster address lists all members; nothing goes over the public network."""
    for member in galera.daemons("db", galera_model(), LAYOUT, 80):
        options = options_of(member.files["my.cnf"])
        assert options["wsrep-cluster-address"] == "gcomm://198.19.1.1,198.19.2.1,198.19.3.1"
        assert options["bind-address"].startswith("198.19.")
        assert member.user == "mysql"


def test_a_member_without_others_founds_its_cluster_at_every_start() -> None:
    """Only a single member has an empty cluster address and marks itself safe to bootstrap."""
    alone = galera.daemons("db", galera_model(members={"cam": 1}), LAYOUT, 80)[0]
    assert options_of(alone.files["my.cnf"])["wsrep-cluster-address"] == "gcomm://"
    assert "safe_to_bootstrap: 1" in alone.files["start.sh"]
    assert alone.files["start.sh"].rstrip().splitlines()[-1].startswith("exec mariadbd")
    assert "safe_to_bootstrap" not in galera.daemons("db", galera_model(), LAYOUT, 80)[0].files["start.sh"]


def test_two_members_at_one_site_are_refused_with_the_remedy() -> None:
    """The lab has one node per site, and its message says what to write."""
    with pytest.raises(LabError, match=r"several members at ral.*members: \{ral: 1\}.*lab:"):
        galera.daemons("db", galera_model(members={"ral": 2, "cam": 1}), LAYOUT, 80)


@given(st.integers(1, 200), st.integers(1, 200))
def test_member_identities_sort_like_the_sites(a: int, b: int) -> None:
    """The order of gcomm's identities, which decides ties, is the order of the topology."""
    assert (galera.member_uuid(a) < galera.member_uuid(b)) == (a < b)


def test_the_saved_view_names_every_member_and_oneself() -> None:
    """All members save the same view and differ in their own identity only."""
    views = [galera.saved_view(number, 3).splitlines() for number in (1, 2, 3)]
    assert [view[0] for view in views] == [f"my_uuid: {galera.member_uuid(n)}" for n in (1, 2, 3)]
    assert views[0][1:] == views[1][1:] == views[2][1:]
    assert sum(line.startswith("member: ") for line in views[0]) == 3


@given(st.floats(0.001, 86400.0))
def test_periods_keep_the_milliseconds(seconds: float) -> None:
    """What the provider reads is the model's time, rounded to a millisecond."""
    text = galera.period(seconds)
    assert text.startswith("PT") and text.endswith("S")
    assert "e" not in text.lower().removeprefix("pt")
    assert float(text[2:-1]) == pytest.approx(seconds, abs=0.0005)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"wsrep_ready": "ON", "wsrep_cluster_status": "Primary", "wsrep_cluster_size": "3"}, "up"),
        ({"wsrep_ready": "OFF", "wsrep_cluster_status": "non-Primary"}, "down"),
        ({}, "down"),
    ],
)
def test_a_member_is_up_only_when_it_is_ready(status: dict[str, str], state: str) -> None:
    """An answer alone is not enough: a member outside the primary component answers too."""
    assert galera.condition_of(status).state == state


def replication_model(**changes: object) -> MariadbReplication:
    """A primary with one replica."""
    return MariadbReplication.model_validate(
        {"kind": "mariadb-replication", "primary": "cam", "replicas": ["ral"], **changes}
    )


def test_replicas_follow_the_primary_by_gtid_and_are_read_only() -> None:
    """The primary comes first; a replica is pointed at it at every start."""
    primary, replica = replication.daemons("db", replication_model(), LAYOUT, 80)
    assert (primary.site, replica.site) == ("cam", "ral")
    options = options_of(replica.files["my.cnf"])
    assert options["read-only"] == "ON"
    assert options["init-file"] == "/lab/db/ral/follow.sql"
    assert "master_host='198.19.2.1'" in replica.files["follow.sql"]
    assert "master_use_gtid=slave_pos" in replica.files["follow.sql"]
    assert "init-file" not in options_of(primary.files["my.cnf"])
    ids = {options_of(one.files["my.cnf"])["server-id"] for one in (primary, replica)}
    assert len(ids) == 2


def test_semi_sync_is_off_unless_asked_for() -> None:
    """Without it no option mentions it; with it the primary waits as long as the model says."""
    plain = replication.daemons("db", replication_model(), LAYOUT, 80)
    assert all("semi" not in one.files["my.cnf"] for one in plain)
    primary, replica = replication.daemons(
        "db", replication_model(semi_sync=True, semi_sync_timeout=2.5), LAYOUT, 80
    )
    assert options_of(primary.files["my.cnf"])["rpl-semi-sync-master-timeout"] == "2500"
    assert options_of(replica.files["my.cnf"])["rpl-semi-sync-slave-enabled"] == "ON"


def test_a_replica_says_how_far_behind_it_is() -> None:
    """The condition of a replica shows both threads and the lag; a broken link does not make it down."""
    followed: dict[str, object] = {
        "Slave_IO_Running": "Connecting",
        "Slave_SQL_Running": "Yes",
        "Seconds_Behind_Master": None,
    }
    found = replication.condition_of({"uptime": "5"}, followed, primary=False)
    assert found.state == "up"
    assert "IO Connecting" in found.detail and "? s behind" in found.detail


def test_a_member_is_settled_when_it_sees_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at one site and one at the other are three, not two."""
    topology = load("iris-2site-kubernetes", size="lab")
    wanted: list[int] = []

    def is_synced(daemon: Daemon, members: int) -> bool:
        wanted.append(members)
        return True

    monkeypatch.setattr(galera, "is_synced", is_synced)
    member = Daemon(
        "db@ral/0",
        "mariadb",
        "db",
        "ral",
        "fl-ral",
        "ral",
        Path("/lab"),
        (),
        {},
        address="10.1.1.1",
        port=3306,
    )
    assert deployment.is_settled(topology, member)
    assert wanted == [3]

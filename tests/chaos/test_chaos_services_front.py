"""Configuration of everything in front of the database, from the topology's model alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.errors import LabError
from chaos.iam.config import load as load_iam
from chaos.lab.layout import Layout
from chaos.services import deployment, gdnsd, haproxy, iam, nginx, redis, sentinel
from chaos.services.haproxy import Server
from topologies.loader import load
from topologies.model import DnsBalancer, Galera, Haproxy, IndigoIam, Nginx, RedisSentinel

SITES = ("ral", "cam", "edi")
LAYOUT = Layout(SITES, Path("/lab"))
SERVERS = [Server(site, site, LAYOUT.overlay(site), 8080) for site in SITES]


def front_end(**changes: object) -> Haproxy:
    """A front end at every site."""
    return Haproxy.model_validate({"kind": "haproxy", "sites": list(SITES), "backend": "web", **changes})


def lines_of(model: Haproxy, site: str = "cam") -> list[str]:
    """The configuration's lines without their indent."""
    text = haproxy.config(model, SERVERS, site, LAYOUT.public(site), "/lab/admin.sock")
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("reach", "servers"),
    [
        ("all", {"ral": False, "cam": False, "edi": False}),
        ("local", {"cam": False}),
        ("local-first", {"ral": True, "cam": False, "edi": True}),
    ],
)
def test_reach_decides_which_servers_are_there_and_which_are_backup(
    reach: str, servers: dict[str, bool]
) -> None:
    """All servers, only the site's own, or the others as backup."""
    lines = lines_of(front_end(reach=reach))
    found = {line.split()[1]: line.endswith(" backup") for line in lines if line.startswith("server ")}
    assert found == servers
    assert ("option allbackups" in lines) == (reach == "local-first")


def test_timers_and_retries_of_a_front_end_come_from_the_model() -> None:
    """Check, timeouts and retries are written in milliseconds; the queue waits as long as a connect."""
    model = front_end(
        check={"kind": "http", "inter": 0.5, "fall": 2, "rise": 1},
        timeout_connect=1.5,
        timeout_server=20.0,
        timeout_client=30.0,
        retries=1,
        redispatch=True,
        balance="leastconn",
    )
    lines = lines_of(model)
    assert "default-server check inter 500ms fall 2 rise 1" in lines
    assert {"timeout connect 1500ms", "timeout server 20000ms", "timeout client 30000ms"} <= set(lines)
    assert "timeout queue 1500ms" in lines
    assert "timeout queue 7000ms" in lines_of(front_end(timeout_queue=7.0))
    assert {"retries 1", "option redispatch", "balance leastconn"} <= set(lines)
    assert "option redispatch" not in lines_of(front_end())


def test_the_default_check_only_connects() -> None:
    """An HTTP check is there when asked for, and asks the service's own health page."""
    assert not any("httpchk" in line for line in lines_of(front_end()))
    lines = lines_of(front_end(check={"kind": "http"}))
    assert "option httpchk" in lines
    assert any(line.startswith("http-check send meth GET uri /actuator/health") for line in lines)


def test_a_front_end_names_itself_in_every_answer() -> None:
    """The header is set on HAProxy's own errors too, and the address is the public one."""
    lines = lines_of(front_end())
    assert "http-after-response set-header X-Front-End cam" in lines
    assert "bind 198.18.2.1:80" in lines


def test_front_ends_balance_over_replicas_or_over_one_proxy_per_site() -> None:
    """Behind an identity service stand its replicas by port, behind nginx one server per site."""
    service = IndigoIam.model_validate(
        {"kind": "indigo-iam", "replicas": {"ral": 2, "edi": 1}, "database": "db"}
    )
    assert [(one.name, one.port) for one in haproxy.servers_of(service, LAYOUT)] == [
        ("ral-0", 8001),
        ("ral-1", 8002),
        ("edi-0", 8001),
    ]
    proxies = Nginx.model_validate({"kind": "nginx", "sites": ["edi", "ral"], "upstream": "iam"})
    assert [(one.name, one.port) for one in haproxy.servers_of(proxies, LAYOUT)] == [
        ("ral", 8080),
        ("edi", 8080),
    ]


SHOW_STAT = """\
# pxname,svname,qcur,status,weight
public,FRONTEND,,OPEN,
service,ral,0,UP,1
service,cam,0,UP 1/3,1
service,edi,0,DOWN,1
service,BACKEND,0,UP,2
"""


def test_server_states_are_read_from_the_admin_socket() -> None:
    """Servers of the backend only; a front end with no usable server is down."""
    states = haproxy.server_states(SHOW_STAT)
    assert states == {"ral": "UP", "cam": "UP 1/3", "edi": "DOWN"}
    assert haproxy.condition_of(states).state == "up"
    assert haproxy.condition_of({"ral": "DOWN", "cam": "MAINT"}).state == "down"


def test_nginx_serves_its_own_sites_replicas_with_the_models_limits() -> None:
    """One upstream per replica, on the VPN address; everything it writes is below its directory."""
    model = Nginx.model_validate(
        {
            "kind": "nginx",
            "sites": ["ral"],
            "upstream": "iam",
            "max_fails": 3,
            "fail_timeout": 7.0,
            "connect_timeout": 2.5,
            "read_timeout": 9.0,
        }
    )
    text = nginx.config(
        model, "198.19.1.1", ["198.19.1.1:8001", "198.19.1.1:8002"], "/lab/web/ral", user="root"
    )
    assert "server 198.19.1.1:8001 max_fails=3 fail_timeout=7s;" in text
    assert "server 198.19.1.1:8002 max_fails=3 fail_timeout=7s;" in text
    assert "proxy_connect_timeout 2500ms;" in text
    assert "proxy_read_timeout 9000ms;" in text
    assert "daemon off;" in text
    paths = [word.rstrip(";") for word in text.split() if word.startswith("/lab") or word.startswith("/var")]
    assert paths and all(path.startswith("/lab/web/ral") for path in paths)


def sessions(**changes: object) -> RedisSentinel:
    """A primary with two replicas and three sentinels."""
    return RedisSentinel.model_validate(
        {
            "kind": "redis-sentinel",
            "primary": "ral",
            "replicas": ["cam", "edi"],
            "sentinels": list(SITES),
            "down_after": 5.0,
            "failover_timeout": 20.0,
            **changes,
        }
    )


def test_redis_replicas_follow_the_primary_over_the_vpn() -> None:
    """Only replicas have a `replicaof`, and each announces its own VPN address."""
    primary, cam, _ = redis.daemons("cache", sessions(), LAYOUT)
    assert "replicaof" not in primary.files["redis.conf"]
    assert "replicaof 198.19.1.1 6379" in cam.files["redis.conf"]
    assert "replica-announce-ip 198.19.2.1" in cam.files["redis.conf"]


def test_sentinels_start_knowing_each_other() -> None:
    """Timers come from the model, the quorum is a majority unless given, identities are stable."""
    found = sentinel.daemons("cache", sessions(), LAYOUT)
    text = found[1].files["sentinel.conf"]
    assert "sentinel monitor cache 198.19.1.1 6379 2" in text
    assert "sentinel down-after-milliseconds cache 5000" in text
    assert "sentinel failover-timeout cache 20000" in text
    assert text.count("known-sentinel") == 2 and text.count("known-replica") == 2
    assert f"sentinel myid {sentinel.identity('cache', 'cam')}" in text
    assert (
        sentinel.identity("cache", "cam")
        not in text.replace("sentinel myid ", "", 1).split("myid")[0][text.index("known-sentinel") :]
    )
    assert found[1].component == "cache-sentinel@cam"
    assert (
        "cache 198.19.1.1 6379 3"
        in sentinel.daemons("cache", sessions(quorum=3), LAYOUT)[0].files["sentinel.conf"]
    )


@pytest.mark.parametrize("count", range(1, 8))
def test_the_default_quorum_is_a_majority(count: int) -> None:
    """More than half of the sentinels, for any number of them."""
    sites = [f"s{number}" for number in range(count)]
    model = RedisSentinel.model_validate({"kind": "redis-sentinel", "primary": "s0", "sentinels": sites})
    assert 2 * sentinel.quorum(model) > count >= sentinel.quorum(model)


def balancer(**changes: object) -> DnsBalancer:
    """A DNS balancer."""
    return DnsBalancer.model_validate({"kind": "dns-balancer", "targets": "frontend", **changes})


def test_the_balancer_watches_every_front_end_with_the_models_thresholds() -> None:
    """Thresholds, interval and the default timeout of half the interval; one address per site."""
    model = balancer(ttl=5.0, check={"interval": 2.0, "down": 3, "ok": 4, "up": 2})
    text = gdnsd.config(model, {"ral": "198.18.1.1", "edi": "198.18.3.1"}, "/lab/dns/dns")
    for line in ("up_thresh => 2", "ok_thresh => 4", "down_thresh => 3", "interval => 2", "timeout => 1"):
        assert line in text
    assert "ral => 198.18.1.1" in text and "edi => 198.18.3.1" in text
    assert "iam 5 DYNA multifo!front-ends" in gdnsd.zone(model)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"check": {"interval": 0.5}}, "interval.*whole seconds.*1s"),
        ({"check": {"interval": 2.5}}, r"interval.*not 2\.5 s.*2s"),
        ({"ttl": 0.2}, "ttl.*whole seconds"),
        ({"check": {"interval": 1.0}}, "timeout below the interval"),
        ({"check": {"interval": 3.0, "timeout": 3.0}}, "timeout below the interval"),
    ],
)
def test_timers_that_gdnsd_cannot_keep_are_refused(changes: dict[str, object], said: str) -> None:
    """Rounding would change what is measured, so the message says what to write instead."""
    model = balancer(**changes)
    with pytest.raises(LabError, match=said):
        gdnsd.config(model, {"ral": "198.18.1.1"}, "/lab")
        gdnsd.zone(model)


def test_monitored_states_are_read_from_the_control_socket() -> None:
    """The monitor's own view counts, not an administrator's override."""
    answer = {
        "198.18.1.1/front-end": {"state": "UP", "real_state": "UP"},
        "198.18.2.1/front-end": {"state": "UP", "real_state": "DOWN"},
    }
    assert gdnsd.states_of(json.dumps(answer)) == {"198.18.1.1": "UP", "198.18.2.1": "DOWN"}


def service(**changes: object) -> IndigoIam:
    """Replicas at two sites."""
    return IndigoIam.model_validate(
        {
            "kind": "indigo-iam",
            "replicas": {"ral": 1, "edi": 2},
            "database": "db",
            "sessions": "cache",
            **changes,
        }
    )


DISTANCE = {
    (a, b): 0.0 if a == b else {frozenset(("ral", "edi")): 0.05}.get(frozenset((a, b)), 0.01)
    for a in SITES
    for b in SITES
}


def test_a_replica_uses_the_member_at_its_site_else_the_nearest() -> None:
    """Galera: own site first, then by round trip, then by the topology's order."""
    both = Galera.model_validate({"kind": "galera", "members": {"ral": 1, "cam": 1}})
    assert iam.database_site("ral", both, SITES, DISTANCE) == "ral"
    assert iam.database_site("edi", both, SITES, DISTANCE) == "cam"
    equal = Galera.model_validate({"kind": "galera", "members": {"edi": 1, "ral": 1}})
    assert iam.database_site("cam", equal, SITES, DISTANCE) == "ral"


def test_the_identity_service_accepts_its_configuration(tmp_path: Path) -> None:
    """What is written for a replica is what the service's own reader understands."""
    database = Galera.model_validate({"kind": "galera", "members": {"cam": 1}})
    found = iam.daemons(
        "iam", service(pool=12, threads=34, pool_timeout=4.5), database, sessions(), LAYOUT, DISTANCE
    )
    assert [one.component for one in found] == ["iam@ral", "iam@edi/0", "iam@edi/1"]
    path = tmp_path / "config.json"
    path.write_text(found[2].files["config.json"])
    config = load_iam(path)
    assert config.listen == "198.19.3.1:8002"
    assert config.database.host == "198.19.2.1"
    assert (config.pool, config.threads, config.pool_timeout) == (12, 34, 4.5)
    assert config.redis is not None and config.redis.master == "cache"
    assert config.key_file == Path("/lab/signing-key.pem")


@pytest.mark.parametrize(
    "name", ["iris-1site", "iris-2site-galera", "iris-2site-replication", "iris-3site-galera"]
)
def test_every_library_topology_can_be_deployed(name: str) -> None:
    """In lab size each has all stages, with unique components, groups and addresses."""
    topology = load(name, size="lab")
    found = deployment.plan(topology, Layout.of(topology, Path("/lab"))).all
    assert {one.role for one in found} == {"mariadb", "redis", "sentinel", "iam", "nginx", "haproxy", "gdnsd"}
    for attribute in ("component", "group", "home"):
        values = [getattr(one, attribute) for one in found]
        assert len(values) == len(set(values)), attribute
    assert len({(one.address, one.port) for one in found}) == len(found)


def test_the_production_size_is_refused_with_the_remedy() -> None:
    """Several nodes per site do not fit one machine; the message names the site and the overlay."""
    with pytest.raises(LabError, match=r"ral.*nodes: 1.*lab:"):
        Layout.of(load("iris-3site-galera"), Path("/lab"))


def test_a_directory_too_deep_for_sockets_is_refused() -> None:
    """UNIX sockets have short paths; better said before anything is started."""
    topology = load("iris-3site-galera", size="lab")
    with pytest.raises(LabError, match="FAULTLINE_LAB_DIR"):
        Layout.of(topology, Path("/" + "deep/" * 30))


def test_without_a_balancer_users_would_find_nothing() -> None:
    """A topology the lab cannot serve is refused before anything is started."""
    topology = load("iris-1site", size="lab")
    rest = {name: one for name, one in topology.services.items() if not isinstance(one, DnsBalancer)}
    with pytest.raises(LabError, match="dns-balancer"):
        deployment.plan(topology.model_copy(update={"services": rest}), Layout.of(topology, Path("/lab")))


def test_a_service_that_does_not_store_its_tokens_cannot_be_run() -> None:
    """The lab's stores them: refused before anything starts, with what to set."""
    topology = load("iris-3site-galera", size="lab").with_("services.iam.store_access_tokens=false")
    with pytest.raises(LabError, match=r"services\.iam\.store_access_tokens=true"):
        deployment.plan(topology, Layout.of(topology, Path("/lab")))

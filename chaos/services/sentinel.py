"""Redis Sentinels (components.md section 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import redis

from chaos.lab.layout import REDIS_PORT, SENTINEL_PORT, Layout
from chaos.services.daemon import Condition, Daemon, milliseconds
from chaos.services.redis import client
from topologies.model import RedisSentinel


def daemons(name: str, model: RedisSentinel, layout: Layout) -> list[Daemon]:
    """The sentinels of service ``name``, in the order of the topology.

    A sentinel is a component of its own, `<name>-sentinel@<site>`: a fault on the Redis server
    leaves the sentinel next to it alone.
    """
    return [_sentinel(name, model, layout, site) for site in model.sentinels]


def _sentinel(name: str, model: RedisSentinel, layout: Layout, site: str) -> Daemon:
    home = layout.home(f"{name}-sentinel", site)
    return Daemon(
        component=f"{name}-sentinel@{site}",
        role="sentinel",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}-sentinel",
        home=home,
        argv=("redis-sentinel", str(home / "sentinel.conf")),
        files={"sentinel.conf": config(name, model, site, layout.overlay, layout.overlay, str(home))},
        address=layout.overlay(site),
        port=SENTINEL_PORT,
    )


def config(
    name: str,
    model: RedisSentinel,
    site: str,
    servers: Callable[[str], str],
    sentinels: Callable[[str], str],
    home: str,
    listen: str | None = None,
) -> str:
    """A sentinel's configuration file, which already names the others and the replicas.

    Left to itself a sentinel finds them in the first seconds (INFO every 10 s, hello every 2 s).

    Args:
        name: of the service.
        model: of the service.
        site: the sentinel's own.
        servers: site -> address of the Redis server there.
        sentinels: site -> address of the sentinel there.
        home: the sentinel's directory.
        listen: where it listens, if not on its own address.
    """
    primary = f"{servers(model.primary)} {REDIS_PORT}"
    lines = [
        f"bind {listen or sentinels(site)}",
        f"port {SENTINEL_PORT}",
        f"unixsocket {home}/sentinel.sock",
        "unixsocketperm 700",
        "protected-mode no",
        "daemonize no",
        f"dir {home}",
        f"sentinel myid {identity(name, site)}",
        f"sentinel announce-ip {sentinels(site)}",
        f"sentinel monitor {name} {primary} {quorum(model)}",
        f"sentinel down-after-milliseconds {name} {milliseconds(model.down_after)}",
        f"sentinel failover-timeout {name} {milliseconds(model.failover_timeout)}",
        *(f"sentinel known-replica {name} {servers(other)} {REDIS_PORT}" for other in model.replicas),
        *(
            f"sentinel known-sentinel {name} {sentinels(other)} {SENTINEL_PORT} {identity(name, other)}"
            for other in model.sentinels
            if other != site
        ),
    ]
    return "\n".join(lines) + "\n"


def quorum(model: RedisSentinel) -> int:
    """Sentinels that must agree that the primary is down: a majority when not given."""
    return model.quorum or len(model.sentinels) // 2 + 1


def identity(name: str, site: str) -> str:
    """The sentinel's run id: 40 hexadecimal digits, always the same."""
    return hashlib.sha256(f"{name}/{site}".encode()).hexdigest()[:40]


def condition(daemon: Daemon) -> Condition:
    """Whether the sentinel answers, and which server it holds for the primary."""
    try:
        primary, flags, others = view(daemon)
    except redis.exceptions.TimeoutError:
        return Condition("unknown", "no answer")
    except (redis.exceptions.RedisError, OSError) as error:
        return Condition("down", str(error).splitlines()[0][:120])
    return Condition("up", f"primary {primary} ({flags}), knows {others} other sentinels")


def view(daemon: Daemon) -> tuple[str, str, int]:
    """The primary's address, its flags and the number of other sentinels, as this sentinel sees them.

    Raises:
        redis.exceptions.RedisError: it does not answer.
    """
    connection = client(f"{daemon.home}/sentinel.sock")
    try:
        found: dict[str, Any] = connection.sentinel_masters()[daemon.service]
    finally:
        connection.close()
    return str(found["ip"]), ",".join(sorted(_flags(found))), int(found["num-other-sentinels"])


def _flags(found: dict[str, Any]) -> Sequence[str]:
    flags = found["flags"]
    return flags.split(",") if isinstance(flags, str) else sorted(flags)


def sees_primary_up(daemon: Daemon) -> bool:
    """Whether the sentinel is connected to a primary it holds for healthy."""
    try:
        _, flags, _ = view(daemon)
    except (redis.exceptions.RedisError, OSError, KeyError):
        return False
    return flags == "master"

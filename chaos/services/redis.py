"""Redis servers of a Sentinel-managed group (components.md section 3)."""

from __future__ import annotations

from typing import Any

import redis

from chaos.lab.layout import REDIS_PORT, Layout
from chaos.services.daemon import Condition, Daemon
from topologies.model import RedisSentinel

_ANSWER_WITHIN = 2.0


def daemons(name: str, model: RedisSentinel, layout: Layout) -> list[Daemon]:
    """The Redis servers of service ``name``: the primary first, then the replicas."""
    return [_server(name, model, layout, site) for site in (model.primary, *model.replicas)]


def _server(name: str, model: RedisSentinel, layout: Layout, site: str) -> Daemon:
    home = layout.home(name, site)
    primary = None if site == model.primary else layout.overlay(model.primary)
    return Daemon(
        component=f"{name}@{site}",
        role="redis",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}",
        home=home,
        # Sentinel makes the server rewrite its file at a failover; the restarted server then knows its role.
        argv=("redis-server", str(home / "redis.conf")),
        files={"redis.conf": config(layout.overlay(site), str(home), primary), "data/.keep": ""},
        address=layout.overlay(site),
        port=REDIS_PORT,
    )


def config(address: str, home: str, primary: str | None, listen: str | None = None) -> str:
    """A server's configuration file.

    Args:
        address: to announce, and to listen on.
        home: its directory.
        primary: address of the server to replicate from; None for the primary.
        listen: where it listens, if not on ``address``.
    """
    lines = [
        f"bind {listen or address}",
        f"port {REDIS_PORT}",
        f"unixsocket {home}/redis.sock",
        "unixsocketperm 700",
        "protected-mode no",
        "daemonize no",
        "loglevel notice",
        f"dir {home}/data",
        # Sessions are not worth a disk write: they are lost with the server, as in IAM's own set-up.
        'save ""',
        "appendonly no",
        f"replica-announce-ip {address}",
        "repl-diskless-sync yes",
        # The default waits 5 s for more replicas before the first one is served.
        "repl-diskless-sync-delay 0",
    ]
    if primary is not None:
        lines.append(f"replicaof {primary} {REDIS_PORT}")
    return "\n".join(lines) + "\n"


def client(socket: str) -> Any:
    """A client on a server's or sentinel's UNIX socket: works whatever part of the network is cut."""
    return redis.Redis(
        unix_socket_path=socket,
        socket_timeout=_ANSWER_WITHIN,
        socket_connect_timeout=_ANSWER_WITHIN,
        decode_responses=True,
    )


def condition(daemon: Daemon) -> Condition:
    """Whether the server answers PING, and in which role it is."""
    connection = client(f"{daemon.home}/redis.sock")
    try:
        connection.ping()
        found = connection.info("replication")
    except redis.exceptions.TimeoutError:
        return Condition("unknown", "no answer to PING")
    except (redis.exceptions.RedisError, OSError) as error:
        return Condition("down", str(error).splitlines()[0][:120])
    finally:
        connection.close()
    return condition_of(found)


def condition_of(info: dict[str, Any]) -> Condition:
    """Read the condition from `INFO replication`."""
    if info.get("role") == "master":
        return Condition("up", f"primary with {info.get('connected_slaves', 0)} replicas")
    return Condition("up", f"replica of {info.get('master_host')}, link {info.get('master_link_status')}")


def is_following(daemon: Daemon) -> bool:
    """Whether the server is a primary, or a replica whose link to its primary is up."""
    found = condition(daemon)
    return found.state == "up" and ("primary" in found.detail or "link up" in found.detail)

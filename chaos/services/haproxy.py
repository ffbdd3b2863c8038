"""HAProxy front ends (components.md 4.1, 4.2)."""

from __future__ import annotations

import csv
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.lab.layout import HTTP_PORT, IAM_PORT, NGINX_PORT, SERVICE_NAME, Layout
from chaos.services.daemon import Condition, Daemon, milliseconds
from topologies.model import Haproxy, IndigoIam, Nginx

HEALTH_PATH = "/actuator/health"
SITE_HEADER = "X-Front-End"
OWN_PATH = "/.faultline/haproxy"
BACKEND = "service"


@dataclass(frozen=True)
class Server:
    """A server of the backend."""

    name: str
    site: str
    address: str
    port: int


def servers_of(backend: Nginx | IndigoIam, layout: Layout) -> list[Server]:
    """What a front end balances over: one nginx per site, or every identity service."""
    if isinstance(backend, Nginx):
        return [
            Server(site, site, layout.overlay(site), NGINX_PORT)
            for site in layout.sites
            if site in backend.sites
        ]
    return [
        Server(f"{site}-{index}", site, layout.overlay(site), IAM_PORT + index)
        for site in layout.sites
        for index in range(backend.replicas.get(site, 0))
    ]


def daemons(name: str, model: Haproxy, backend: Nginx | IndigoIam, layout: Layout) -> list[Daemon]:
    """The front ends of service ``name``, in site order."""
    return [
        _front_end(name, model, servers_of(backend, layout), layout, site)
        for site in layout.sites
        if site in model.sites
    ]


def _front_end(name: str, model: Haproxy, servers: Sequence[Server], layout: Layout, site: str) -> Daemon:
    home = layout.home(name, site)
    return Daemon(
        component=f"{name}@{site}",
        role="haproxy",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}",
        home=home,
        argv=("haproxy", "-db", "-f", str(home / "haproxy.cfg")),
        files={"haproxy.cfg": config(model, servers, site, layout.public(site), str(home / "admin.sock"))},
        address=layout.public(site),
        port=HTTP_PORT,
    )


def config(
    model: Haproxy,
    servers: Sequence[Server],
    site: str,
    address: str,
    admin: str,
    port: int = HTTP_PORT,
    statistics: int | None = None,
) -> str:
    """A front end's configuration file.

    Args:
        model: of the service.
        servers: of all sites; `reach` decides which of them are used.
        site: the front end's own.
        address: its public address.
        admin: path of the admin socket.
        port: to listen on.
        statistics: another port, on which the commands that only read are answered.
    """
    check = model.check
    queue = model.timeout_connect if model.timeout_queue is None else model.timeout_queue
    lines = [
        "global",
        # No log: server state changes go to standard error anyway, requests are not wanted.
        f"    stats socket {admin} mode 600 level admin",
        *([f"    stats socket ipv4@{address}:{statistics} level user"] if statistics else []),
        "    nbthread 1",
        # Two descriptors each; hosts without CAP_SYS_RESOURCE cannot raise their limit of open files.
        "    maxconn 4000",
        "",
        "defaults",
        "    mode http",
        f"    timeout connect {milliseconds(model.timeout_connect)}ms",
        f"    timeout client {milliseconds(model.timeout_client)}ms",
        f"    timeout server {milliseconds(model.timeout_server)}ms",
        f"    timeout queue {milliseconds(queue)}ms",
        f"    retries {model.retries}",
        *(["    option redispatch"] if model.redispatch else []),
        "    option forwardfor",
        "",
        "frontend public",
        f"    bind {address}:{port}",
        # Answered by HAProxy itself: tells a dead front end from dead services behind it.
        f"    monitor-uri {OWN_PATH}",
        # Also on HAProxy's own errors, so a client can tell which front end answered.
        f"    http-after-response set-header {SITE_HEADER} {site}",
        f"    default_backend {BACKEND}",
        "",
        f"backend {BACKEND}",
        f"    balance {model.balance}",
    ]
    if check.kind == "http":
        lines += [
            "    option httpchk",
            f"    http-check send meth GET uri {HEALTH_PATH} ver HTTP/1.1 hdr Host {SERVICE_NAME}",
            "    http-check expect status 200",
        ]
    if model.reach == "local-first":
        lines.append("    option allbackups")  # all remote servers share the load, not only the first
    lines.append(
        f"    default-server check inter {milliseconds(check.inter)}ms fall {check.fall} rise {check.rise}"
    )
    for server in servers:
        if model.reach == "local" and server.site != site:
            continue
        backup = " backup" if model.reach == "local-first" and server.site != site else ""
        lines.append(f"    server {server.name} {server.address}:{server.port}{backup}")
    return "\n".join(lines) + "\n"


def ask(admin: Path, command: str, timeout: float = 2.0) -> str:
    """The answer of an HAProxy to a command on its admin socket.

    Raises:
        OSError: nobody answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(admin))
        connection.sendall(command.encode() + b"\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode()


def server_states(statistics: str) -> dict[str, str]:
    """Server name -> its state (`UP`, `DOWN`, `UP 1/3` ...), from the answer to `show stat`."""
    rows = csv.DictReader(statistics.removeprefix("# ").splitlines())
    return {
        row["svname"]: row["status"]
        for row in rows
        if row["pxname"] == BACKEND and row["svname"] not in ("FRONTEND", "BACKEND")
    }


def states(daemon: Daemon) -> dict[str, str]:
    """The states of the front end's servers.

    Raises:
        OSError: it does not answer.
    """
    return server_states(ask(daemon.home / "admin.sock", "show stat"))


def condition(daemon: Daemon) -> Condition:
    """Whether the front end answers and has a server to send requests to."""
    try:
        found = states(daemon)
    except TimeoutError:
        return Condition("unknown", "no answer on its admin socket")
    except OSError as error:
        return Condition("down", error.strerror or str(error))
    return condition_of(found)


def condition_of(found: dict[str, str]) -> Condition:
    """A front end without any server that is up answers, but only with 503."""
    usable = [name for name, state in found.items() if state.startswith(("UP", "no check"))]
    detail = ", ".join(f"{name} {state}" for name, state in found.items())
    return Condition("up" if usable else "down", detail)

"""nginx reverse proxies in front of a site's own identity services (components.md 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.lab.layout import IAM_PORT, NGINX_PORT, Layout
from chaos.services import http
from chaos.services.daemon import Condition, Daemon, milliseconds
from topologies.model import IndigoIam, Nginx

OWN_PATH = "/.faultline/nginx"
"""Answered by nginx itself: tells a dead proxy from a dead service behind it."""

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def daemons(name: str, model: Nginx, upstream: IndigoIam, layout: Layout) -> list[Daemon]:
    """The proxies of service ``name``, in site order."""
    return [
        _proxy(name, model, upstream.replicas.get(site, 0), layout, site)
        for site in layout.sites
        if site in model.sites
    ]


def _proxy(name: str, model: Nginx, replicas: int, layout: Layout, site: str) -> Daemon:
    home = layout.home(name, site)
    upstreams = [f"{layout.overlay(site)}:{IAM_PORT + index}" for index in range(replicas)]
    return Daemon(
        component=f"{name}@{site}",
        role="nginx",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}",
        home=home,
        argv=("nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-e", "stderr"),
        files={
            "nginx.conf": config(model, layout.overlay(site), upstreams, str(home), user="root"),
            **{f"tmp/{kind}/.keep": "" for kind in _TEMPORARY},
        },
        address=layout.overlay(site),
        port=NGINX_PORT,
    )


def config(model: Nginx, address: str, upstreams: Sequence[str], home: str, user: str | None = None) -> str:
    """A proxy's configuration file.

    Args:
        model: of the service.
        address: to listen on.
        upstreams: `address:port` of the site's identity services.
        home: directory for everything the proxy writes.
        user: account of the workers; that of the proxy itself when not given.
    """
    # nginx counts this timer in whole seconds (ngx_http_upstream_module).
    limits = f"max_fails={model.max_fails} fail_timeout={max(1, round(model.fail_timeout))}s"
    servers = "\n".join(f"        server {upstream} {limits};" for upstream in upstreams)
    account = f"\nuser {user};" if user else ""
    temporary = "\n".join(f"    {kind}_temp_path {home}/tmp/{kind};" for kind in _TEMPORARY)
    return f"""\
daemon off;{account}
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections 4096;
}}
http {{
{temporary}
    access_log off;
    client_body_buffer_size 64k;
    keepalive_timeout 75s;
    upstream iam {{
{servers}
        keepalive 64;
    }}
    server {{
        listen {address}:{NGINX_PORT} backlog=4096;
        location = {OWN_PATH} {{
            return 204;
        }}
        location / {{
            proxy_pass http://iam;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_connect_timeout {milliseconds(model.connect_timeout)}ms;
            proxy_send_timeout {milliseconds(model.read_timeout)}ms;
            proxy_read_timeout {milliseconds(model.read_timeout)}ms;
        }}
    }}
}}
"""


def condition(daemon: Daemon) -> Condition:
    """Whether the proxy itself answers (what is behind it has a state of its own)."""
    return http.condition(daemon.namespace, daemon.address, daemon.port, OWN_PATH, expected=204)

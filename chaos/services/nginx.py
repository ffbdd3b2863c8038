"""nginx reverse proxies in front of a site's own identity services (components.md 4.3)."""

from __future__ import annotations

from chaos.lab.layout import IAM_PORT, NGINX_PORT, Layout
from chaos.services import http
from chaos.services.daemon import Condition, Daemon, milliseconds
from topologies.model import IndigoIam, Nginx

_OWN_PATH = "/.faultline/nginx"
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
            "nginx.conf": config(model, layout.overlay(site), replicas, str(home)),
            **{f"tmp/{kind}/.keep": "" for kind in _TEMPORARY},
        },
        address=layout.overlay(site),
        port=NGINX_PORT,
    )


def config(model: Nginx, address: str, replicas: int, home: str) -> str:
    """A proxy's configuration file.

    Args:
        model: of the service.
        address: of the site inside the VPN: the proxy and its upstreams are there.
        replicas: identity services at the site.
        home: directory for everything the proxy writes.
    """
    # nginx counts this timer in whole seconds (ngx_http_upstream_module).
    limits = f"max_fails={model.max_fails} fail_timeout={max(1, round(model.fail_timeout))}s"
    upstreams = "\n".join(
        f"        server {address}:{IAM_PORT + index} {limits};" for index in range(replicas)
    )
    temporary = "\n".join(f"    {kind}_temp_path {home}/tmp/{kind};" for kind in _TEMPORARY)
    return f"""\
daemon off;
user root;
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
{upstreams}
        keepalive 64;
    }}
    server {{
        listen {address}:{NGINX_PORT} backlog=4096;
        location = {_OWN_PATH} {{
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
    return http.condition(daemon.namespace, daemon.address, daemon.port, _OWN_PATH, expected=204)

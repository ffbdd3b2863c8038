"""The health-checked DNS balancer, gdnsd (components.md 5.2)."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping

from chaos.errors import LabError
from chaos.lab.layout import (
    DNS_ADDRESS,
    DNS_NAMESPACE,
    DNS_PORT,
    HTTP_PORT,
    SERVICE_NAME,
    ZONE,
    Layout,
)
from chaos.services.daemon import Condition, Daemon
from chaos.services.haproxy import HEALTH_PATH
from topologies.model import DnsBalancer, Haproxy

RESOURCE = "front-ends"
SERVICE_TYPE = "front-end"
SITE = "dns"


def daemons(name: str, model: DnsBalancer, targets: Haproxy, layout: Layout) -> list[Daemon]:
    """The DNS balancer of service ``name``: one, outside all sites.

    Raises:
        LabError: a timer that gdnsd cannot keep (it counts whole seconds).
    """
    home = layout.home(name, SITE)
    addresses = {site: layout.public(site) for site in layout.sites if site in targets.sites}
    return [
        Daemon(
            component=f"{name}@{SITE}",
            role="gdnsd",
            service=name,
            site=SITE,
            namespace=DNS_NAMESPACE,
            group=f"{SITE}/{name}",
            home=home,
            argv=("gdnsd", "-c", str(home), "start"),
            files={
                "config": config(model, addresses, str(home)),
                f"zones/{ZONE}": zone(model),
            },
            address=DNS_ADDRESS,
            port=DNS_PORT,
        )
    ]


def config(model: DnsBalancer, addresses: Mapping[str, str], home: str) -> str:
    """Gdnsd's configuration file.

    Args:
        model: of the service.
        addresses: site -> public address of its front end.
        home: directory for its run-time files.

    Raises:
        LabError: a timer is not a whole number of seconds.
    """
    check = model.check
    interval = _whole(check.interval, "interval")
    timeout = max(1, interval // 2) if check.timeout is None else _whole(check.timeout, "timeout")
    if timeout >= interval:
        raise LabError(
            f"dns check: gdnsd needs a timeout below the interval, not {timeout} s and {interval} s: "
            "set `check: {interval: 2s, timeout: 1s}` or longer"
        )
    targets = "\n".join(f"            {site} => {address}" for site, address in addresses.items())
    return f"""\
options => {{
    listen => {DNS_ADDRESS}
    dns_port => {DNS_PORT}
    run_dir => {home}/run
    state_dir => {home}/state
    min_ttl => 1
    zones_default_ttl => {_whole(model.ttl, "ttl")}
}}
service_types => {{
    {SERVICE_TYPE} => {{
        plugin => http_status
        port => {HTTP_PORT}
        url_path => {HEALTH_PATH}
        vhost => {SERVICE_NAME}
        ok_codes => [ 200 ]
        up_thresh => {check.up}
        ok_thresh => {check.ok}
        down_thresh => {check.down}
        interval => {interval}
        timeout => {timeout}
    }}
}}
plugins => {{
    multifo => {{
        {RESOURCE} => {{
            service_types => {SERVICE_TYPE}
{targets}
        }}
    }}
}}
"""


def zone(model: DnsBalancer) -> str:
    """The zone with the one dynamic name clients ask for."""
    ttl = _whole(model.ttl, "ttl")
    host = SERVICE_NAME.removesuffix(f".{ZONE}")
    return f"""\
@ 3600 SOA ns1 hostmaster ( 1 7200 1800 259200 60 )
@ 3600 NS ns1
ns1 3600 A {DNS_ADDRESS}
{host} {ttl} DYNA multifo!{RESOURCE}
"""


def _whole(seconds: float, what: str) -> int:
    if seconds < 1 or not math.isclose(seconds, round(seconds)):
        raise LabError(
            f"dns {what}: gdnsd counts whole seconds from 1, not {seconds:g} s: "
            f"set it to {max(1, round(seconds))}s in the topology's `lab:` overlay"
        )
    return round(seconds)


def monitored(daemon: Daemon, timeout: float = 5.0) -> dict[str, str]:
    """Address -> `UP` or `DOWN`, as the balancer's monitor sees the front ends.

    Raises:
        OSError: the balancer does not answer on its control socket.
    """
    done = subprocess.run(
        ["gdnsdctl", "-c", str(daemon.home), "-o", "-t", "5", "states"],
        capture_output=True,
        text=True,
        timeout=timeout + 1,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no answer")
    return states_of(done.stdout)


def states_of(text: str) -> dict[str, str]:
    """Read the answer to `gdnsdctl states`: keys are `<address>/<service type>`."""
    found: dict[str, dict[str, str]] = json.loads(text)
    return {key.partition("/")[0]: entry["real_state"] for key, entry in found.items()}


def condition(daemon: Daemon) -> Condition:
    """Whether the balancer answers, and what it thinks of the front ends."""
    try:
        found = monitored(daemon)
    except subprocess.TimeoutExpired:
        return Condition("unknown", "no answer on its control socket")
    except (OSError, ValueError, KeyError) as error:
        return Condition("down", str(error)[:120])
    detail = ", ".join(f"{address} {state}" for address, state in found.items())
    return Condition("up", detail)

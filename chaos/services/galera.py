"""MariaDB Galera members (components.md section 1).

Every member starts from a copy of the same data at the same `uuid:seqno`, and from a saved view
(`gvwstate.dat`) that names all members. That is the state after a power cut of the whole cluster,
from which Galera forms its primary component by itself as soon as all are back, with no state
transfer (`pc.recovery`, components.md 1.11): three members serve after about 3 s instead of 20 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import pymysql

from chaos.errors import LabError
from chaos.lab.layout import GALERA_PORT, IST_PORT, MARIADB_PORT, Layout
from chaos.services import mariadb
from chaos.services.daemon import Condition, Daemon
from topologies.model import Galera

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
CLUSTER = "faultline"

START = """\
#!/bin/sh
# Recover the position first, as galera_recovery does under systemd: a member that was killed has
# no seqno on disk and would otherwise copy everything from another one (components.md 1.12).
cd "$(dirname "$0")" || exit 1
mariadbd --defaults-file="$PWD/my.cnf" --wsrep-recover --log-error="$PWD/recover.log" --skip-networking
position=$(sed -n 's/.*WSREP: Recovered position: *//p' recover.log | tail -n 1)
rm -f recover.log
case $position in ''|00000000-*) position= ;; esac
exec mariadbd --defaults-file="$PWD/my.cnf" ${position:+--wsrep-start-position="$position"}
"""

ALONE = """\
# The only member: nobody can have newer data, so it may always found the cluster anew.
rm -f data/gvwstate.dat
sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' data/grastate.dat
"""


def daemons(name: str, model: Galera, layout: Layout, connections: int) -> list[Daemon]:
    """The members of the Galera service ``name``, in site order.

    Args:
        connections: client connections each member must allow.

    Raises:
        LabError: a site has more than one member; the ports of a node are there once.
    """
    crowded = [site for site, count in model.members.items() if count > 1]
    if crowded:
        raise LabError(
            f"{name} has several members at {', '.join(crowded)}: the local lab runs one per site, "
            f"set `services: {{{name}: {{members: {{{crowded[0]}: 1}}}}}}` in the topology's `lab:` overlay"
        )
    sites = [site for site in layout.sites if site in model.members]
    return [_member(name, model, layout, site, sites, connections) for site in sites]


def _member(
    name: str, model: Galera, layout: Layout, site: str, sites: Sequence[str], connections: int
) -> Daemon:
    home = layout.home(name, site)
    address = layout.overlay(site)
    peers = [layout.overlay(other) for other in sites] if len(sites) > 1 else []
    return Daemon(
        component=f"{name}@{site}",
        role="mariadb",
        service=name,
        site=site,
        namespace=layout.namespace(site),
        group=f"{site}/{name}",
        home=home,
        argv=("/bin/sh", str(home / "start.sh")),
        files={
            "my.cnf": mariadb.option_file(options(model, home, connections, site, address, peers)),
            "start.sh": START.replace("exec ", ALONE + "exec ") if len(sites) == 1 else START,
            "tmp/.keep": "",
        },
        address=address,
        port=MARIADB_PORT,
        user=mariadb.USER,
    )


def options(
    model: Galera,
    home: PurePath,
    connections: int,
    member: str,
    address: str,
    peers: Sequence[str],
    listen: str | None = None,
) -> dict[str, object]:
    """The settings of a member.

    Args:
        model: of the service.
        home: its directory.
        connections: client connections to allow.
        member: its name in the cluster.
        address: by which the other members reach it.
        peers: addresses of members to join. An empty list founds a cluster, which only a member
            without others may do.
        listen: where it listens; `address` when not given. They differ where the address is
            translated on the way, as that of a Kubernetes Service is.
    """
    return {
        **mariadb.settings(
            home, listen or address, connections, model.flush_log_at_trx_commit, model.isolation
        ),
        "skip-log-bin": "ON",
        "wsrep-on": "ON",
        "wsrep-provider": PROVIDER,
        "wsrep-cluster-name": CLUSTER,
        "wsrep-cluster-address": "gcomm://" + ",".join(peers),
        "wsrep-node-address": address,
        "wsrep-node-name": member,
        "wsrep-sst-method": "rsync",
        "wsrep-slave-threads": model.slave_threads,
        "wsrep-retry-autocommit": model.retry_autocommit,
        "wsrep-sync-wait": model.sync_wait,
        "wsrep-provider-options": f'"{provider_options(model, address, listen)}"',
    }


def provider_options(model: Galera, address: str, listen: str | None = None) -> str:
    """The `wsrep_provider_options` of a member: the model's timers, windows and flow control.

    Args:
        model: of the service.
        address: by which the other members reach it.
        listen: where it listens, if that is another address.
    """
    options = {
        "gmcast.listen_addr": f"tcp://{listen or address}:{GALERA_PORT}",
        "evs.suspect_timeout": period(model.suspect_timeout),
        "evs.inactive_timeout": period(model.inactive_timeout),
        "evs.inactive_check_period": period(model.inactive_check_period),
        "evs.keepalive_period": period(model.keepalive_period),
        "evs.install_timeout": period(model.install_timeout),
        # The provider refuses a user window above the send window while it is being set.
        "evs.send_window": str(max(model.send_window, model.user_send_window)),
        "evs.user_send_window": str(model.user_send_window),
        "gcs.fc_limit": str(model.fc_limit),
    }
    if listen is not None:
        options |= {
            "ist.recv_addr": f"{address}:{IST_PORT}",
            "ist.recv_bind": f"{listen}:{IST_PORT}",
        }
    return ";".join(f"{key}={value}" for key, value in options.items())


def period(seconds: float) -> str:
    """A duration as the provider reads it (ISO 8601, milliseconds at best): `PT0.5S`."""
    return f"PT{round(seconds, 3):.12g}S"


def member_uuid(number: int) -> str:
    """Identity of member ``number`` (from 1) in the group.

    Members are ordered by it, and the lower one wins when two commit at the same moment
    (components.md 1.4), so the order of the sites in the topology is the order of the members.
    """
    return f"{number:08x}-0000-1000-8000-{number:012x}"


def saved_view(number: int, members: int) -> str:
    """`gvwstate.dat` of member ``number`` of a primary component with ``members`` members."""
    lines = [
        f"my_uuid: {member_uuid(number)}",
        "#vwbeg",
        f"view_id: 3 {member_uuid(1)} 1",
        "bootstrap: 0",
        *(f"member: {member_uuid(other)} 0" for other in range(1, members + 1)),
        "#vwend",
    ]
    return "\n".join(lines) + "\n"


def saved_state(uuid: str, seqno: int) -> str:
    """`grastate.dat` of a member that was stopped cleanly at ``uuid:seqno``."""
    return f"# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: 0\n"


def condition(daemon: Daemon) -> Condition:
    """Whether the member serves: `wsrep_ready`, which a member outside the primary component lacks."""
    try:
        status = mariadb.variables(daemon, "wsrep_%")
    except (pymysql.err.MySQLError, OSError) as error:
        return mariadb.unanswered(daemon, error)
    return condition_of(status)


def condition_of(status: Mapping[str, str]) -> Condition:
    """Read the condition from a member's `wsrep_%` status variables."""
    detail = (
        f"{status.get('wsrep_local_state_comment', '?')}, {status.get('wsrep_cluster_status', '?')} "
        f"component of {status.get('wsrep_cluster_size', '?')}"
    )
    return Condition("up" if status.get("wsrep_ready") == "ON" else "down", detail)


def is_synced(daemon: Daemon, members: int) -> bool:
    """Whether the member is synced in a primary component of ``members`` members."""
    try:
        status = mariadb.variables(daemon, "wsrep_%")
    except (pymysql.err.MySQLError, OSError):
        return False
    return (
        status.get("wsrep_ready") == "ON"
        and status.get("wsrep_local_state_comment") == "Synced"
        and status.get("wsrep_cluster_size") == str(members)
    )

"""Where everything of the local lab lives: namespaces, addresses, ports, directories.

Addresses come from 198.18.0.0/15, the range reserved for benchmarks (RFC 2544), so the lab can
never collide with the user's networks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import LabError
from topologies.model import Topology

DNS_NAMESPACE = "fl-dns"
DNS_ADDRESS = "198.18.250.1"
DNS_PORT = 53
ZONE = "faultline.test"
SERVICE_NAME = f"iam.{ZONE}"

HTTP_PORT = 80
NGINX_PORT = 8080
IAM_PORT = 8001
MARIADB_PORT = 3306
GALERA_PORT = 4567
IST_PORT = 4568
SST_PORT = 4444
REDIS_PORT = 6379
SENTINEL_PORT = 26379
WIREGUARD_PORT = 51820

DEFAULT_DIRECTORY = Path("/var/lib/faultline/lab")
DEFAULT_CACHE = Path("/var/cache/faultline")
MOST_SITES = 200

LONGEST_SOCKET_PATH = 107
"""Bytes a UNIX socket's path may have (`sun_path`, unix(7))."""


def lab_directory() -> Path:
    """Directory of the lab's state: FAULTLINE_LAB_DIR, else /var/lib/faultline/lab."""
    return Path(os.environ.get("FAULTLINE_LAB_DIR") or DEFAULT_DIRECTORY).absolute()


def cache_directory() -> Path:
    """Directory of what may be kept between labs: FAULTLINE_CACHE_DIR, else /var/cache/faultline."""
    return Path(os.environ.get("FAULTLINE_CACHE_DIR") or DEFAULT_CACHE).absolute()


@dataclass(frozen=True)
class Layout:
    """Places and addresses for the sites of one topology, in file order.

    Attributes:
        sites: names of the sites; the first has index 1.
        directory: root of the lab's state.
    """

    sites: tuple[str, ...]
    directory: Path

    @classmethod
    def of(cls, topology: Topology, directory: Path | None = None) -> Layout:
        """The layout of ``topology`` below ``directory`` (the lab's own when not given).

        Raises:
            LabError: the topology does not fit one machine, or paths get too long for sockets.
        """
        wide = [name for name, site in topology.sites.items() if site.nodes != 1]
        if wide:
            raise LabError(
                f"the local lab has one node per site, but {', '.join(wide)} "
                f"{'has' if len(wide) == 1 else 'have'} more: set `nodes: 1` in the topology's `lab:` overlay"
            )
        if len(topology.sites) > MOST_SITES:
            raise LabError(
                f"the local lab holds at most {MOST_SITES} sites, the topology has {len(topology.sites)}"
            )
        layout = cls(tuple(topology.sites), directory or lab_directory())
        longest = max(
            len(str(layout.home(service, site))) for service in topology.services for site in layout.sites
        )
        if longest + len("/00/mariadb.sock") > LONGEST_SOCKET_PATH:
            raise LabError(
                f"the lab directory {layout.directory} makes socket paths longer than "
                f"{LONGEST_SOCKET_PATH} bytes: set FAULTLINE_LAB_DIR to a shorter path"
            )
        return layout

    def index(self, site: str) -> int:
        """Number of the site, from 1."""
        return self.sites.index(site) + 1

    def namespace(self, site: str) -> str:
        """Network namespace of the site's node."""
        return f"fl-{site}"

    def users_namespace(self, site: str) -> str:
        """Network namespace of the clients next to the site."""
        return f"fl-{site}-u"

    def public(self, site: str) -> str:
        """Address of the site on the public network (underlay)."""
        return f"198.18.{self.index(site)}.1"

    def users(self, site: str) -> str:
        """Address of the clients next to the site, on the public network."""
        return f"198.18.{self.index(site)}.129"

    def overlay(self, site: str) -> str:
        """Address of the site inside the VPN."""
        return f"198.19.{self.index(site)}.1"

    def interface(self, site: str) -> str:
        """Name of the site's WireGuard interface; unique on the machine, as wireguard-go needs."""
        return f"flwg{self.index(site)}"

    def site_of_public(self, address: str) -> str | None:
        """The site a public address belongs to."""
        return next((site for site in self.sites if self.public(site) == address), None)

    def home(self, service: str, site: str) -> Path:
        """Directory of a service's configuration, logs and data at a site."""
        return self.directory / service / site

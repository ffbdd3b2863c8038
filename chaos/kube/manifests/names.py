"""The lab's names in the DNS of a cluster.

`<service>.<site>.faultline.test` stands in a block of CoreDNS's own configuration, so names of remote
Services keep resolving while the link to their site is cut.
"""

from __future__ import annotations

import re

from chaos.kube.addresses import Addresses
from chaos.lab.layout import ZONE

BEGIN = "# faultline: begin"
END = "# faultline: end"
LIFETIME = 30
"""Seconds that an answer may be kept, as CoreDNS's own answers for Services (kubernetes plugin, 5 s; Corefile
of kubeadm, 30 s)."""


def corefile(text: str, addresses: Addresses) -> str:
    """A Corefile with the names of the lab added, or brought up to date.

    Args:
        text: the Corefile as it is (key `Corefile` of the ConfigMap `coredns` in `kube-system`).
        addresses: of the lab.
    """
    return without_names(text).rstrip("\n") + "\n" + block(addresses)


def without_names(text: str) -> str:
    """A Corefile without the names of the lab."""
    return re.sub(rf"(?ms)^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?", "", text)


def block(addresses: Addresses) -> str:
    """The server block that answers for the lab's zone."""
    lines = [f"        {address} {host}" for address, host in addresses.hosts()]
    return "\n".join(
        [
            BEGIN,
            f"{ZONE}:53 {{",
            "    errors",
            "    hosts {",
            *lines,
            f"        ttl {LIFETIME}",
            "    }",
            "}",
            END,
            "",
        ]
    )

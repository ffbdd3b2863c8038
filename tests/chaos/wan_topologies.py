"""Small topologies for the WAN's tests."""

from __future__ import annotations

from typing import Any

from topologies.model import Topology


def topology(sites: list[str], links: list[dict[str, Any]], cpu: float = 1.0) -> Topology:
    """A topology with one front end at its first site and the given links."""
    first = sites[0]
    return Topology.model_validate(
        {
            "topology": "wan-test",
            "sites": {site: {"nodes": 1, "cpu": cpu} for site in sites},
            "links": links,
            "services": {
                "db": {"kind": "galera", "members": {first: 1}},
                "iam": {"kind": "indigo-iam", "replicas": {first: 1}, "database": "db"},
                "frontend": {"kind": "haproxy", "sites": [first], "backend": "iam"},
                "dns": {"kind": "dns-balancer", "targets": "frontend"},
            },
            "clients": {"users": {"site": first}},
        }
    )


def triangle(rtt: str = "30ms", **values: Any) -> Topology:
    """Three sites, each linked to each."""
    pairs = [("ral", "cam"), ("ral", "edi"), ("cam", "edi")]
    return topology(["ral", "cam", "edi"], [{"between": list(pair), "rtt": rtt, **values} for pair in pairs])


def line(**values: Any) -> Topology:
    """Three sites in a row: ral - cam - edi, 10 ms and 20 ms."""
    return topology(
        ["ral", "cam", "edi"],
        [
            {"between": ["ral", "cam"], "rtt": "10ms", "bandwidth": "100Mbit", **values},
            {"between": ["cam", "edi"], "rtt": "20ms", "bandwidth": "50Mbit", "loss": "10%", **values},
        ],
    )

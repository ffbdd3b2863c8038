"""What a cluster that somebody else has looks like: its ranges of addresses and its nodes."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

from chaos.errors import LabError
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, Object, Refused


def service_range(cluster: Cluster) -> str:
    """A range of addresses that the cluster's Services may have.

    Since 1.33 an object says it (ServiceCIDR), if the account may look at it; before that a refused
    address did. Failing both, a Service that is only tried out (dry run) gets an address of the range:
    then the 256 addresses around it are taken.

    Raises:
        LabError: none of these says it.
    """
    with suppress(Refused):
        found = cluster.request("GET", "/apis/networking.k8s.io/v1/servicecidrs")["items"]
        ranges = [cidr for one in found for cidr in one["spec"].get("cidrs", ()) if ":" not in cidr]
        if ranges:
            return str(ranges[0])
    try:
        _try_service(cluster, {"clusterIP": "198.51.100.1"})
    except Refused as error:
        match = re.search(r"valid IPs is (\d+\.\d+\.\d+\.\d+/\d+)", str(error))
        if match:
            return match[1]
    try:
        given = _try_service(cluster, {})["spec"]["clusterIP"]
        return str(ipaddress.ip_network(f"{given}/24", strict=False))
    except (Refused, KeyError, ValueError) as error:
        raise LabError(f"cannot find out the range of Services of {cluster.site}: {error}") from error


def _try_service(cluster: Cluster, spec: Object) -> Object:
    """What the API server would make of a Service; nothing is made."""
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "faultline-range", "namespace": NAMESPACE},
        "spec": {**spec, "ports": [{"port": 80}]},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/services"
    answer: Object = cluster.request("POST", path, wanted, query={"dryRun": "All"})
    return answer


def pod_range(cluster: Cluster) -> str:
    """A range that holds the pods of all nodes."""
    found = [
        ipaddress.ip_network(cidr)
        for node in cluster.objects("v1", "Node")
        if (cidr := node["spec"].get("podCIDR"))
    ]
    if not found:
        return "0.0.0.0/0"  # the network plugin keeps its own book: any address may be a pod's
    joined = found[0]
    while not all(one.subnet_of(joined) for one in found):  # type: ignore[arg-type]
        joined = joined.supernet()
    return str(joined)


def nodes(cluster: Cluster) -> list[tuple[str, str]]:
    """Names and addresses of the nodes, those of the control plane first."""
    found = []
    for node in cluster.objects("v1", "Node"):
        labels = node["metadata"].get("labels") or {}
        address = next(
            (one["address"] for one in node["status"].get("addresses", ()) if one["type"] == "InternalIP"), ""
        )
        first = "node-role.kubernetes.io/control-plane" not in labels
        found.append((first, str(node["metadata"]["name"]), str(address)))
    return [(name, address) for _, name, address in sorted(found)]

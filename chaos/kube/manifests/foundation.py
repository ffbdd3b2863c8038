"""What belongs to no workload: the namespace and the traffic that is allowed in it."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.kube.addresses import (
    DATABASE_HEALTH_PORT,
    FRONTEND_PORT,
    HAPROXY_STATS_PORT,
    NAMESPACE,
)
from chaos.kube.manifests.objects import (
    CHAOS_LABEL,
    ISOLATED_LABEL,
    ROLE_LABEL,
    Object,
    Site,
    common_labels,
    metadata,
)
from chaos.lab.layout import (
    GALERA_PORT,
    IAM_PORT,
    IST_PORT,
    MARIADB_PORT,
    NGINX_PORT,
    REDIS_PORT,
    SENTINEL_PORT,
    SST_PORT,
)
from topologies.kubernetes import Role

LAB_PORTS: dict[Role, tuple[int, ...]] = {
    "iam": (IAM_PORT,),
    "db": (MARIADB_PORT, GALERA_PORT, IST_PORT, SST_PORT, DATABASE_HEALTH_PORT),
    "redis": (REDIS_PORT,),
    "sentinel": (SENTINEL_PORT,),
    "nginx": (NGINX_PORT,),
    "haproxy": (HAPROXY_STATS_PORT,),
}
"""Ports of each role that only the lab itself may reach; the front ends' own port is for everybody."""


def namespace(site: Site) -> Object:
    """The lab's namespace. Faults are allowed in it, and the gateway needs its node's network."""
    labels = {
        **common_labels(site.name),
        CHAOS_LABEL: "true",
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/audit": "restricted",
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(NAMESPACE, labels, None)}


def network_policies(site: Site, roles: Sequence[Role]) -> list[Object]:
    """Who may connect to whom: nobody, unless a policy of a role says so.

    The policies of the roles leave out pods with `ISOLATED_LABEL`. Policies only ever add permissions,
    so this is how a pod can be cut off without taking any of them away.
    """
    everywhere = [
        {"ipBlock": {"cidr": cidr}}
        for other in site.addresses.sites
        for cidr in (site.addresses.seen_pod_range(other), site.addresses.seen_service_range(other))
    ]
    if site.addresses.overlapping:
        everywhere.append({"ipBlock": {"cidr": site.addresses.pod_range(site.name)}})
    found = [
        _policy(site, "default-deny", {}, {"policyTypes": ["Ingress"], "ingress": []}),
        _policy(
            site,
            "isolated",
            {"matchLabels": {ISOLATED_LABEL: "true"}},
            {"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []},
        ),
    ]
    for role in dict.fromkeys(roles):
        rules: list[Object] = [{"from": everywhere, "ports": _ports(LAB_PORTS[role])}]
        if role == "haproxy":
            rules.append({"ports": _ports([FRONTEND_PORT])})
        selector = {
            "matchLabels": {ROLE_LABEL: role},
            "matchExpressions": [{"key": ISOLATED_LABEL, "operator": "DoesNotExist"}],
        }
        found.append(_policy(site, f"allow-{role}", selector, {"policyTypes": ["Ingress"], "ingress": rules}))
    return found


def _ports(numbers: Sequence[int]) -> list[Object]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _policy(site: Site, name: str, selector: Object, rules: Object) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, common_labels(site.name)),
        "spec": {"podSelector": selector, **rules},
    }

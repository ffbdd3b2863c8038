"""The building blocks of manifests: names, labels, and what every pod of the lab has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos.kube.addresses import FRONTEND_PORT, NAMESPACE, Addresses
from chaos.kube.manifests.secrets import Secrets
from chaos.lab.layout import HTTP_PORT
from topologies.kubernetes import Role
from topologies.model import Topology

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as plain data."""

PART_OF = "faultline"
SERVICE_LABEL = "faultline.io/service"
ROLE_LABEL = "faultline.io/role"
SITE_LABEL = "faultline.io/site"
ISOLATED_LABEL = "faultline.io/isolated"
"""A pod with this label is let alone by every policy that allows traffic, and taken by the one that allows
none: setting it cuts the pod off, removing it undoes that."""

CHAOS_LABEL = "faultline.io/chaos-allowed"
CONFIG_ANNOTATION = "faultline.io/configuration"

ACCOUNT = 10001
"""User and group of every process in the lab's pods."""

CONFIG_PATH = "/etc/faultline/config"
SECRETS_PATH = "/etc/faultline/secrets"
HOME_PATH = "/var/lib/faultline"
"""Where a daemon keeps what it writes."""


@dataclass(frozen=True)
class Site:
    """What every manifest of one site is made from.

    Attributes:
        topology: the whole.
        name: of the site.
        addresses: of all sites.
        image: of the lab.
        secrets: of this lab.
        host_names: write the names of Services into every pod, for clusters whose DNS cannot be told.
        node_port: port of the nodes on which front ends are reached.
    """

    topology: Topology
    name: str
    addresses: Addresses
    image: str
    secrets: Secrets
    host_names: bool = False
    node_port: int = HTTP_PORT

    def limit(self, role: Role) -> float:
        """Cores that a pod of ``role`` may use here."""
        return self.topology.kubernetes.cpu_limit(role, self.topology.sites[self.name].cpu)

    def host(self, service: str, site: str) -> str:
        """Name of a Service of any site."""
        return self.addresses.endpoint(service, site).host

    def address(self, service: str, site: str) -> str:
        """Address of a Service of any site."""
        return self.addresses.endpoint(service, site).address


@dataclass(frozen=True)
class Workload:
    """One set of equal pods.

    Attributes:
        name: of the Deployment or StatefulSet.
        service: of the topology.
        role: what its pods do.
    """

    name: str
    service: str
    role: Role

    def labels(self, site: str) -> dict[str, str]:
        """Labels of its objects and pods."""
        return {
            "app.kubernetes.io/name": self.name,
            "app.kubernetes.io/component": self.role,
            "app.kubernetes.io/part-of": PART_OF,
            SERVICE_LABEL: self.service,
            ROLE_LABEL: self.role,
            SITE_LABEL: site,
        }

    @property
    def selector(self) -> dict[str, str]:
        """Labels that tell its pods from all others."""
        return {"app.kubernetes.io/name": self.name, ROLE_LABEL: self.role}


def metadata(name: str, labels: Mapping[str, str], namespace: str | None = NAMESPACE) -> Object:
    """Name, namespace and labels of an object."""
    where = {} if namespace is None else {"namespace": namespace}
    return {"name": name, **where, "labels": dict(labels)}


def common_labels(site: str) -> dict[str, str]:
    """Labels of what belongs to no workload."""
    return {"app.kubernetes.io/part-of": PART_OF, SITE_LABEL: site}


def config_map(name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> Object:
    """A ConfigMap with files."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, labels), "data": dict(data)}


def secret(name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> Object:
    """A Secret with files."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, labels),
        "type": "Opaque",
        "stringData": dict(data),
    }


def digest(*objects: Object) -> str:
    """Names the content of ConfigMaps and Secrets, so that pods are replaced when it changes."""
    text = json.dumps([one.get("data", one.get("stringData")) for one in objects], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def service_account(site: Site, workload: Workload) -> Object:
    """The account of a workload's pods; they never speak to the API, so it gets no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(workload.name, workload.labels(site.name)),
        "automountServiceAccountToken": False,
    }


def disruption_budget(site: Site, workload: Workload) -> Object:
    """How many pods of a workload a drain may take at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(workload.name, workload.labels(site.name)),
        "spec": {
            "maxUnavailable": site.topology.kubernetes.disruption_budget,
            "selector": {"matchLabels": workload.selector},
        },
    }


def services(site: Site, workload: Workload, ports: Mapping[str, int]) -> list[Object]:
    """The Services of a workload: one per pod where pods have names, and one for all.

    Args:
        site: where.
        workload: which.
        ports: name -> number, the clients' own first; the same in the pod.
    """
    found = []
    for endpoint in site.addresses.at(site.name):
        if (endpoint.service, endpoint.role) != (workload.service, workload.role):
            continue
        selector = dict(workload.selector)
        if endpoint.pod is not None:
            selector["statefulset.kubernetes.io/pod-name"] = endpoint.pod
        spec: Object = {"type": "ClusterIP", "clusterIP": endpoint.cluster_ip}
        if endpoint.address != endpoint.cluster_ip:
            spec["externalIPs"] = [endpoint.address]
        if endpoint.pod is not None:
            # Peers talk to a member before it is ready: it becomes ready through them.
            spec["publishNotReadyAddresses"] = True
        spec |= {
            "selector": selector,
            "ports": [
                {"name": name, "protocol": "TCP", "port": port, "targetPort": name}
                for name, port in ports.items()
            ],
        }
        if workload.role == "haproxy":
            spec["type"] = "NodePort"
            spec["ports"] = [
                {
                    "name": "http",
                    "protocol": "TCP",
                    "port": endpoint.port,
                    "targetPort": FRONTEND_PORT,
                    "nodePort": site.node_port,
                }
            ]
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata(endpoint.name, workload.labels(site.name)),
                "spec": spec,
            }
        )
    return found


def deployment(site: Site, workload: Workload, replicas: int, template: Object) -> Object:
    """A Deployment that rolls as the topology's settings say."""
    kubernetes = site.topology.kubernetes
    surge, unavailable = kubernetes.surge(replicas)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(workload.name, workload.labels(site.name)),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "minReadySeconds": int(kubernetes.min_ready),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "selector": {"matchLabels": workload.selector},
            "template": template,
        },
    }


def stateful_set(
    site: Site, workload: Workload, replicas: int, template: Object, claims: Mapping[str, str]
) -> Object:
    """A StatefulSet whose pods keep their names and volumes."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(workload.name, workload.labels(site.name)),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "serviceName": workload.name,
            "podManagementPolicy": site.topology.kubernetes.pod_management,
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": workload.selector},
            "template": template,
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": name, "labels": workload.labels(site.name)},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": size}},
                    },
                }
                for name, size in claims.items()
            ],
        },
    }

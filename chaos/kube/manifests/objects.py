"""The building blocks of manifests: names, labels, and what every pod of the lab has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.kube.addresses import FRONTEND_PORT, NAMESPACE, Addresses
from chaos.kube.manifests.secrets import Secrets
from topologies.kubernetes import Pod, Probe, Role
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

REQUESTED_SHARE = 0.1
"""CPU that a pod asks for, as a part of its limit. A node of the lab is overbooked on purpose: what counts
is the limit, and the scheduler must not refuse what the machine can run."""


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
    """

    topology: Topology
    name: str
    addresses: Addresses
    image: str
    secrets: Secrets
    host_names: bool = False

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


@dataclass(frozen=True)
class Container:
    """The one container of a pod.

    Attributes:
        command: replaces the image's own.
        ports: name -> number.
        probe: how to ask it whether it serves.
        live: how to ask it whether it is alive; like ``probe`` when not given.
        mounts: where each volume is seen; all but `writable` ones only for reading.
        writable: names of the volumes it writes to.
        volumes: name -> source, as in a pod's specification.
        claims: volume claims of a StatefulSet: name -> size.
        environment: further variables.
    """

    command: Sequence[str]
    ports: Mapping[str, int]
    probe: Object
    live: Object | None = None
    mounts: Mapping[str, str] = field(default_factory=dict)
    writable: frozenset[str] = frozenset()
    volumes: Mapping[str, Object] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    environment: Sequence[Object] = ()


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


def http(path: str, port: str) -> Object:
    """A probe by an HTTP request."""
    return {"httpGet": {"path": path, "port": port}}


def tcp(port: str) -> Object:
    """A probe that only connects."""
    return {"tcpSocket": {"port": port}}


def _probe(how: Object, when: Probe) -> Object:
    return {
        **how,
        "initialDelaySeconds": int(when.initial_delay),
        "periodSeconds": int(when.period),
        "timeoutSeconds": int(when.timeout),
        "successThreshold": when.success_threshold,
        "failureThreshold": when.failure_threshold,
    }


def cpu(cores: float) -> str:
    """A quantity of CPU: `500m`."""
    return f"{max(1, round(cores * 1000))}m"


def pod_template(site: Site, workload: Workload, container: Container, configuration: str) -> Object:
    """The pods of a workload: one container, as little privilege as its daemon can do with.

    Args:
        site: where.
        workload: which.
        container: what runs in it.
        configuration: digest of what it is configured with.
    """
    kubernetes = site.topology.kubernetes
    settings = kubernetes.pod(workload.role)
    limit = site.limit(workload.role)
    limits, requests = {"cpu": cpu(limit)}, {"cpu": cpu(limit * REQUESTED_SHARE)}
    if settings.memory is not None:
        limits["memory"] = requests["memory"] = str(round(settings.memory))
    mounts = [
        {"name": name, "mountPath": path, **({} if name in container.writable else {"readOnly": True})}
        for name, path in container.mounts.items()
    ]
    spec: Object = {
        "serviceAccountName": workload.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(settings.termination_grace_period),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": ACCOUNT,
            "runAsGroup": ACCOUNT,
            "fsGroup": ACCOUNT,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Names of the lab are complete: no attempts with the cluster's own domains appended.
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        **({"hostAliases": _host_aliases(site)} if site.host_names else {}),
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "labelSelector": {"matchLabels": workload.selector},
                            "topologyKey": "kubernetes.io/hostname",
                        },
                    }
                ]
            }
        },
        "tolerations": [
            _toleration("not-ready", kubernetes.not_ready_toleration),
            _toleration("unreachable", kubernetes.unreachable_toleration),
        ],
        "containers": [
            {
                "name": workload.role,
                "image": site.image,
                "imagePullPolicy": "IfNotPresent",
                "command": list(container.command),
                "env": [*container.environment],
                "ports": [
                    {"name": name, "containerPort": port, "protocol": "TCP"}
                    for name, port in container.ports.items()
                ],
                "resources": {"requests": requests, "limits": limits},
                **_probes(settings, container),
                **_pre_stop(settings, kubernetes.minor),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": [{"name": name, **source} for name, source in container.volumes.items()],
    }
    return {
        "metadata": {
            "labels": workload.labels(site.name),
            "annotations": {CONFIG_ANNOTATION: configuration},
        },
        "spec": spec,
    }


def _probes(settings: Pod, container: Container) -> Object:
    found = {}
    if settings.readiness is not None:
        found["readinessProbe"] = _probe(container.probe, settings.readiness)
    if settings.liveness is not None:
        found["livenessProbe"] = _probe(container.live or container.probe, settings.liveness)
    return found


def _pre_stop(settings: Pod, minor: int) -> Object:
    seconds = int(settings.pre_stop_sleep)
    if not seconds:
        return {}
    # The kubelet sleeps by itself since 1.30 (KEP-3960).
    action = (
        {"sleep": {"seconds": seconds}} if minor >= 30 else {"exec": {"command": ["sleep", str(seconds)]}}
    )
    return {"lifecycle": {"preStop": action}}


def _toleration(condition: str, seconds: float) -> Object:
    return {
        "key": f"node.kubernetes.io/{condition}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": int(seconds),
    }


def _host_aliases(site: Site) -> list[Object]:
    return [{"ip": address, "hostnames": [host]} for address, host in site.addresses.hosts()]


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
                    "nodePort": endpoint.port,
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


SCRATCH: Object = {"emptyDir": {"sizeLimit": "64Mi"}}
"""A place for temporary files; gone with the pod."""


def files(kind: str, name: str) -> Object:
    """A volume with the files of a ConfigMap or Secret."""
    if kind == "Secret":
        return {"secret": {"secretName": name, "defaultMode": 0o440}}
    return {"configMap": {"name": name, "defaultMode": 0o444}}

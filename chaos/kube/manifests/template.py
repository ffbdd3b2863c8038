"""The pods of a workload: one container, as little privilege as its daemon can do with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaos.kube.manifests.objects import ACCOUNT, CONFIG_ANNOTATION, Object, Site, Workload
from topologies.kubernetes import Pod, Probe

REQUESTED_SHARE = 0.1
"""CPU that a pod asks for, as a part of its limit. A node of the lab is overbooked on purpose: what counts
is the limit, and the scheduler must not refuse what the machine can run."""

SCRATCH: Object = {"emptyDir": {"sizeLimit": "64Mi"}}
"""A place for temporary files; gone with the pod."""


def files(kind: str, name: str) -> Object:
    """A volume with the files of a ConfigMap or Secret."""
    if kind == "Secret":
        return {"secret": {"secretName": name, "defaultMode": 0o440}}
    return {"configMap": {"name": name, "defaultMode": 0o444}}


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

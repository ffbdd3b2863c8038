"""The gateway of each site: what it is to keep, its keys, and the objects that run it.

WireGuard runs in a pod and not on the node, because a pod is what real installations have
(Liqo, Submariner) and what can be killed and replaced by Kubernetes itself. It needs the node's network,
the right to change it, and the TUN device; not a privileged container.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from chaos.errors import LabError
from chaos.kube.addresses import NAMESPACE, Addresses
from chaos.kube.api import Object
from chaos.kube.gateway import Configuration, Peer
from chaos.kube.manifests.objects import CONFIG_ANNOTATION
from chaos.kube.settings import node_name
from chaos.lab.layout import GALERA_PORT, WIREGUARD_PORT, Layout
from chaos.wan import wireguard
from chaos.wan.plan import Plan
from topologies.kubernetes import Kubernetes
from topologies.model import Galera, Topology

GATEWAY = "gateway"
COMPANION = "gateway-companion"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"

_LABELS = {
    "app.kubernetes.io/part-of": "faultline",
    "faultline.io/chaos-allowed": "true",
    "faultline.io/role": "gateway",
    "faultline.io/service": GATEWAY,
}


def is_translated(topology: Topology) -> bool:
    """Whether the clusters of ``topology`` have overlapping ranges (`nat: true` on a link)."""
    return any(link.nat for link in topology.links)


def ensure_carried(topology: Topology) -> None:
    """Refuse links that this lab cannot build.

    Raises:
        LabError: a link has `vpn: liqo`.
    """
    for link in topology.links:
        if link.vpn == "liqo":
            a, b = link.between
            raise LabError(
                f"the link {a}-{b} has `vpn: liqo`, which no lab of this machine runs: set `vpn: wireguard`, "
                "or run on clusters that Liqo already joins with `--backend kubernetes`"
            )


def configurations(
    topology: Topology, plan: Plan, layout: Layout, addresses: Addresses, public: Mapping[str, str]
) -> dict[str, Configuration]:
    """What the gateway of each site keeps.

    Args:
        topology: in lab size.
        plan: of the wide-area network.
        layout: addresses there.
        addresses: of pods and Services.
        public: site -> public key.
    """
    seen = {site: (addresses.seen_pod_range(site), addresses.seen_service_range(site)) for site in plan.sites}
    found = {}
    for site in plan.sites:
        peers = wireguard.peers_of(plan, site)
        encrypted = {target for peer in peers for target in peer.destinations}
        others = [other for other in plan.sites if other != site]
        own, shown = addresses.pod_range(site), addresses.seen_pod_range(site)
        found[site] = Configuration(
            site=site,
            own=(own,),
            remote=tuple(one for other in others for one in seen[other]),
            interface=layout.interface(site) if peers else "",
            address=layout.overlay(site),
            port=WIREGUARD_PORT,
            mtu=wireguard.MTU,
            peers=tuple(
                Peer(
                    peer.site,
                    public[peer.site],
                    f"{layout.public(peer.site)}:{WIREGUARD_PORT}",
                    tuple(
                        one
                        for target in peer.destinations
                        for one in (*seen[target], f"{layout.overlay(target)}/32")
                    ),
                )
                for peer in peers
            ),
            direct=tuple(
                one
                for other in others
                if other not in encrypted
                for one in (*seen[other], f"{layout.overlay(other)}/32")
            ),
            source=layout.public(site),
            translations=((own, shown),) if own != shown else (),
            members=tuple(
                (one.address, GALERA_PORT)
                for one in addresses.at(site)
                if one.pod is not None and isinstance(topology.services[one.service], Galera)
            ),
        )
    return found


def objects(
    configuration: Configuration, private: str, image: str, settings: Kubernetes, nodes: int
) -> list[Object]:
    """The objects of one site's gateway, in the order in which they are applied.

    Args:
        configuration: what it keeps.
        private: its private key.
        image: of the lab's pods.
        settings: CPU limit and grace period.
        nodes: of the site; those beyond the first get companions.
    """
    companion = Configuration(
        site=configuration.site,
        own=configuration.own,
        remote=configuration.remote,
        gateway=node_name(configuration.site, 0),
    )
    found: list[Object] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(GATEWAY),
            "data": {"gateway.json": configuration.text(), "companion.json": companion.text()},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": _metadata(GATEWAY),
            "type": "Opaque",
            "data": {"private": b64encode(private.encode()).decode()},
        },
        _workload(GATEWAY, "Deployment", "gateway.json", image, settings, _digest(configuration)),
    ]
    if nodes > 1:
        found.append(_workload(COMPANION, "DaemonSet", "companion.json", image, settings, _digest(companion)))
    return found


def _metadata(name: str) -> Object:
    return {"name": name, "namespace": NAMESPACE, "labels": dict(_LABELS)}


def _digest(configuration: Configuration) -> str:
    return hashlib.sha256(configuration.text().encode()).hexdigest()[:16]


def _workload(
    name: str, kind: str, file: str, image: str, settings: Kubernetes, configuration: str
) -> Object:
    labels = {**_LABELS, "app.kubernetes.io/name": name}
    on_control_plane = {
        "key": CONTROL_PLANE,
        "operator": "Exists" if kind == "Deployment" else "DoesNotExist",
    }
    pod = settings.pod("gateway")
    spec: Object = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "template": {
            "metadata": {"labels": labels, "annotations": {CONFIG_ANNOTATION: configuration}},
            "spec": {
                "hostNetwork": True,
                # The node's own resolver: names of nodes, whatever becomes of the cluster's DNS.
                "dnsPolicy": "Default",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": int(pod.termination_grace_period),
                # It belongs to its node and stays there, whatever is wrong with it.
                "tolerations": [{"operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [on_control_plane]}]
                        }
                    }
                },
                "containers": [_container(file, image, settings)],
                "volumes": [
                    {"name": "config", "configMap": {"name": GATEWAY}},
                    {"name": "key", "secret": {"secretName": GATEWAY, "defaultMode": 0o400}},
                    {"name": "tun", "hostPath": {"path": "/dev/net/tun", "type": "CharDevice"}},
                    {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
                    {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
                    {"name": "lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
                ],
            },
        },
    }
    if kind == "Deployment":
        # Two at once would fight over the interface.
        spec |= {"replicas": 1, "strategy": {"type": "Recreate"}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": _metadata(name), "spec": spec}


def _container(file: str, image: str, settings: Kubernetes) -> Object:
    cpu = spell_cores(settings.cpu_limit("gateway", 1.0))
    return {
        "name": "gateway",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "chaos.kube.gateway", "--config", f"/etc/faultline/gateway/{file}"],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": cpu, "memory": "256Mi"},
        },
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/faultline/gateway", "readOnly": True},
            {"name": "key", "mountPath": "/etc/faultline/key", "readOnly": True},
            {"name": "tun", "mountPath": "/dev/net/tun"},
            {"name": "run", "mountPath": "/run/wireguard"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "lock", "mountPath": "/run/xtables.lock"},
        ],
    }


def spell_cores(cores: float) -> str:
    """CPU as Kubernetes writes it."""
    return f"{max(1, round(cores * 1000))}m"

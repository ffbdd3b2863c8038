"""Clusters that somebody else has: which, by what right, and what the lab puts into them and takes away.

The owner's consent is a namespace with the label `faultline.io/chaos-allowed=true`, made by the owner.
The lab works in that namespace only, with the rights that `RIGHTS` lists and no others, and removes what
it has put there by its own label.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import InjectionError, LabError
from chaos.faults.context import Inverse
from chaos.kube.access import MARK
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, Object
from chaos.kube.clusters import DIRECTORY, kubeconfig
from chaos.kube.context import ALLOWED_LABEL

OURS = "app.kubernetes.io/part-of=faultline"
"""Selects what the lab has put into a namespace."""

PATIENCE = 60.0
"""Seconds for pods and volumes to go."""

KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
)
"""What the lab puts into the namespace, in the order in which it is taken away."""


@dataclass(frozen=True)
class Right:
    """A right that the lab needs in its namespace.

    Attributes:
        group: of the API; empty for the core.
        resource: possibly with a subresource.
        verbs: what is done with it.
        why: for people.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


_DEPLOY = ("get", "list", "patch", "create", "delete")
RIGHTS = (
    Right("", "pods", ("get", "list", "watch", "delete", "patch"), "status, pod_delete, gateway_kill"),
    Right("", "pods/log", ("get",), "the last words of a pod that does not get ready"),
    Right("", "pods/eviction", ("create",), "node_drain"),
    Right("", "pods/portforward", ("create", "get"), "the audit of the databases"),
    Right("", "events", ("list", "watch"), "what the cluster itself tells"),
    Right("discovery.k8s.io", "endpointslices", ("list", "watch"), "what Services send to"),
    *(
        Right(version.rpartition("/")[0], f"{resource}", _DEPLOY, "the workloads of the topology")
        for version, resource in (
            ("apps/v1", "deployments"),
            ("apps/v1", "statefulsets"),
            ("policy/v1", "poddisruptionbudgets"),
            ("networking.k8s.io/v1", "networkpolicies"),
            ("v1", "services"),
            ("v1", "configmaps"),
            ("v1", "secrets"),
            ("v1", "serviceaccounts"),
            ("v1", "persistentvolumeclaims"),
        )
    ),
)
"""Rights within the namespace."""

CLUSTER_RIGHTS = (
    Right("", "namespaces", ("get",), "whether the namespace is released"),
    Right("", "nodes", ("get", "list", "watch"), "node events; cordon and drain"),
    Right("apps", "daemonsets", ("list",), "network_isolation: whether anything enforces policies"),
)
"""Rights on what belongs to no namespace; only looked at."""

NODE_RIGHTS = (
    Right("", "nodes", ("patch",), "node_cordon, node_drain"),
    Right("", "pods", ("list",), "node_drain: what is on the node"),
)
"""Further ones with `--allow-nodes`."""


# ---------------------------------------------------------------- what is there


def ensure_released(cluster: Cluster) -> None:
    """Check that the owner has made the lab's namespace and released it.

    Raises:
        LabError: not; with the two commands that do it.
    """
    try:
        ClusterActions(cluster).ensure_allowed(NAMESPACE)
    except InjectionError as error:
        raise LabError(
            f"{error}; the owner of the cluster allows it with `kubectl create namespace {NAMESPACE}` and "
            f"`kubectl label namespace {NAMESPACE} {ALLOWED_LABEL}=true`"
        ) from error


def ensure_free(cluster: Cluster) -> None:
    """Check that no other lab is in the namespace, of another user or machine.

    Raises:
        LabError: one is; with the command that removes it.
    """
    for version, kind in KINDS[:2]:
        found = cluster.objects(version, kind, selector=OURS)
        if found:
            raise LabError(
                f"the namespace {NAMESPACE} of {cluster.site} has a lab already "
                f"({kind.lower()}/{found[0]['metadata']['name']}), of another machine or user: wait for its "
                f"end, or if nobody runs it any more, `{removal()}`"
            )


def removal() -> str:
    """The command that removes what labs have put into a namespace."""
    return f"kubectl delete all,cm,secret,pdb,networkpolicy,sa,pvc -n {NAMESPACE} -l {OURS}"


def missing_rights(cluster: Cluster, *, allow_nodes: bool = False) -> list[str]:
    """Rights that the lab needs and its account does not have, as `verb resource`."""
    wanted = [(right, verb, NAMESPACE) for right in RIGHTS for verb in right.verbs]
    wide = [*CLUSTER_RIGHTS, *(NODE_RIGHTS if allow_nodes else ())]
    wanted += [(right, verb, "") for right in wide for verb in right.verbs]
    return [
        f"{verb} {right.resource}" for right, verb, where in wanted if not _may(cluster, right, verb, where)
    ]


def _may(cluster: Cluster, right: Right, verb: str, namespace: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {"verb": verb, "group": right.group, "resource": resource}
    asked |= {"subresource": subresource} if subresource else {}
    asked |= {"namespace": namespace} if namespace else {}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"].get("allowed"))


# ---------------------------------------------------------------- what the lab puts there


def adapted(rendered: Sequence[Object], node_port: int) -> list[Object]:
    """The lab's objects as an existing cluster takes them: the namespace is the owner's, ports are high."""
    found = []
    for one in rendered:
        if one["kind"] == "Namespace":
            continue
        if one["kind"] == "Service" and one["spec"].get("type") == "NodePort":
            ports = [{**port, "nodePort": node_port} for port in one["spec"]["ports"]]
            one = {**one, "spec": {**one["spec"], "ports": ports}}
        found.append(one)
    return found


def withdraw(cluster: Cluster) -> int:
    """Delete everything that the lab has put into its namespace; returns how many objects that were.

    Raises:
        LabError: the API server does not answer, or refuses.
    """
    count = 0
    for version, kind in KINDS:
        for one in cluster.objects(version, kind, selector=OURS):
            count += cluster.delete(version, kind, one["metadata"]["name"])
    # Claims of StatefulSets carry the labels of their pods.
    for pod in cluster.pods(OURS):
        count += cluster.delete("v1", "Pod", pod["metadata"]["name"], grace=0)

    def is_empty() -> bool:
        kinds = ("Pod", "PersistentVolumeClaim")
        return not any(cluster.objects("v1", kind, selector=OURS) for kind in kinds)

    # A lab that comes next would find claims on their way out, and its pods would wait for them in vain.
    deadline = time.monotonic() + PATIENCE
    cluster.wait(is_empty, f"pods or volumes of {cluster.site} do not go away", deadline)
    return count


def is_of_the_owner(inverse: Inverse) -> bool:
    """Whether an inverse is about what was there before the lab: nodes, or another namespace."""
    if "workloads" in inverse.args:
        return any(one["namespace"] != NAMESPACE for one in inverse.args["workloads"])
    return "node" in inverse.args or "nodes" in inverse.args


def withdraw_all(directory: Path) -> tuple[list[str], list[str]]:
    """Remove from existing clusters what the lab of ``directory`` has put there.

    Returns:
        What was done, and where something is left.
    """
    mark = directory / DIRECTORY / MARK
    try:
        sites = json.loads(mark.read_text())["sites"]
    except (OSError, ValueError, KeyError):
        return [], []
    done, left = [], []
    for site in sites:
        try:
            count = withdraw(Cluster(site, kubeconfig(directory, site)))
            if count:
                done.append(f"removed {count} objects from {site}")
        except LabError as error:
            left.append(
                f"the lab's objects are still in the namespace {NAMESPACE} of {site} ({error}); "
                f"`{removal()}` removes them, too"
            )
    return done, left


def role(allow_nodes: bool = False) -> list[Object]:
    """The rights that the lab needs, as objects that an owner can apply."""

    def rules(rights: Sequence[Right]) -> list[Object]:
        return [
            {"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)}
            for one in rights
        ]

    version = "rbac.authorization.k8s.io/v1"
    return [
        {
            "apiVersion": version,
            "kind": "Role",
            "metadata": {"name": "faultline", "namespace": NAMESPACE},
            "rules": rules(RIGHTS),
        },
        {
            "apiVersion": version,
            "kind": "ClusterRole",
            "metadata": {"name": "faultline"},
            "rules": rules([*CLUSTER_RIGHTS, *(NODE_RIGHTS if allow_nodes else ())]),
        },
    ]

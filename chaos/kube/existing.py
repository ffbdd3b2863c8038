"""Clusters that somebody else has: which, by what right, and what the lab puts into them and takes away.

The owner's consent is a namespace with the label `faultline.io/chaos-allowed=true`, made by the owner.
The lab works in that namespace only, with the rights that `RIGHTS` lists and no others, and removes what
it has put there by its own label.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from chaos.errors import InjectionError, LabError
from chaos.kube import housekeeping
from chaos.kube.actions import ClusterActions
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, Object
from chaos.kube.clusters import DIRECTORY, kubeconfig
from chaos.kube.context import ALLOWED_LABEL
from topologies.errors import InputError

OURS = "app.kubernetes.io/part-of=faultline"
"""Selects what the lab has put into a namespace."""

MARK = housekeeping.EXISTING
"""Beside the kubeconfigs: says that the clusters are somebody else's, and what of them is used."""

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

NODE_RIGHTS = (Right("", "nodes", ("patch",), "node_cordon, node_drain"),)
"""Further ones with `--allow-nodes`."""


@dataclass(frozen=True)
class Access:
    """Which clusters are the sites, and how far the lab may go.

    Attributes:
        contexts: site -> context of the kubeconfig.
        kubeconfig: the file; $KUBECONFIG, else ~/.kube/config, when not given.
        front_ends: site -> host:port at which users reach its front end from this machine; the first
            node's own address and the Service's node port when not given.
        image: of the lab's pods, as the clusters know it.
        allow_nodes: whether faults may touch nodes.
        node_port: of the front ends' Services.
    """

    contexts: Mapping[str, str]
    kubeconfig: Path | None = None
    front_ends: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    allow_nodes: bool = False
    node_port: int = 30080

    @classmethod
    def of(
        cls,
        contexts: Sequence[str],
        *,
        kubeconfig: str | None = None,
        front_ends: Sequence[str] = (),
        image: str = "",
        allow_nodes: bool = False,
    ) -> Access:
        """Read what a user wrote: `site=context` and `site=host:port`.

        Raises:
            InputError: one cannot be read.
        """
        return cls(
            _pairs(contexts, "--context", "ral=my-context"),
            Path(kubeconfig) if kubeconfig else None,
            {site: _address(url) for site, url in _pairs(front_ends, "--url", _URL).items()},
            image,
            allow_nodes,
        )

    @classmethod
    def from_environment(cls) -> Access:
        """What `FAULTLINE_CONTEXTS`, `FAULTLINE_URLS`, `FAULTLINE_IMAGE` and `FAULTLINE_ALLOW_NODES` say.

        Lists are separated by commas.

        Raises:
            InputError: one cannot be read, or no context is named.
        """

        def listed(name: str) -> list[str]:
            return [one for one in os.environ.get(name, "").split(",") if one]

        return cls.of(
            listed("FAULTLINE_CONTEXTS"),
            front_ends=listed("FAULTLINE_URLS"),
            image=os.environ.get("FAULTLINE_IMAGE", ""),
            allow_nodes=os.environ.get("FAULTLINE_ALLOW_NODES", "") in ("1", "true", "yes"),
        )

    @property
    def file(self) -> Path:
        """The kubeconfig that is read."""
        named = os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0]
        return self.kubeconfig or Path(named or "~/.kube/config").expanduser()

    def write_kubeconfigs(self, sites: Sequence[str], directory: Path) -> None:
        """Put a kubeconfig for each site into the lab's directory, with nothing in it but its context.

        A new process that takes faults back needs no more than these.

        Raises:
            InputError: the file cannot be read, or a site has no context, or there is no such context.
        """
        data = self._read()
        for site in sites:
            chosen = self._context(data, site)
            file = kubeconfig(directory, site)
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as out:
                yaml.safe_dump(chosen, out)
        mark = {"sites": list(sites), "namespace": NAMESPACE}
        (directory / DIRECTORY / MARK).write_text(json.dumps(mark))

    def check(self, sites: Sequence[str]) -> None:
        """Check that every site has a context, and that these are there.

        Raises:
            InputError: what is missing, and what there is.
        """
        data = self._read()
        unknown = sorted(set(self.contexts) - set(sites))
        if unknown:
            raise InputError(
                f"{unknown[0]!r} is not a site", file="--context", expected=f"one of {', '.join(sites)}"
            )
        for site in sites:
            self._context(data, site)

    def _read(self) -> dict[str, Any]:
        try:
            data = yaml.safe_load(self.file.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"cannot read the kubeconfig: {error}", file=str(self.file)) from None
        if not isinstance(data, dict) or not isinstance(data.get("contexts"), list):
            raise InputError("it is not a kubeconfig: it has no contexts", file=str(self.file))
        return data

    def _context(self, data: Mapping[str, Any], site: str) -> dict[str, Any]:
        if site not in self.contexts:
            raise InputError(
                f"the site {site!r} has no context", file="--context", hint=f"add --context {site}=CONTEXT"
            )
        wanted = self.contexts[site]
        known = {str(one["name"]): one["context"] for one in data["contexts"]}
        if wanted not in known:
            raise InputError(
                f"there is no context {wanted!r} (for {site})",
                file=str(self.file),
                expected=f"one of {', '.join(sorted(known)) or '(none)'}",
            )
        chosen = known[wanted]
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": wanted,
            "contexts": [{"name": wanted, "context": chosen}],
            "clusters": [self._absolute(one) for one in data["clusters"] if one["name"] == chosen["cluster"]],
            "users": [self._absolute(one) for one in data.get("users", ()) if one["name"] == chosen["user"]],
        }

    def _absolute(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """A cluster or user whose files are found from anywhere."""
        return {
            key: {
                name: str(self.file.parent.absolute() / value)
                if name in ("certificate-authority", "client-certificate", "client-key", "tokenFile")
                else value
                for name, value in content.items()
            }
            if isinstance(content, dict)
            else content
            for key, content in part.items()
        }


_URL = "ral=http://192.0.2.1:30080"


def _address(url: str) -> str:
    """`host:port` of a front end's URL; port 80 when it has none."""
    found = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = found.port or 80
    except ValueError:
        port = 0
    if found.scheme != "http" or not found.hostname or not port or found.path not in ("", "/"):
        raise InputError(f"cannot ask a front end at {url!r}", file="--url", expected=f"http, as in {_URL}")
    return f"{found.hostname}:{port}"


def _pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    found = {}
    for text in texts:
        site, sign, value = text.partition("=")
        if not sign or not site or not value:
            raise InputError(f"cannot read {text!r}", file=option, expected=f"SITE=VALUE, as in {example}")
        found[site] = value
    return found


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


def withdraw_all(directory: Path) -> list[str]:
    """Remove from existing clusters what the lab of ``directory`` has put there; returns what was done."""
    mark = directory / DIRECTORY / MARK
    try:
        sites = json.loads(mark.read_text())["sites"]
    except (OSError, ValueError, KeyError):
        return []
    done = []
    for site in sites:
        try:
            count = withdraw(Cluster(site, kubeconfig(directory, site)))
            if count:
                done.append(f"removed {count} objects from {site}")
        except LabError as error:
            done.append(
                f"{site}: could not remove the lab's objects ({error}); `kubectl delete all,cm,secret,pdb,"
                f"networkpolicy,sa,pvc -n {NAMESPACE} -l {OURS}` does"
            )
    mark.unlink(missing_ok=True)
    return done


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

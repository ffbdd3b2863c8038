"""What faults ask of one cluster's API server, by chaostoolkit-kubernetes where it can do it.

Its functions find their cluster by environment variables or secrets, take no time limit, and read the
user's own kubeconfig first when there is one. So each call is given the cluster's address and
credentials as secrets, with the kubeconfig hidden for its duration, after the API server has answered a
short question. They are imported here and not where they are used: that takes seconds on a busy
machine, and a fault must not wait for it. What it has no function for (evictions that a
PodDisruptionBudget may put off, rolling restarts of StatefulSets, policies) is asked directly.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from chaosk8s.deployment.actions import rollout_deployment, scale_deployment
from chaosk8s.node.actions import cordon_node, uncordon_node
from chaosk8s.pod.actions import terminate_pods
from chaosk8s.statefulset.actions import scale_statefulset
from chaoslib.exceptions import ActivityFailed
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from chaos.errors import InjectionError
from chaos.kube.addresses import NAMESPACE
from chaos.kube.api import Cluster, Object, Refused, Unreachable, path_of
from chaos.kube.context import ALLOWED_LABEL, Pod, Workload
from chaos.kube.manifests.objects import ISOLATED_LABEL

ENFORCERS = (
    "calico",
    "cilium",
    "kindnet",
    "podlink",
    "kube-router",
    "kube-network-policies",
    "antrea",
    "weave",
    "canal",
    "ovnkube",
    "azure-npm",
    "anetd",
)
"""Network plugins that enforce policies, by the names of their DaemonSets."""

KINDNET_SINCE = 20240723
"""Date in the tag of the first kindnetd that does (kubernetes-sigs/kind, pull request 3612, v0.24.0)."""

TRIES = 4
"""Deletions that are tried when pods go away by themselves meanwhile."""

_SHORT = 3.0
_LISTING = 10.0
_no_kubeconfig = threading.RLock()


class ClusterActions:
    """The actions of one cluster: a `chaos.kube.context.Actions`.

    Args:
        cluster: its API server.
        owned: whether the lab has made the cluster, so that also what is not the lab's own namespace
            exists for it alone.
    """

    def __init__(self, cluster: Cluster, *, owned: bool = False) -> None:
        self._cluster = cluster
        self._owned = owned

    # ---------------------------------------------------------------- looking

    def ensure_allowed(self, namespace: str) -> None:
        """Refuse a namespace that is not labelled for chaos."""
        if self._owned and namespace != NAMESPACE:
            return
        with self._explained("get", "namespaces"):
            found = self._cluster.get("v1", "Namespace", namespace)
        if found is None:
            raise InjectionError(f"{self._cluster.site} has no namespace {namespace}")
        labels = found["metadata"].get("labels") or {}
        if labels.get(ALLOWED_LABEL) != "true":
            raise InjectionError(
                f"the namespace {namespace} of {self._cluster.site} is not released for chaos: "
                f"`kubectl label namespace {namespace} {ALLOWED_LABEL}=true` releases it"
            )

    def pods(self, namespace: str | None, selector: str = "", node: str = "") -> list[Pod]:
        """Pods of a namespace (of all of them when None), oldest first."""
        query: dict[str, str | bool] = {}
        if selector:
            query["labelSelector"] = selector
        if node:
            query["fieldSelector"] = f"spec.nodeName={node}"
        with self._explained("list", "pods"):
            path = path_of("v1", "Pod", namespace)
            found = self._cluster.request("GET", path, query=query, timeout=_LISTING)["items"]
        found.sort(key=lambda one: (one["metadata"].get("creationTimestamp", ""), one["metadata"]["name"]))
        return [pod_of(one) for one in found]

    def replicas(self, workload: Workload) -> int:
        """How many pods the workload is asked to have."""
        return int(self._read(workload)["spec"].get("replicas", 1))

    def schedulable(self, node: str) -> bool:
        """Whether new pods may come to the node."""
        with self._explained("get", "nodes"):
            found = self._cluster.get("v1", "Node", node)
        if found is None:
            raise InjectionError(f"{self._cluster.site} has no node {node}")
        return not found["spec"].get("unschedulable", False)

    def policy_enforcer(self) -> str:
        """Name of a DaemonSet that is known to enforce NetworkPolicies; empty when there is none."""
        with self._explained("list", "daemonsets"):
            path = path_of("apps/v1", "DaemonSet")
            found = self._cluster.request("GET", path, timeout=_LISTING)["items"]
        return next((str(one["metadata"]["name"]) for one in found if enforces(one)), "")

    def _read(self, workload: Workload) -> Object:
        with self._explained("get", f"{workload.kind.lower()}s"):
            found = self._cluster.get("apps/v1", workload.kind, workload.name, workload.namespace)
        if found is None:
            raise InjectionError(f"there is no {workload}")
        return found

    # ---------------------------------------------------------------- pods

    def delete_pods(self, pods: Sequence[Pod], grace: int | None) -> None:
        """Delete pods; ``grace`` seconds until SIGKILL, their own when None, 0 without asking."""
        for namespace in sorted({pod.namespace for pod in pods}):
            names = "|".join(re.escape(pod.name) for pod in pods if pod.namespace == namespace)
            for attempt in range(TRIES):
                try:
                    self._let(
                        "delete",
                        "pods",
                        terminate_pods,
                        name_pattern=f"^({names})$",
                        all=True,
                        grace_period=-1 if grace is None else grace,
                        ns=namespace,
                    )
                except _Answered as error:
                    # One was gone before its turn came; those after it were left out.
                    if error.status != 404 or attempt == TRIES - 1:
                        raise
                else:
                    break

    def evict(self, pod: Pod, grace: int | None) -> bool:
        """Ask for a pod's eviction; False when a PodDisruptionBudget does not allow it now."""
        options: Object = {} if grace is None else {"gracePeriodSeconds": grace}
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {**options, "preconditions": {"uid": pod.uid}},
        }
        path = path_of("v1", "Pod", pod.namespace, pod.name) + "/eviction"
        try:
            with self._explained("create", "pods/eviction"):
                self._cluster.request("POST", path, eviction)
        except _Answered as error:
            if error.status == 429:
                return False
            if error.status not in (404, 409):  # gone meanwhile, or another pod of that name
                raise
        return True

    def prefer_to_delete(self, pod: Pod) -> None:
        """Let the next scaling down of its Deployment take this pod (its deletion cost)."""
        change = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}}}
        with self._explained("patch", "pods"):
            self._cluster.patch("v1", "Pod", pod.name, change, pod.namespace)

    # ---------------------------------------------------------------- workloads

    def scale(self, workload: Workload, replicas: int) -> None:
        """Ask for another number of pods."""
        scale = scale_deployment if workload.kind == "Deployment" else scale_statefulset
        resource = f"{workload.kind.lower()}s"
        self._let("patch", resource, scale, name=workload.name, replicas=replicas, ns=workload.namespace)

    def restart(self, workload: Workload) -> None:
        """Replace all pods by the workload's own update strategy."""
        if workload.kind == "Deployment":
            self._let("patch", "deployments", rollout_deployment, name=workload.name, ns=workload.namespace)
            return
        now = datetime.now(UTC).isoformat()
        marked = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}
        with self._explained("patch", "statefulsets"):
            self._cluster.patch(
                "apps/v1", workload.kind, workload.name, {"spec": {"template": marked}}, workload.namespace
            )

    # ---------------------------------------------------------------- nodes

    def cordon(self, node: str) -> None:
        """Let no new pods come to the node."""
        self._let("patch", "nodes", cordon_node, name=node)

    def uncordon(self, node: str) -> None:
        """Let new pods come to the node again."""
        self._let("patch", "nodes", uncordon_node, name=node)

    # ---------------------------------------------------------------- policies

    def isolate(self, namespace: str, pods: Sequence[str]) -> None:
        """Mark pods for the policy that lets nothing in and nothing out; those that are gone are left out."""
        self._mark(namespace, pods, "true")

    def release(self, namespace: str, pods: Sequence[str]) -> None:
        """Remove the marks; harmless where there is none."""
        self._mark(namespace, pods, None)

    def _mark(self, namespace: str, pods: Sequence[str], value: str | None) -> None:
        for name in pods:
            try:
                with self._explained("patch", "pods"):
                    mark = {"metadata": {"labels": {ISOLATED_LABEL: value}}}
                    self._cluster.patch("v1", "Pod", name, mark, namespace)
            except _Answered as error:
                if error.status != 404:
                    raise

    # ---------------------------------------------------------------- how

    def _let(self, verb: str, resource: str, function: Callable[..., Any], **arguments: Any) -> None:
        """Let a function of chaostoolkit-kubernetes do it.

        Raises:
            InjectionError: the API server refused.
            Unreachable: it does not answer.
        """
        with self._explained(verb, resource):
            self._cluster.request("GET", "/readyz", timeout=_SHORT)  # the function itself would wait for ever
            try:
                with _kubeconfig_hidden():
                    function(**arguments, secrets=self._secrets())
            except ApiException as error:
                if not error.status:  # the connection broke
                    raise Unreachable(self._went_away(error)) from error
                raise Refused(
                    f"{self._cluster.site}: {error.body or error.reason}"[:300], error.status
                ) from error
            except ActivityFailed as error:
                # It carries the answer in its text only.
                status = re.search(r'"code":\s*(\d{3})', str(error))
                raise Refused(
                    f"{self._cluster.site}: {error}"[:300], int(status[1]) if status else 0
                ) from error
            except (HTTPError, OSError) as error:
                raise Unreachable(self._went_away(error)) from error

    def _went_away(self, error: Exception) -> str:
        said = " ".join(str(error).split())[:200]
        return f"the API server of {self._cluster.site} does not answer any more: {said}"

    def _secrets(self) -> dict[str, str]:
        """Address and credentials of the cluster, as chaostoolkit-kubernetes takes them."""
        found = self._cluster.client.configuration
        secrets = {
            "KUBERNETES_HOST": found.host,
            "KUBERNETES_CA_CERT_FILE": found.ssl_ca_cert,
            "KUBERNETES_VERIFY_SSL": "true" if found.verify_ssl else False,
        }
        token = found.get_api_key_with_prefix("authorization") or found.get_api_key_with_prefix("BearerToken")
        if token:
            secrets["KUBERNETES_API_KEY"] = token.removeprefix("Bearer ")
        elif found.cert_file:
            secrets |= {"KUBERNETES_CERT_FILE": found.cert_file, "KUBERNETES_KEY_FILE": found.key_file}
        return {key: value for key, value in secrets.items() if value}

    @contextmanager
    def _explained(self, verb: str, resource: str) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise _explain(error, self._cluster.site, verb, resource) from error


class _Answered(InjectionError):
    """A refusal that still knows its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _explain(error: Refused, site: str, verb: str, resource: str) -> InjectionError:
    if error.status == 401:
        return _Answered(f"{site}: the credentials of the kubeconfig are not accepted ({error})", 401)
    if error.status == 403:
        return _Answered(
            f"{site}: the right to {verb} {resource} is missing ({error}); "
            f"`faultline plan --backend kubernetes` shows the rights that a run takes",
            403,
        )
    return _Answered(str(error), error.status)


@contextmanager
def _kubeconfig_hidden() -> Iterator[None]:
    """Point KUBECONFIG to nothing, so that secrets count; one at a time, as the environment is shared."""
    with _no_kubeconfig:
        before = os.environ.get("KUBECONFIG")
        os.environ["KUBECONFIG"] = os.devnull + "/none"
        try:
            yield
        finally:
            if before is None:
                os.environ.pop("KUBECONFIG", None)
            else:
                os.environ["KUBECONFIG"] = before


def enforces(daemons: Object) -> bool:
    """Whether a DaemonSet is a network plugin that is known to enforce policies."""
    if not any(known in daemons["metadata"]["name"] for known in ENFORCERS):
        return False
    images = [str(one["image"]) for one in daemons["spec"]["template"]["spec"]["containers"]]
    dates = [found[1] for image in images if (found := re.search(r"kindnetd:v(\d{8})", image))]
    return all(int(date) >= KINDNET_SINCE for date in dates)


def pod_of(found: Object) -> Pod:
    """A pod out of the API's object."""
    metadata, spec, status = found["metadata"], found.get("spec", {}), found.get("status", {})
    owners = [one for one in metadata.get("ownerReferences") or [] if one.get("controller")]
    states = status.get("containerStatuses") or []
    return Pod(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata.get("uid", ""),
        node=spec.get("nodeName", ""),
        ready=_is_true(status, "Ready"),
        deleting="deletionTimestamp" in metadata,
        containers=tuple(
            str(one["containerID"]).rpartition("//")[2]
            for one in states
            if one.get("containerID") and "running" in (one.get("state") or {})
        ),
        owner=owners[0]["kind"] if owners else "",
        static="kubernetes.io/config.mirror" in (metadata.get("annotations") or {}),
        labels=dict(metadata.get("labels") or {}),
        trouble=next((reason for one in states if (reason := _waiting(one))), ""),
    )


def _is_true(status: Mapping[str, Any], kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in status.get("conditions") or [])


def _waiting(state: Mapping[str, Any]) -> str:
    waiting = (state.get("state") or {}).get("waiting") or {}
    reason = str(waiting.get("reason", ""))
    return "" if reason in ("ContainerCreating", "PodInitializing") else reason

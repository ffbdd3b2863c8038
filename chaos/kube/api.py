"""The API server of one site's cluster: whole objects as plain data, by server-side apply.

Plain data because that is what manifests are: what is applied, what `faultline manifests` prints and
what the API server answers have one form.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3.exceptions
from kubernetes import client as kubernetes
from kubernetes import config
from kubernetes.client.exceptions import ApiException

from chaos.errors import LabError
from chaos.kube.addresses import NAMESPACE

MANAGER = "faultline"
"""Field manager of everything the lab applies."""

PATIENCE = 10.0
_LOOK = 0.25

Object = dict[str, Any]


class Refused(LabError):
    """The API server answered, and refused.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(LabError):
    """The API server does not answer."""


PLURALS = {
    "Endpoints": "endpoints",
    "NetworkPolicy": "networkpolicies",
    "PriorityClass": "priorityclasses",
    "StorageClass": "storageclasses",
}
"""Kinds that do not just get an `s`."""

CLUSTER_WIDE = frozenset(
    (
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "PriorityClass",
        "StorageClass",
    )
)
"""Kinds without a namespace, of those that a lab deals with."""


def _new_client(kubeconfig: Path | Object, context: str | None) -> kubernetes.ApiClient:
    settings = kubernetes.Configuration()
    from_file: Callable[..., None] = config.load_kube_config
    from_data: Callable[..., None] = config.load_kube_config_from_dict
    if isinstance(kubeconfig, Path):
        from_file(str(kubeconfig), context=context, client_configuration=settings)
    else:
        from_data(kubeconfig, context=context, client_configuration=settings)
    # Before the client is made: it copies this. Whether the server answers is a result, and nothing to be
    # tried away.
    settings.retries = False
    return kubernetes.ApiClient(settings)


class Cluster:
    """One cluster, by its kubeconfig.

    Attributes:
        site: whose cluster it is.
    """

    def __init__(self, site: str, kubeconfig: Path | Object, context: str | None = None) -> None:
        """Talk to the cluster that ``context`` (the current one when not given) of ``kubeconfig`` names.

        Args:
            site: whose cluster it is.
            kubeconfig: a file, or what would be in it.
            context: of that.
        """
        self.site = site
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: kubernetes.ApiClient | None = None

    @property
    def client(self) -> kubernetes.ApiClient:
        """The client of the Kubernetes library.

        Raises:
            LabError: the kubeconfig cannot be read.
        """
        if self._client is None:
            try:
                self._client = _new_client(self._kubeconfig, self._context)
            except (config.ConfigException, OSError, ValueError) as error:
                where = self._kubeconfig if isinstance(self._kubeconfig, Path) else f"of {self.site}"
                raise LabError(f"cannot read the kubeconfig {where}: {error}") from error
        return self._client

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | bool] | None = None,
        content: str = "application/json",
        timeout: float = PATIENCE,
    ) -> Any:
        """Send one request and return the answer, read from JSON where it is.

        Raises:
            Refused: the answer is an error.
            Unreachable: there is no answer within ``timeout`` seconds.
        """
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            sent = self.client.param_serialize(
                method,
                path,
                query_params=[(key, _text(value)) for key, value in (query or {}).items()],
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self.client.call_api(*sent, _request_timeout=timeout)
            data: bytes = answer.read()  # type: ignore[no-untyped-call]
        except ApiException as error:
            if not error.status:  # the library's way to say that the connection broke
                said = f"the API server of {self.site} does not answer: {_short(error)}"
                raise Unreachable(said) from error
            raise Refused(f"{self.site}: {_reason(error)}", int(error.status or 0)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"the API server of {self.site} does not answer: {_short(error)}") from error
        if answer.status >= 400:
            raise Refused(f"{self.site}: {_message(data)}", int(answer.status))
        try:
            return json.loads(data)
        except ValueError:
            return data.decode(errors="replace")

    # ---------------------------------------------------------------- state

    def answers(self, timeout: float = 1.0) -> bool:
        """Whether the API server says that it is ready."""
        try:
            self.request("GET", "/readyz", timeout=timeout)
        except LabError:
            return False
        return True

    def nodes_ready(self, timeout: float = PATIENCE) -> bool:
        """Whether all nodes are ready."""
        try:
            found = self.objects("v1", "Node", timeout=timeout)
        except LabError:
            return False
        return bool(found) and all(condition(node, "Ready") for node in found)

    def version(self) -> str:
        """Version of the API server."""
        return str(self.request("GET", "/version")["gitVersion"])

    # ---------------------------------------------------------------- objects

    def apply(self, found: Object) -> Object:
        """Put one object in place (server-side apply, in the lab's own name).

        Raises:
            Refused: the API server does not want it.
            Unreachable: it does not answer.
        """
        path = path_of(found["apiVersion"], found["kind"], _namespace(found), found["metadata"]["name"])
        query: dict[str, str | bool] = {"fieldManager": MANAGER, "force": True}
        answer = self.request(
            "PATCH", path, found, query=query, content="application/apply-patch+yaml", timeout=30.0
        )
        assert isinstance(answer, dict)
        return answer

    def apply_all(self, objects: Iterable[Object]) -> None:
        """Put objects in place in their order."""
        for one in objects:
            self.apply(one)

    def get(self, version: str, kind: str, name: str, namespace: str = NAMESPACE) -> Object | None:
        """One object; None when there is none."""
        try:
            found = self.request("GET", path_of(version, kind, namespace, name))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        assert isinstance(found, dict)
        return found

    def objects(
        self,
        version: str,
        kind: str,
        *,
        selector: str = "",
        namespace: str = NAMESPACE,
        timeout: float = PATIENCE,
    ) -> list[Object]:
        """All objects of a kind in the namespace."""
        query: dict[str, str | bool] = {"labelSelector": selector} if selector else {}
        answer = self.request("GET", path_of(version, kind, namespace), query=query, timeout=timeout)
        return list(answer["items"])

    def patch(self, version: str, kind: str, name: str, change: Object, namespace: str = NAMESPACE) -> Object:
        """Merge ``change`` into an object (strategic merge)."""
        answer = self.request(
            "PATCH",
            path_of(version, kind, namespace, name),
            change,
            content="application/strategic-merge-patch+json",
        )
        assert isinstance(answer, dict)
        return answer

    def scale(self, kind: str, name: str, replicas: int, namespace: str = NAMESPACE) -> None:
        """Ask for ``replicas`` pods of a Deployment or StatefulSet."""
        path = path_of("apps/v1", kind, namespace, name) + "/scale"
        change = {"spec": {"replicas": replicas}}
        self.request("PATCH", path, change, content="application/merge-patch+json")

    def delete(
        self, version: str, kind: str, name: str, *, grace: int | None = None, namespace: str = NAMESPACE
    ) -> bool:
        """Delete an object; tell whether it was there.

        Args:
            grace: seconds that its processes get; its own when not given.
        """
        query: dict[str, str | bool] = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        try:
            self.request("DELETE", path_of(version, kind, namespace, name), query=query)
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def pods(self, selector: str = "", *, timeout: float = PATIENCE) -> list[Object]:
        """The lab's pods."""
        return self.objects("v1", "Pod", selector=selector, timeout=timeout)

    def clear(self, patience: float = 90.0) -> None:
        """Delete the lab's namespace with all that is in it; return when it is gone.

        Raises:
            LabError: it is still there after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        if not self.delete("v1", "Namespace", NAMESPACE):
            return
        # Nobody waits for the graceful end of pods of a lab that is being removed.
        with suppress(Refused):
            for pod in self.pods():
                self.delete("v1", "Pod", pod["metadata"]["name"], grace=0)
        self.wait(
            lambda: self.get("v1", "Namespace", NAMESPACE) is None,
            f"the namespace {NAMESPACE} of {self.site} does not go away",
            deadline,
        )

    @staticmethod
    def wait(holds: Callable[[], bool], otherwise: str, deadline: float) -> None:
        """Wait until something holds.

        Raises:
            LabError: ``otherwise``, when it does not hold by ``deadline`` of the monotonic clock.
        """
        while not holds():
            if time.monotonic() > deadline:
                raise LabError(otherwise)
            time.sleep(_LOOK)


def path_of(version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
    """The API's path of an object, or of all objects of its kind in the namespace."""
    path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    if namespace and kind not in CLUSTER_WIDE:
        path += f"/namespaces/{namespace}"
    path += f"/{PLURALS.get(kind, kind.lower() + 's')}"
    return path if name is None else f"{path}/{name}"


def condition(found: Object, kind: str) -> bool:
    """Whether an object's status says that condition ``kind`` is true."""
    conditions = found.get("status", {}).get("conditions") or []
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _namespace(found: Object) -> str:
    return str(found["metadata"].get("namespace", NAMESPACE))


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _reason(error: ApiException) -> str:
    return _message(error.body or str(error.reason))


def _message(body: str | bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        return text.strip()[:300] or "no reason given"


def _short(error: Exception) -> str:
    said = str(getattr(error, "reason", None) or error)
    return said.rpartition(": ")[2][:160] or type(error).__name__

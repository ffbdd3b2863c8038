"""Kubeconfig files as kubectl reads them: several at once, and for each name the first one counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from topologies.errors import InputError

FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Settings that name a file, from the place of the kubeconfig."""


@dataclass(frozen=True)
class Kubeconfig:
    """What the files say together.

    Attributes:
        files: that were read.
        contexts, clusters, users: by name; files that they name are found from anywhere.
    """

    files: tuple[Path, ...]
    contexts: Mapping[str, Mapping[str, Any]]
    clusters: Mapping[str, Mapping[str, Any]]
    users: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, files: Sequence[Path]) -> Kubeconfig:
        """Read ``files``; where several are named some may be missing.

        Raises:
            InputError: none can be read, or one is no kubeconfig.
        """
        there = [file for file in files if file.exists()] or list(files[:1])
        found: dict[str, dict[str, Mapping[str, Any]]] = {"contexts": {}, "clusters": {}, "users": {}}
        for file in there:
            data = _load(file)
            for kind, known in found.items():
                for name, content in _named(data.get(kind) or [], kind, file):
                    known.setdefault(name, _absolute(content, file.parent))
        return cls(tuple(there), found["contexts"], found["clusters"], found["users"])

    def server(self, context: str) -> str:
        """Where the API server of a context is.

        Raises:
            InputError: the context is not complete.
        """
        return str(self.only(context)["clusters"][0]["cluster"].get("server", ""))

    def only(self, context: str) -> dict[str, Any]:
        """A kubeconfig of ``context`` alone.

        Raises:
            InputError: there is no such context, or it names something that is not there.
        """
        if context not in self.contexts:
            raise self._error(
                f"there is no context {context!r}",
                f"one of {', '.join(sorted(self.contexts)) or '(none)'}",
            )
        chosen = self.contexts[context]
        cluster, user = str(chosen.get("cluster", "")), str(chosen.get("user", ""))
        if cluster not in self.clusters:
            raise self._error(f"the context {context!r} is of a cluster {cluster!r}, which is not there")
        if user and user not in self.users:
            raise self._error(f"the context {context!r} is of a user {user!r}, who is not there")
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": dict(chosen)}],
            "clusters": [{"name": cluster, "cluster": dict(self.clusters[cluster])}],
            "users": [{"name": user, "user": dict(self.users[user])}] if user else [],
        }

    def _error(self, message: str, expected: str = "") -> InputError:
        return InputError(message, file=":".join(map(str, self.files)), expected=expected)


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the kubeconfig: {error}", file=str(file)) from None
    if not isinstance(data, dict) or not isinstance(data.get("contexts"), list):
        raise InputError("it is not a kubeconfig: it has no contexts", file=str(file))
    return data


def _named(entries: Any, kind: str, file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        return [(str(one["name"]), dict(one[kind.removesuffix("s")] or {})) for one in entries]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"it is not a kubeconfig: {kind} are not a list of names with what they stand for", file=str(file)
        ) from None


def _absolute(content: Mapping[str, Any], place: Path) -> dict[str, Any]:
    return {
        name: str(place.absolute() / str(value)) if name in FILES else value
        for name, value in content.items()
    }

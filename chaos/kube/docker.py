"""The Docker engine by its command line: the nodes of the lab's clusters are its containers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from chaos.errors import LabError, MissingCapability
from chaos.host.commands import run

CLUSTER_LABEL = "io.x-k8s.kind.cluster"
"""Label that kind puts on the containers of its nodes; the value is the cluster's name."""

PATIENCE = 60.0
"""Seconds that the engine may take for an answer: on a busy machine it takes several."""


@dataclass(frozen=True)
class Container:
    """A container as the engine describes it.

    Attributes:
        name: of the container; kind's nodes have the same host name.
        id: in full.
        pid: of its first process in the machine's numbers; 0 when it does not run.
        state: `running`, `paused`, `exited`, `created` ...
        cluster: kind's cluster that it is a node of; empty when none.
        address: on the network of the nodes; empty when it is not connected.
        volumes: mount point -> directory on this machine.
    """

    name: str
    id: str
    pid: int
    state: str
    cluster: str
    address: str
    volumes: dict[str, Path]


def docker(
    *arguments: str, timeout: float = PATIENCE, check: bool = True, stdin: str | None = None
) -> CompletedProcess[str]:
    """Run `docker ...` to its end.

    Raises:
        MissingCapability: there is no `docker` command.
        LabError: it failed, or ran into ``timeout`` seconds.
    """
    return run(["docker", *arguments], timeout=timeout, check=check, stdin=stdin)


def is_there() -> bool:
    """Whether a Docker engine answers on this machine."""
    try:
        return docker("version", "--format", "{{.Server.Version}}", check=False).returncode == 0
    except LabError:
        return False


def require() -> str:
    """The version of the engine.

    Raises:
        MissingCapability: none answers.
    """
    done = docker("version", "--format", "{{.Server.Version}}", check=False)
    if done.returncode != 0:
        host = os.environ.get("DOCKER_HOST", "/var/run/docker.sock")
        raise MissingCapability(
            f"no Docker engine answers at {host}: start it (`systemctl start docker`), "
            "or install it with `apt-get install --no-install-recommends docker.io`"
        )
    return done.stdout.strip()


def nodes(prefix: str) -> list[Container]:
    """Containers of kind clusters whose name begins with ``prefix``, whatever their state, by name."""
    listed = docker("ps", "--all", "--no-trunc", "--quiet", "--filter", f"label={CLUSTER_LABEL}")
    return [one for one in inspect(listed.stdout.split()) if one.cluster.startswith(prefix)]


def inspect(names: Sequence[str]) -> list[Container]:
    """What the engine knows of containers, by name; those that are gone are left out."""
    if not names:
        return []
    done = docker("inspect", "--type", "container", *names, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise LabError(f"`docker inspect` said: {done.stderr.strip()[:200]}") from error
    return sorted((_container(one) for one in found), key=lambda one: one.name)


def _container(data: dict[str, object]) -> Container:
    state, config, network = data["State"], data["Config"], data["NetworkSettings"]
    mounts = data.get("Mounts") or []
    assert isinstance(state, dict)
    assert isinstance(config, dict)
    assert isinstance(network, dict)
    assert isinstance(mounts, list)
    addresses = [str(one.get("IPAddress", "")) for one in network.get("Networks", {}).values()]
    return Container(
        name=str(data["Name"]).lstrip("/"),
        id=str(data["Id"]),
        pid=int(state.get("Pid", 0)),
        state=str(state.get("Status", "")),
        cluster=str((config.get("Labels") or {}).get(CLUSTER_LABEL, "")),
        address=next((one for one in addresses if one), ""),
        volumes={str(one["Destination"]): Path(str(one["Source"])) for one in mounts if one.get("Source")},
    )


def pid_of(name: str) -> int:
    """Process id of a running container's first process.

    Raises:
        LabError: there is no such container, or it does not run.
    """
    found = inspect([name])
    if not found or found[0].pid == 0:
        raise LabError(f"the container {name} {'does not run' if found else 'is gone'}")
    return found[0].pid


def inside(name: str, *argv: str, timeout: float = PATIENCE, check: bool = True) -> CompletedProcess[str]:
    """Run a command inside a container."""
    return docker("exec", name, *argv, timeout=timeout, check=check)

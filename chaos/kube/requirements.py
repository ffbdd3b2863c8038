"""What the lab on kind needs of this machine, as data: for `faultline doctor`, and to skip tests by.

Nothing is built, created or started by looking.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from chaos.host.capabilities import Capability
from chaos.kube import image
from chaos.kube.image import binaries, engine, versions

ROOT_PREFIX = "" if os.geteuid() == 0 else "sudo "
MEMORY_OF_TWO_CLUSTERS = 4.0
"""GiB that two clusters of one node take with their workloads: half a GiB each when idle, MariaDB and
the identity service on top."""

BUILD = "`make kind-image` in the clone (10 to 20 minutes the first time, seconds later)"


def _engine(version: str | None) -> Capability:
    if version is not None:
        return Capability("Docker engine", present=True, detail=version)
    installed = shutil.which("dockerd") or shutil.which("docker")
    remedy = f"{ROOT_PREFIX}systemctl start docker"
    if not installed:
        remedy = f"{ROOT_PREFIX}apt-get install --no-install-recommends docker.io"
    return Capability("Docker engine", present=False, remedy=f"`{remedy}`")


def _images(version: str | None) -> Capability:
    node = image.node_image() if version is not None else None
    kept = image.current_programs() is not None
    if node is None or not kept:
        return Capability("kind node image", present=False, remedy=BUILD)
    return Capability("kind node image", present=True, detail=f"{node}, Kubernetes {versions.KUBERNETES}")


def _lab_image(version: str | None) -> Capability:
    found = image.current() if version is not None else None
    return Capability(
        "kind lab image",
        found is not None,
        required=False,  # rebuilt by every run in seconds, once the node image is there
        detail=found.lab if found else "",
        remedy="" if found else "`make kind-image` in the clone, or the next run, brings it up to date",
    )


def _policies(version: str | None) -> Capability:
    node = image.node_image() if version is not None else None
    return Capability(
        "network policies on kind",
        node is not None,
        required=False,
        detail=f"enforced by {image.policy_enforcer(node)}" if node else "",
        remedy="" if node else BUILD,
    )


def available_memory(text: str | None = None) -> float:
    """GiB that programs can have before the machine swaps or kills.

    Args:
        text: of /proc/meminfo; read when not given.
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text or Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) / 2**20 if match else 0.0


def _memory() -> Capability:
    free = available_memory()
    enough = free >= MEMORY_OF_TWO_CLUSTERS
    return Capability(
        "memory for two clusters",
        enough,
        required=False,
        detail=f"{free:.1f} GiB free",
        remedy="" if enough else f"free {MEMORY_OF_TWO_CLUSTERS:g} GiB: `faultline lab down` ends a kept lab",
    )


def _builders() -> list[Capability]:
    """What building needs; not required once the images are there."""
    tools = (
        ("go", f"`{ROOT_PREFIX}{binaries.GO_REMEDY}`"),
        ("mmdebstrap", f"`{ROOT_PREFIX}apt-get install --no-install-recommends mmdebstrap`"),
    )
    found = []
    for name, remedy in tools:
        present = shutil.which(name) is not None
        detail = "builds the kind images"
        found.append(
            Capability(name, present, required=False, detail=detail, remedy="" if present else remedy)
        )
    return found


def survey() -> list[Capability]:
    """What the lab on kind needs or can use; what it cannot do without is `required`."""
    version = engine.version()
    return [
        _engine(version),
        _images(version),
        _lab_image(version),
        _policies(version),
        _memory(),
        *_builders(),
    ]


def missing() -> list[Capability]:
    """What the lab on kind cannot do without and this machine lacks (besides what every lab needs)."""
    version = engine.version()
    return [one for one in (_engine(version), _images(version)) if not one.present]

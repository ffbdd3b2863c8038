"""The images that the lab on kind runs from, and the programs that handle them: built once, found again.

Without a registry everything is made from Debian packages and Go modules; where Docker reaches a
registry, nodes are the published ones of kind. What is there already is used at once.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.host.commands import run
from chaos.kube.image import binaries, delivery, engine, lab, node
from chaos.kube.image.store import Progress, Store, fingerprint

REGISTRY_PATIENCE = 6.0
"""Seconds for a registry's first answer, before the images are made without one."""


@dataclass(frozen=True)
class Images:
    """What clusters are made with.

    Attributes:
        node: image of the nodes.
        lab: image of the lab's pods.
        kind: the program that makes clusters.
        kubectl: the program that talks to them.
    """

    node: str
    lab: str
    kind: Path
    kubectl: Path


def current_programs(store: Store | None = None) -> tuple[Path, Path] | None:
    """The programs kind and kubectl, if both are there and up to date."""
    store = store or Store.default()
    kind, kubectl = store.place("kind", binaries.kind_key()) / "kind", _kubectl_place(store) / "kubectl"
    return (kind, kubectl) if kind.exists() and kubectl.exists() else None


def node_image(store: Store | None = None) -> str | None:
    """Name of the node image, if the engine has one that is up to date."""
    published = _published(store or Store.default())
    return next((name for name in (node.name(), published) if name and engine.has(name)), None)


def policy_enforcer(node_name: str) -> str:
    """What enforces network policies on nodes of an image: every image used here has something that does."""
    return "podlink (nftables)" if node_name.startswith(f"{node.REPOSITORY}:") else "kindnet"


def current(store: Store | None = None) -> Images | None:
    """What is there and up to date; None when something has to be built. Builds nothing."""
    store = store or Store.default()
    programs = current_programs(store)
    if programs is None or engine.version() is None:
        return None
    found = node_image(store)
    if found is None or not engine.has(lab.name()):
        return None
    return Images(found, lab.name(), *programs)


def ensure(progress: Progress = lambda _: None, store: Store | None = None) -> Images:
    """Images and programs, from the cache or built now (minutes; 10 to 20 on a machine that never did).

    Killed at any moment, the next call goes on with what was finished. Two at once wait for
    each other.

    Args:
        progress: gets a line for each step that takes time.
        store: where pieces are kept; that of this machine when not given.

    Raises:
        MissingCapability: no Docker engine answers, or a program that building needs is missing.
        LabError: something cannot be built; the message ends with the last words of what failed.
    """
    store = store or Store.default()
    engine.require()
    if (found := current(store)) is not None:
        return found
    with store.locked(progress):
        kind = binaries.kind(store, progress)
        published = _pull(store, progress)
        lab_image = lab.ensure(store, progress, published=published is not None)
        node_image = published or node.ensure(store, progress)
        return Images(node_image, lab_image, kind, _kubectl(store, progress, published))


def _published(store: Store) -> str | None:
    """Name of the node image that this kind was published with; None when that was not used here."""
    note = store.directory / "published"
    return note.read_text().strip() if note.exists() else None


def _pull(store: Store, progress: Progress) -> str | None:
    """Get the published node image, if Docker reaches it and ours is not there."""
    if engine.has(node.name()) or store.place("node", node.key()).exists():
        return None
    name = default_node_image()
    progress("asking for the published node image")
    if engine.has(name) or engine.pull(name, patience=REGISTRY_PATIENCE):
        (store.directory / "published").write_text(name + "\n")
        return name
    progress("no registry answers: the images are made from packages and modules")
    return None


def default_node_image() -> str:
    """The node image that kind's own sources name as their default."""
    source = binaries.kind_sources() / "pkg" / "apis" / "config" / "defaults" / "image.go"
    match = re.search(r'const Image = "([^"]+)"', source.read_text())
    assert match is not None
    return match[1]


def _kubectl_place(store: Store) -> Path:
    return store.place("kubectl", fingerprint(binaries.program("kubebox").key))


def _kubectl(store: Store, progress: Progress, published: str | None) -> Path:
    """kubectl: kubebox under that name, or that of the published node image."""

    def make(work: Path) -> None:
        if published is None:
            shutil.copy2(binaries.build(store, "kubebox", progress), work / "kubectl")
            return
        container = run(["docker", "create", published], timeout=120).stdout.strip()
        try:
            run(["docker", "cp", f"{container}:/usr/bin/kubectl", str(work / "kubectl")], timeout=120)
        finally:
            run(["docker", "rm", container], check=False)

    return store.piece("kubectl", fingerprint(binaries.program("kubebox").key), make) / "kubectl"


def load(image: str, nodes: Sequence[str]) -> None:
    """Put the lab image into the image stores of running nodes, all at once.

    On nodes of our own node image this sends our own code only.

    Args:
        image: its name, as `Images.lab` has it.
        nodes: names of the nodes' containers.

    Raises:
        LabError: a node does not take it.
    """
    delivery.load(image, nodes, lab.base_name())

"""Bringing an image of the engine into the image stores of running nodes.

Where a node has the layers that the image stands on already, only the rest is sent: our own code, in
about a second instead of twenty. Otherwise the whole image is.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chaos.errors import LabError
from chaos.host.commands import run
from chaos.kube.image import archive

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
PATIENCE = 300.0
"""Seconds that a node may take for an answer: it may be unpacking for others."""


@dataclass(frozen=True)
class Stored:
    """An image in a node's store.

    Attributes:
        layers: descriptors (JSON) of its layers as they are stored, the lowest first.
        contents: digests of the layers' contents (`diff_ids`), in the same order.
    """

    layers: tuple[str, ...]
    contents: tuple[str, ...]


def load(image: str, nodes: Sequence[str], base: str) -> None:
    """Put an image into the stores of nodes, all at once.

    Args:
        image: its name in the engine.
        nodes: names of the nodes' containers.
        base: name of an image with the same lower layers that nodes may have.

    Raises:
        LabError: a node does not take it.
    """
    if not nodes:
        return
    with tempfile.TemporaryDirectory(prefix="faultline-image-") as directory:
        unpacked = Path(directory)
        stored = {node: find(node, base) for node in nodes}
        kinds = {one for one in stored.values() if one is not None}
        trimmed: dict[Stored, Path] = {}
        for number, kind in enumerate(kinds):
            place = unpacked / str(number)
            if trim(image, kind, place):
                trimmed[kind] = place
        with ThreadPoolExecutor(len(nodes)) as pool:
            places = [trimmed.get(found) if (found := stored[node]) else None for node in nodes]
            list(pool.map(_give, [image] * len(nodes), nodes, places))


def _ctr(node: str, *arguments: str) -> list[str]:
    return ["docker", "exec", "--interactive", node, "ctr", "--namespace", "k8s.io", *arguments]


def _give(image: str, node: str, place: Path | None) -> None:
    into = _ctr(node, "images", "import", "--digests=false", "--snapshotter=overlayfs", "-")
    if place is not None:
        archive.feed(place, into)
    else:
        archive.pipe(["docker", "save", image], into)


def find(node: str, image: str) -> Stored | None:
    """What a node has of an image; None when it has not got it."""
    listed = run(_ctr(node, "images", "list", f"name=={image}"), check=False, timeout=PATIENCE).stdout
    rows = [line.split() for line in listed.splitlines()[1:]]
    digest = next((row[2] for row in rows if row and row[0] == image), None)
    if digest is None:
        return None
    try:
        manifest = _content(node, digest)
        contents = _content(node, manifest["config"]["digest"])["rootfs"]["diff_ids"]
        layers = tuple(json.dumps(layer) for layer in manifest["layers"])
    except (LabError, KeyError, ValueError):
        return None  # in a form that nobody expects: then the whole image is sent
    return Stored(layers, tuple(contents))


def _content(node: str, digest: str) -> dict[str, Any]:
    found = json.loads(run(_ctr(node, "content", "get", digest), timeout=PATIENCE).stdout)
    assert isinstance(found, dict)
    return found


def trim(image: str, below: Stored, place: Path) -> bool:
    """Write an image archive without the layers that are ``below``; False when they are not its lowest.

    Args:
        image: name in the engine.
        below: what the nodes have.
        place: directory to make.
    """
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        saved = _Saved.read(save.stdout, keep_below=1 << 26)
    if save.returncode != 0:
        raise LabError(f"the engine does not give {image} away")
    contents = saved.config["rootfs"]["diff_ids"]
    if tuple(contents[: len(below.contents)]) != below.contents:
        return False
    layers = [json.loads(layer) for layer in below.layers]
    for name, content in zip(
        saved.layers[len(below.contents) :], contents[len(below.contents) :], strict=True
    ):
        data = saved.files.get(name)
        if data is None:  # larger than what our own code could be
            return False
        (blobs / content.partition(":")[2]).write_bytes(data)
        layers.append({"mediaType": _LAYER, "digest": content, "size": len(data)})
    config = _blob(blobs, json.dumps(saved.config).encode(), _CONFIG)
    manifest = _blob(
        blobs,
        json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}).encode(),
        _MANIFEST,
    )
    manifest["annotations"] = {"io.containerd.image.name": image}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest]}
    (place / "index.json").write_text(json.dumps(index))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return True


def _blob(blobs: Path, data: bytes, media_type: str) -> dict[str, Any]:
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}


@dataclass(frozen=True)
class _Saved:
    """What the engine gave: settings, names of the layers, and the smaller files."""

    config: dict[str, Any]
    layers: list[str]
    files: dict[str, bytes]

    @classmethod
    def read(cls, stream: IO[bytes], *, keep_below: int) -> _Saved:
        files: dict[str, bytes] = {}
        links: dict[str, str] = {}
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for entry in tar:
                if entry.issym():  # the engine links to layers that occur twice
                    links[entry.name] = str(Path(entry.name).parent / entry.linkname)
                elif entry.isfile() and entry.size < keep_below:
                    content = tar.extractfile(entry)
                    assert content is not None
                    files[entry.name] = content.read()
        manifest = json.loads(files["manifest.json"])[0]
        for name, target in links.items():
            real = _normal(target)
            if real in files:
                files[name] = files[real]
        return cls(json.loads(files[manifest["Config"]]), manifest["Layers"], files)


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in Path(path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)

"""The Kubernetes objects of a topology, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.errors import LabError
from chaos.kube.addresses import Addresses
from chaos.kube.manifests import LAB_IMAGE, Secrets, render
from chaos.kube.manifests.names import block
from chaos.kube.manifests.text import to_yaml
from topologies.errors import InputError, suggestion
from topologies.loader import SizeName, load

COREFILE = "coredns-names.txt"
"""File with what CoreDNS of every cluster has to be told."""


def manifests(
    reference: str,
    *,
    size: SizeName = "lab",
    overrides: Sequence[str] = (),
    site: str | None = None,
    image: str = LAB_IMAGE,
    host_names: bool = False,
    with_secrets: bool = False,
) -> tuple[dict[str, str], str]:
    """YAML documents by site, and the block for CoreDNS.

    Args:
        reference: topology file or library name.
        size: of the topology.
        overrides: `path=value`.
        site: only this one; all when not given.
        image: of the lab.
        host_names: write names into the pods instead of relying on CoreDNS.
        with_secrets: make secrets; placeholders otherwise.

    Raises:
        InputError: the topology cannot be used.
    """
    topology = load(reference, size=size, overrides=overrides)
    if site is not None and site not in topology.sites:
        raise InputError(
            f"{reference} has no site {site!r}", file="--site", hint=suggestion(site, topology.sites)
        )
    secrets = Secrets.generate() if with_secrets else Secrets.placeholders()
    try:
        rendered = render(topology, image=image, secrets=secrets, host_names=host_names)
        names = block(Addresses.of(topology))
    except LabError as error:
        raise InputError(str(error), file=reference) from error
    return {name: to_yaml(rendered[name]) for name in ([site] if site else topology.sites)}, names


def write(texts: Mapping[str, str], names: str, directory: Path) -> list[Path]:
    """Write `<site>.yaml` for every site and what CoreDNS has to be told; return the files.

    Raises:
        InputError: they cannot be written.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in [*((f"{site}.yaml", text) for site, text in texts.items()), (COREFILE, names)]:
            path = directory / name
            path.touch(mode=0o600)  # there may be secrets in it
            path.write_text(text)
            written.append(path)
    except OSError as error:
        raise InputError(f"{error.filename or directory}: {error.strerror}", file="--output") from error
    return written

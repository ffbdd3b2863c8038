"""The Kubernetes objects of a topology, as text."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chaos.errors import LabError
from chaos.kube import gateways
from chaos.kube.addresses import Addresses
from chaos.kube.manifests import LAB_IMAGE, Secrets, render
from chaos.kube.manifests.names import block
from chaos.kube.manifests.objects import Object
from chaos.kube.manifests.secrets import PLACEHOLDER
from chaos.kube.manifests.text import to_yaml
from chaos.lab.layout import HTTP_PORT, Layout, lab_directory
from chaos.wan.plan import plan
from topologies.errors import InputError, suggestion
from topologies.loader import SizeName, load
from topologies.model import Topology

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
    node_port: int | None = None,
    ranges: Sequence[str] = (),
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
        node_port: port of the nodes on which front ends are reached; 80 when not given.
        ranges: `site=pods,services` for clusters that exist already, for all sites or for none.

    Raises:
        InputError: the topology or an option cannot be used.
    """
    topology = load(reference, size=size, overrides=overrides)
    if site is not None and site not in topology.sites:
        raise InputError(
            f"{reference} has no site {site!r}", file="--site", hint=suggestion(site, topology.sites)
        )
    secrets = Secrets.generate() if with_secrets else Secrets.placeholders()
    try:
        addresses = Addresses.of(topology, overlapping=gateways.is_translated(topology))
        links: dict[str, list[Object]] = {}
        if ranges:
            addresses = addresses.within(_ranges(ranges, topology.sites))
        elif len(topology.sites) > 1:
            links = _gateways(topology, addresses, image, with_secrets)
        rendered = render(
            topology,
            image=image,
            secrets=secrets,
            addresses=addresses,
            host_names=host_names,
            node_port=node_port or HTTP_PORT,
            extra=links,
        )
        names = block(addresses)
    except LabError as error:
        raise InputError(str(error), file=reference) from error
    return {name: to_yaml(rendered[name]) for name in ([site] if site else topology.sites)}, names


def _gateways(
    topology: Topology, addresses: Addresses, image: str, with_secrets: bool
) -> dict[str, list[Object]]:
    """The ends of the links between the lab's own clusters. Existing clusters have links of their own.

    Raises:
        LabError: a link cannot be built.
    """
    gateways.ensure_carried(topology)
    laid, layout = plan(topology, lab_directory()), Layout(tuple(topology.sites), lab_directory())
    keys = {site: _key_pair() if with_secrets else (PLACEHOLDER, PLACEHOLDER) for site in topology.sites}
    public = {site: pair[1] for site, pair in keys.items()}
    return {
        site: gateways.objects(kept, keys[site][0], image, topology.kubernetes, topology.sites[site].nodes)
        for site, kept in gateways.configurations(topology, laid, layout, addresses, public).items()
    }


def _key_pair() -> tuple[str, str]:
    """A private and a public key of WireGuard, as `wg genkey` and `wg pubkey` write them."""
    private = X25519PrivateKey.generate()
    both = private.private_bytes_raw(), private.public_key().public_bytes_raw()
    return b64encode(both[0]).decode(), b64encode(both[1]).decode()


def _ranges(texts: Sequence[str], sites: Collection[str]) -> dict[str, tuple[str, str]]:
    """Read `site=pods,services` of every site.

    Raises:
        InputError: one cannot be read, or a site is unknown or left out.
    """
    expected = "SITE=PODS,SERVICES, for example ral=10.244.0.0/16,10.96.0.0/12"
    found = {}
    for text in texts:
        site, _, values = text.partition("=")
        pods, _, services = values.partition(",")
        if site not in sites:
            raise InputError(
                f"no site {site!r}", file=f"--ranges {text}", expected=expected, hint=suggestion(site, sites)
            )
        try:
            found[site] = str(ipaddress.IPv4Network(pods)), str(ipaddress.IPv4Network(services))
        except ValueError as error:
            raise InputError(str(error), file=f"--ranges {text}", expected=expected) from error
    if missing := [site for site in sites if site not in found]:
        raise InputError(f"nothing is said of {', '.join(missing)}", file="--ranges", expected=expected)
    return found


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
            path.touch(mode=0o600)  # there may be secrets in it, also where an older file was there for all
            path.chmod(0o600)
            path.write_text(text)
            written.append(path)
    except OSError as error:
        raise InputError(f"{error.filename or directory}: {error.strerror}", file="--output") from error
    return written

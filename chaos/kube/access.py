"""Which clusters of somebody else's are the sites of a lab, as their users name them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from chaos.kube import housekeeping
from chaos.kube.addresses import NAMESPACE
from chaos.kube.clusters import DIRECTORY, kubeconfig
from chaos.kube.kubeconfig import Kubeconfig
from topologies.errors import InputError

MARK = housekeeping.EXISTING
"""Beside the kubeconfigs: says that the clusters are somebody else's, and what of them is used."""


@dataclass(frozen=True)
class Access:
    """Which clusters are the sites, and how far the lab may go.

    Attributes:
        contexts: site -> context of the kubeconfig.
        kubeconfig: the file; those of $KUBECONFIG, else ~/.kube/config, when not given.
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
    def files(self) -> list[Path]:
        """The kubeconfigs that are read: the one that was named, else those of $KUBECONFIG."""
        if self.kubeconfig is not None:
            return [self.kubeconfig.expanduser()]
        named = [one for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
        return [Path(one).expanduser() for one in named or ["~/.kube/config"]]

    def only(self, site: str) -> dict[str, Any]:
        """A kubeconfig of the site's context alone.

        Raises:
            InputError: it cannot be read, or the site has no context, or there is no such context.
        """
        return self._only(Kubeconfig.read(self.files), site)

    def write_kubeconfigs(self, sites: Sequence[str], directory: Path) -> None:
        """Put a kubeconfig for each site into the lab's directory, with nothing in it but its context.

        A new process that takes faults back needs no more than these.

        Raises:
            InputError: as `only`.
        """
        known = Kubeconfig.read(self.files)
        for site in sites:
            chosen = self._only(known, site)
            file = kubeconfig(directory, site)
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as out:
                yaml.safe_dump(chosen, out)
        mark = {"sites": list(sites), "namespace": NAMESPACE}
        (directory / DIRECTORY / MARK).write_text(json.dumps(mark))

    def check(self, sites: Sequence[str]) -> None:
        """Check that every site has a context and a cluster of its own, and that these are there.

        Raises:
            InputError: what is missing, and what there is.
        """
        known = Kubeconfig.read(self.files)
        for option, named in (("--context", self.contexts), ("--url", self.front_ends)):
            if unknown := sorted(set(named) - set(sites)):
                raise InputError(
                    f"{unknown[0]!r} is not a site", file=option, expected=f"one of {', '.join(sites)}"
                )
        taken: dict[str, str] = {}
        for site in sites:
            self._only(known, site)
            server = known.server(self.contexts[site])
            if server in taken:
                raise InputError(
                    f"{taken[server]} and {site} are the same cluster ({server})",
                    file="--context",
                    expected="a cluster for each site",
                )
            taken[server] = site

    def _only(self, known: Kubeconfig, site: str) -> dict[str, Any]:
        if site not in self.contexts:
            raise InputError(
                f"the site {site!r} has no context", file="--context", hint=f"add --context {site}=CONTEXT"
            )
        return known.only(self.contexts[site])


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

"""`faultline manifests`: what a topology is on Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faultline.commands.options import SetOption, SizeChoice, SizeOption, complete_topology
from faultline.exits import ExitCode

PANEL = "Write"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=PANEL)(manifests)


def manifests(
    topology: Annotated[
        str,
        typer.Argument(
            help="Topology file, or the name of one of the library.",
            metavar="TOPOLOGY",
            autocompletion=complete_topology,
        ),
    ],
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="Only this site's; all when not given.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            help="Write SITE.yaml for each site, and the names for CoreDNS, into this directory.",
        ),
    ] = None,
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets",
            help="Make passwords and keys; without it there are placeholders in their place.",
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option("--image", metavar="IMAGE", help="Image of the lab to run.")
    ] = None,
    host_names: Annotated[
        bool,
        typer.Option(
            "--host-names",
            help="Write the names of Services into every pod, for clusters whose CoreDNS may not be changed.",
        ),
    ] = False,
    node_port: Annotated[
        int | None,
        typer.Option(
            "--node-port",
            metavar="PORT",
            min=1,
            max=65535,
            help="Port of the nodes for the front ends. Default: 80; clusters of others rarely allow that.",
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--ranges",
            metavar="SITE=PODS,SERVICES",
            help="Address ranges of a cluster that exists already; for every site or for none.",
        ),
    ] = None,
    overrides: SetOption = None,
    size: SizeOption = SizeChoice.LAB,
) -> ExitCode:
    """Show a topology as Kubernetes objects: YAML for `kubectl apply`, one cluster per site."""
    from chaos.kube.manifests import LAB_IMAGE
    from faultline.manifests import manifests as rendered
    from faultline.manifests import write
    from faultline.wording import bullet

    texts, names = rendered(
        topology,
        size=size.value,
        overrides=overrides or [],
        site=site,
        image=image or LAB_IMAGE,
        host_names=host_names,
        with_secrets=with_secrets,
        node_port=node_port,
        ranges=ranges or [],
    )
    if output is not None:
        for path in write(texts, names, output):
            typer.echo(bullet(f"wrote {path}"))
        return ExitCode.HELD
    for name, text in texts.items():
        if len(texts) > 1:
            typer.echo(f"# site {name}: for its own cluster")
        typer.echo(text, nl=False)
    return ExitCode.HELD

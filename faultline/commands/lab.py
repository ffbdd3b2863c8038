"""`faultline lab up|status|down`: the lab without an experiment."""

from __future__ import annotations

from typing import Annotated

import typer

from faultline.commands.options import JsonOption, LabName, SetOption, complete_topology
from faultline.exits import ExitCode

app = typer.Typer(help="The lab of real daemons, without an experiment.", no_args_is_help=False)


@app.command()
def up(
    topology: Annotated[
        str,
        typer.Argument(help="Topology file, or a name of the library.", autocompletion=complete_topology),
    ] = "iris-3site-galera",
    overrides: SetOption = None,
    backend: Annotated[
        LabName,
        typer.Option("--backend", help="On namespaces (local), or in a Kubernetes cluster per site (kind)."),
    ] = LabName.LOCAL,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="With kind: only make the clusters, and keep them between runs until `faultline lab down`. "
            "Runs of a topology with the same sites, nodes and settings take them over.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Bring a topology up and leave it running, until `faultline lab down`."""
    from faultline.console import print_json
    from faultline.display import display
    from faultline.signals import patient_with_signals
    from faultline.standing import bring_up, keep_clusters
    from topologies.loader import load

    if keep and backend is not LabName.KIND:
        raise typer.BadParameter("only clusters can be kept: add `--backend kind`", param_hint="--keep")
    loaded = load(topology, size="lab", overrides=overrides or [])
    with patient_with_signals(), display() as shown:
        if keep:
            shown.phase("lab", f"making the clusters of {loaded.topology}", 90.0)
            keep_clusters(loaded, shown.note)
            return ExitCode.HELD
        shown.phase("lab", f"bringing up {loaded.topology}", 60.0 if backend is LabName.LOCAL else 180.0)
        endpoints = bring_up(loaded, shown.note, backend.value)
    if as_json:
        print_json([vars(endpoint) for endpoint in endpoints])
    else:
        for endpoint in endpoints:
            typer.echo(f"{endpoint.component}  {endpoint.address}:{endpoint.port}")
    return ExitCode.HELD


@app.command()
def status(as_json: JsonOption = False) -> ExitCode:
    """State of every component of the running lab."""
    from faultline.console import print_json, print_table
    from faultline.labs import ensure_root
    from faultline.standing import look

    ensure_root()
    found = look()
    if as_json:
        print_json([vars(one) for one in found])
    elif not found:
        typer.echo("no lab is up")
    else:
        print_table(["component", "state", ""], [(one.component, one.state, one.detail) for one in found])
    return ExitCode.HELD


@app.command()
def down() -> ExitCode:
    """Take the lab down and remove every trace of it, kept clusters too."""
    from chaos.heal import heal
    from faultline.console import out
    from faultline.labs import ensure_root

    ensure_root()
    for line in heal(keep_clusters=False) or ["no lab was up"]:
        out().print(line, soft_wrap=True, markup=False)
    return ExitCode.HELD

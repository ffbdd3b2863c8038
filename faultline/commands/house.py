"""`faultline doctor`, `calibrate` and `heal`: the machine, not an experiment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from faultline.commands.options import JsonOption
from faultline.exits import ExitCode

PANEL = "The lab"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=PANEL)(doctor)
    app.command(rich_help_panel=PANEL)(calibrate)
    app.command(rich_help_panel=PANEL)(heal)


def doctor(as_json: JsonOption = False) -> ExitCode:
    """What this machine can run, what is missing, and the exact command that gets it."""
    from faultline.console import out, print_json, print_table
    from faultline.doctor import examine

    result = examine()
    if as_json:
        print_json(result.to_json())
        return ExitCode.HELD
    print_table(
        ["", "lab", "found", "get it with"],
        [
            (
                "ok" if one.present else "missing" if one.required else "optional",
                one.name,
                one.detail,
                "" if one.present else one.remedy,
            )
            for one in result.capabilities
        ],
    )
    console = out()
    for task in result.tasks:
        sign = "[green]yes[/]" if task.possible else "[red]no[/]"
        console.print(f"{sign}  {task.what}{': ' + task.reason if task.reason else ''}", soft_wrap=True)
    for remark in result.remarks:
        console.print(f"note: {remark}", soft_wrap=True, markup=False)
    return ExitCode.HELD


def heal(as_json: JsonOption = False) -> ExitCode:
    """Take back every fault still in force and remove whatever is left of a lab."""
    from chaos.heal import Unfinished
    from chaos.heal import heal as heal_machine
    from faultline.console import out, print_json
    from faultline.labs import ensure_root

    ensure_root()
    try:
        done, unfinished = heal_machine(), None
    except Unfinished as error:
        done, unfinished = list(error.done), error
    if as_json:
        print_json({"done": done})
    else:
        nothing = [] if unfinished else ["nothing to do: no lab is left on this machine"]
        for line in done or nothing:
            out().print(line, soft_wrap=True, markup=False)
    if unfinished is not None:
        raise unfinished
    return ExitCode.HELD


class CalibratedBackend(StrEnum):
    """What a calibration is measured on."""

    LOCAL = "local"
    KIND = "kind"


def calibrate(
    backend: Annotated[
        CalibratedBackend,
        typer.Option(
            "--backend",
            help="local: what requests cost and components take to start. kind: what a cluster takes to "
            "replace pods, added to that.",
        ),
    ] = CalibratedBackend.LOCAL,
    as_json: JsonOption = False,
) -> ExitCode:
    """Measure this machine at rest: one user, one site, no load. Some two minutes."""
    from faultline.calibrate import run_calibration, run_pod_calibration
    from faultline.console import out, print_json
    from faultline.display import display
    from faultline.home import Home
    from faultline.signals import patient_with_signals

    with patient_with_signals(), display() as shown:
        measure = run_calibration if backend is CalibratedBackend.LOCAL else run_pod_calibration
        calibration, path = measure(Home.find(), shown)
    if as_json:
        data = calibration.model_dump(mode="json")
        print_json({"path": str(path), "hash": calibration.hash, "calibration": data})
        return ExitCode.HELD
    out().print(f"calibration {calibration.hash[:12]} written to {path}", soft_wrap=True)
    return ExitCode.HELD

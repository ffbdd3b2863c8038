"""`faultline init` and `faultline validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from faultline.commands.options import (
    JsonOption,
    SetOption,
    complete_either,
    complete_experiment,
)
from faultline.exits import ExitCode

PANEL = "Write"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=PANEL)(init)
    app.command(rich_help_panel=PANEL)(validate)


def init(
    directory: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path(),
    experiment: Annotated[
        str,
        typer.Option(
            "--experiment", help="Library experiment to begin with.", autocompletion=complete_experiment
        ),
    ] = "site-cut",
) -> ExitCode:
    """Begin an experiment of your own: copies one of the library, its topology and the editor's schema."""
    from faultline.init import write_starter
    from faultline.wording import bullet

    for path in write_starter(directory, experiment):
        typer.echo(bullet(f"wrote {path}"))
    typer.echo(f"\nnext: faultline plan {directory / experiment}.yaml")
    return ExitCode.HELD


def validate(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Experiment or topology files, or names of the library.", autocompletion=complete_either
        ),
    ],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> ExitCode:
    """Check files: everything wrong with them, with its line and what to write instead."""
    from faultline.console import out, print_json
    from faultline.validation import Checked, check_file
    from topologies.errors import InputError, Problem

    problems: list[Problem] = []
    checked: list[Checked] = []
    for file in files:
        try:
            checked.append(check_file(file, overrides or []))
        except InputError as error:
            problems += error.problems
    if as_json:
        result: dict[str, Any] = {
            "valid": not problems,
            "files": [vars(one) for one in checked],
            "problems": [vars(problem) for problem in problems],
        }
        print_json(result)
        return ExitCode.USAGE if problems else ExitCode.HELD
    console = out()
    for one in checked:
        console.print(f"[green]ok[/] {one.file}: {one.kind} {one.about}", soft_wrap=True)
        for remark in one.remarks:
            console.print(f"   note: {remark}", soft_wrap=True, markup=False)
    if problems:
        raise InputError(problems=problems)
    return ExitCode.HELD

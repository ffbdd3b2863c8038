"""`faultline report`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from faultline.commands.options import JsonOption, RunArgument
from faultline.exits import ExitCode


class Format(StrEnum):
    """What to write to standard output."""

    PATH = "path"
    MARKDOWN = "markdown"
    HTML = "html"
    JUNIT = "junit"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Look back")(report)


def report(
    run: RunArgument = "latest",
    form: Annotated[
        Format, typer.Option("--format", help="What to write to standard output besides the files.")
    ] = Format.PATH,
    as_json: JsonOption = False,
) -> ExitCode:
    """Make the reports of a run again, and print where they are or one of them."""
    from faultline.console import print_json
    from faultline.home import Home
    from faultline.ledger import Ledger
    from faultline.report import write_reports
    from faultline.witnesses import altered_documents
    from topologies.errors import InputError

    home = Home.find()
    directory = home.open_run(run)
    own = [row for row in Ledger(home.ledger).rows() if row.run_id == directory.id]
    for problem in altered_documents(home, own):
        raise InputError(f"{problem.what}: a report would not show what was registered")
    try:
        path = write_reports(directory)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if own:
            raise
        raise InputError(
            f"the run's files cannot be read, and no ledger vouches for them: {type(error).__name__} {error}",
            file=str(directory.path),
        ) from None
    if as_json:
        name = "verdict" if directory.has("verdict.json") else "prediction"
        print_json({**directory.read_json(name), "run_id": directory.id, "report": str(path)})
        return ExitCode.HELD
    names = {Format.MARKDOWN: "report.md", Format.HTML: "report.html", Format.JUNIT: "junit.xml"}
    if form is Format.PATH:
        typer.echo(str(path))
        return ExitCode.HELD
    if not directory.has(names[form]):
        raise InputError("the run has no verdict yet, so there is no such report", file=str(directory.path))
    sys.stdout.write((directory.path / names[form]).read_text())
    return ExitCode.HELD

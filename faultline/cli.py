"""The command line. Commands live in `faultline.commands`; what they need is imported when they run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from faultline.commands import (
    compare,
    experiment,
    explain,
    house,
    lab,
    ledger,
    manifests,
    report,
    setup,
    sweep,
)
from faultline.exits import ExitCode
from faultline.guard import run_guarded


class Guarded(TyperGroup):
    """The root group: every end of a command becomes an exit code, never a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a command line and exit."""
        del standalone_mode
        command = super().main
        name = prog_name or "faultline"
        sys.exit(run_guarded(lambda: command(args, name, complete_var, False, windows_expand_args, **extra)))


app = typer.Typer(
    cls=Guarded,
    name="faultline",
    help="Predict an outage, cause it on a lab of real daemons, measure it, keep score of the prediction.",
    epilog=(
        "Exit codes: 0 held or done, 1 deviated, 2 inconclusive, 3 lab, injection or undo failed, "
        "64 wrong file or option or missing capability, 70 internal error, 130 interrupted."
    ),
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from faultline import __version__

        typer.echo(f"faultline {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Predict, break, measure, score."""
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


setup.register(app)
manifests.register(app)
experiment.register(app)
sweep.register(app)
report.register(app)
compare.register(app)
explain.register(app)
app.add_typer(ledger.app, name="ledger", rich_help_panel="Look back")
house.register(app)
app.add_typer(lab.app, name="lab", rich_help_panel="The lab")


def main() -> None:
    """Entry point of the `faultline` command."""
    app(prog_name="faultline")

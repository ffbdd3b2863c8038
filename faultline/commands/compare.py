"""`faultline compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from faultline.commands.options import JsonOption, complete_run
from faultline.exits import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Look back")(compare)


def compare(
    first: Annotated[
        str, typer.Argument(help="A run, or a prediction.json.", metavar="A", autocompletion=complete_run)
    ],
    second: Annotated[
        str, typer.Argument(help="Another one.", metavar="B", autocompletion=complete_run)
    ] = "latest",
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Compare what was predicted, not what was measured.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the break-down by site and request.")
    ] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Put two runs or two predictions side by side, metric by metric."""
    from faultline import comparison
    from faultline.console import print_json, print_table
    from faultline.home import Home
    from faultline.wording import DASH, show, show_range, title, where, window

    result = comparison.compare(Home.find(), first, second, predictions=predictions)
    if as_json:
        print_json(result)
        return ExitCode.HELD

    def cell(value: float | None, span: tuple[float, float] | None, unit: str) -> str:
        return show(value, unit) + (f" [{show_range(*span, unit)}]" if span else "")

    rows = [
        (
            ", ".join(filter(None, [title(pair["key"]), where(pair["key"])])),
            window(pair["key"]),
            cell(pair["a"], pair["a_range"], pair["unit"]),
            cell(pair["b"], pair["b_range"], pair["unit"]),
            DASH if pair["change"] is None else f"{pair['change']:+.1%}",
            {True: "apart", False: "overlap", None: ""}[pair["apart"]],
        )
        for pair in result["metrics"]
        if pair["headline"] or everything
    ]
    heads = [f"{result[side]['name']} ({result[side]['kind']})" for side in ("first", "second")]
    print_table(["metric", "when", *heads, "change", ""], rows, numeric=[2, 3, 4])
    return ExitCode.HELD

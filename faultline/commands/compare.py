"""`faultline compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from faultline.commands.options import (
    DEFAULT_REPLICATIONS,
    CalibrationOption,
    JsonOption,
    ReplicationsOption,
    SeedOption,
    SetOption,
    SizeChoice,
    SizeOption,
    complete_experiment,
    complete_run,
)
from faultline.exits import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Look back")(compare)


def _complete(incomplete: str) -> list[str]:
    return complete_run(incomplete) + complete_experiment(incomplete)


def compare(
    first: Annotated[
        str,
        typer.Argument(
            help="A run, a prediction.json, or (with --with) an experiment.",
            metavar="A",
            autocompletion=_complete,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            help="Another run or prediction; `latest` when not given.",
            metavar="B",
            autocompletion=complete_run,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PATH=VALUE",
            help="Simulate experiment A as it is and with this change, under the same random numbers, and "
            "show the difference with its 95 % interval. Can be repeated; topology=NAME changes that.",
        ),
    ] = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    replications: ReplicationsOption = DEFAULT_REPLICATIONS,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Compare what was predicted, not what was measured.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the break-down by site and request.")
    ] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Put two runs or two predictions side by side, or ask what a change would do (--with)."""
    from topologies.errors import InputError

    if changes:
        if second is not None:
            raise InputError(
                "a second run has no place in a what-if question",
                file=f"compare {first} {second}",
                hint="leave it out: A is simulated as it is and with the changes",
            )
        return _what_if(
            first, changes, overrides or [], seed, size, calibration, replications, everything, as_json
        )
    if overrides:
        raise InputError(
            "changes both sides of a what-if question",
            file=f"--set {overrides[0]}",
            hint="write --with to change the second side only",
        )
    return _side_by_side(first, second or "latest", predictions, everything, as_json)


def _what_if(
    experiment: str,
    changes: list[str],
    overrides: list[str],
    seed: int | None,
    size: SizeChoice,
    calibration: str | None,
    replications: int,
    everything: bool,
    as_json: bool,
) -> ExitCode:
    from faultline.console import out, print_json, print_table
    from faultline.display import display
    from faultline.home import Home
    from faultline.inputs import prepare
    from faultline.whatif import compare_inputs, document, rows

    sides = [
        prepare(
            experiment,
            home=Home.find(),
            seed=seed,
            overrides=texts,
            size="lab" if size is SizeChoice.LAB else "production",
            calibration=calibration,
            replications=replications,
        )
        for texts in (overrides, [*overrides, *changes])
    ]
    names = ("as it is", ", ".join(changes))
    with display() as shown:
        shown.phase("compare", f"{sides[0].experiment.title} (seed {sides[0].seed})")
        found = compare_inputs(sides[0], sides[1], names, shown)
    if as_json:
        print_json(document(found, *sides))
        return ExitCode.HELD
    lines = rows(found, faulted=bool(sides[0].timeline), everything=everything)
    heads = ["metric", "when", *names, "difference [95 % interval]", "change", ""]
    print_table(heads, lines, numeric=[2, 3, 4, 5])
    out().print(
        f"seed {found.seed}, {found.replications} replications of each, paired by their random numbers; "
        f"programs {found.programs[0][:12]} and {found.programs[1][:12]}",
        soft_wrap=True,
    )
    return ExitCode.HELD


def _side_by_side(first: str, second: str, predictions: bool, everything: bool, as_json: bool) -> ExitCode:
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

"""`faultline sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faultline.commands.options import (
    CalibrationOption,
    JsonOption,
    SeedOption,
    SizeChoice,
    SizeOption,
    complete_either,
)
from faultline.exits import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel="Predict and break")(sweep)


def sweep(
    reference: Annotated[
        str,
        typer.Argument(
            help="Experiment or topology (nothing is broken then): a file, or one of the library.",
            metavar="EXPERIMENT|TOPOLOGY",
            autocompletion=complete_either,
        ),
    ],
    axes: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="PATH=V1,V2,...",
            help="An axis: a path as for `predict --set`, and its values. Repeated, every combination is "
            "simulated; links[*].rtt sets all links.",
        ),
    ],
    replications: Annotated[
        int, typer.Option("--replications", min=2, max=10_000, help="Simulated runs of every point.")
    ] = 10,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes on this machine; one per core.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler instead, as in tcp://host:8786."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            help="File that keeps every result; the same sweep, or a larger one, goes on from it. "
            "Default: sweeps.sqlite in the home.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the table: .parquet, .csv or .json."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Show this metric (a key or its beginning) instead of the headlines."),
    ] = None,
    seed: SeedOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    as_json: JsonOption = False,
) -> ExitCode:
    """Simulate every combination of settings; can be interrupted and goes on where it was."""
    import os

    from faultline.console import out, print_json
    from faultline.display import display
    from faultline.home import Home
    from faultline.predicting import ensure_output
    from faultline.sweeping import axes_of, points_of, preparation, run_sweep
    from sim.sweep_result import WRITERS
    from topologies.errors import InputError

    home = Home.find()
    if output is not None:
        ensure_output(output)
        if output.suffix not in WRITERS:
            raise InputError(
                "what kind of file is this?", file=str(output), expected=f"an ending of {', '.join(WRITERS)}"
            )
    prepared = preparation(
        reference,
        home=home,
        seed=seed,
        size="lab" if size is SizeChoice.LAB else "production",
        calibration=calibration,
    )
    points, first = points_of(axes_of(axes), prepared)
    with display() as shown:
        shown.phase("sweep", f"{len(points)} points of {first.experiment.title!r} (seed {first.seed})")

        def progress(done: int, total: int) -> None:
            shown.note(f"{done} of {total} replications")

        result = run_sweep(
            points,
            first,
            replications=replications,
            workers=workers or os.cpu_count() or 1,
            cluster=cluster,
            journal=journal or home.sweeps,
            progress=progress,
            note=shown.note,
        )
    if output is not None:
        result.write(output)
    frame = result.frame()
    if as_json:
        print_json(
            {
                "seed": result.seed,
                "replications": result.wanted,
                "axes": result.axes,
                "rows": frame.to_dict("records"),
            }
        )
        return ExitCode.HELD
    _show(result, metric or [], bool(first.timeline))
    out().print(f"seed {result.seed}, {result.wanted} replications of each point", soft_wrap=True)
    return ExitCode.HELD


def _show(result: object, metrics: list[str], faulted: bool) -> None:
    from faultline.console import print_table
    from faultline.verdict import is_headline
    from faultline.wording import reading_order, show, show_range, title, where, window
    from sim.sweep_result import SweepResult, is_metric

    assert isinstance(result, SweepResult)
    frame = result.frame()
    keys = sorted(frame["metric"].unique(), key=reading_order)
    if metrics:
        keys = [key for key in keys if any(is_metric(key, asked) for asked in metrics)]
    else:
        keys = [key for key in keys if is_headline(key, faulted)]
    rows = []
    for key in keys:
        label = ", ".join(filter(None, [title(key), where(key)]))
        for row in frame[frame["metric"] == key].to_dict("records"):
            point = show(row["median"], row["unit"], like=row["high"])
            interval = show_range(row["low"], row["high"], row["unit"])
            rows.append((*(str(row[axis]) for axis in result.axes), label, window(key), point, interval))
    heads = [*result.axes, "metric", "when", "predicted", "90 % interval"]
    print_table(heads, rows, numeric=[len(heads) - 2, len(heads) - 1])

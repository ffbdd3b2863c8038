"""`faultline explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from faultline.commands.options import (
    DEFAULT_PROFILE,
    CalibrationOption,
    JsonOption,
    ProfileOption,
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
    app.command(rich_help_panel="Look back")(explain)


def _complete(incomplete: str) -> list[str]:
    return complete_run(incomplete) + complete_experiment(incomplete)


def _power_of_two(value: int) -> int:
    if value and value & (value - 1):
        raise typer.BadParameter("write a power of two, as in 16")
    return value


def explain(
    reference: Annotated[
        str,
        typer.Argument(
            help="A run (id, directory, `latest`) or an experiment.",
            metavar="RUN|EXPERIMENT",
            autocompletion=_complete,
        ),
    ] = "latest",
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="KEY",
            help="Metric to explain, as in 'latency_p95{flow=workflow}@whole'. Can be repeated. Default: the "
            "users' and those of the hypotheses.",
        ),
    ] = None,
    replications: Annotated[
        int, typer.Option("--replications", min=2, max=1000, help="Simulated runs of every point.")
    ] = 4,
    sobol: Annotated[
        int,
        typer.Option(
            "--sobol",
            min=0,
            max=4096,
            callback=_power_of_two,
            help="Also Sobol indices of the calibrated parameters, from N base samples (a power of two; "
            "N x (parameters + 3) runs).",
        ),
    ] = 0,
    top: Annotated[
        int, typer.Option("--top", min=1, max=20, help="Parameters in the Sobol analysis, the strongest.")
    ] = 4,
    seed: SeedOption = None,
    overrides: SetOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    profile: ProfileOption = DEFAULT_PROFILE,
    as_json: JsonOption = False,
) -> ExitCode:
    """Which parameters drive a prediction, and which mechanism takes the time of the slowest requests."""
    from faultline.console import out, print_json, print_table
    from faultline.display import display
    from faultline.explain import (
        answer,
        ask,
        comparison_line,
        document,
        effect_rows,
        index_rows,
        time_rows,
    )
    from faultline.home import Home
    from faultline.wording import show, title, where, window

    question = ask(
        reference,
        Home.find(),
        seed=seed,
        overrides=overrides or [],
        size="lab" if size is SizeChoice.LAB else "production",
        calibration=calibration,
        profile=profile,
    )
    with display() as shown:
        shown.phase("explain", f"{question.inputs.experiment.title} (seed {question.inputs.seed})")
        found, times = answer(
            question, shown, metrics=metrics or [], replications=replications, sobol=sobol, top=top
        )
    if as_json:
        print_json(document(question, found, times))
        return ExitCode.HELD
    console = out()
    for note in question.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    for key, effects in found.effects.items():
        label = ", ".join(filter(None, [title(key), where(key), window(key)]))
        told = comparison_line(question, key)
        print_table(
            ["parameter", "moved", "metric from – to", "difference", "90 % interval", "share of spread"],
            effect_rows(key, effects),
            title=f"{label}{f': {told}' if told else ''}",
            numeric=[2, 3, 4, 5],
        )
        if key in found.sobol:
            print_table(
                ["parameter", "first order ± 90 %", "total ± 90 %"],
                index_rows(found.sobol[key]),
                numeric=[1, 2],
            )
    for part in times:
        if not part.requests:
            console.print("no request was answered", soft_wrap=True)
            break
        group = "the slowest 1 % of the" if part.group == "slowest" else "all"
        kinds = ", ".join(f"{count} {kind}" for kind, count in part.kinds.items())
        print_table(
            ["phase", "mean per request", "90 % interval", "share"],
            time_rows(part),
            title=f"time of {group} answered requests ({show(part.latency, 's')} each; {kinds})",
            numeric=[1, 2, 3],
        )
    if times and times[0].failed:
        failed = ", ".join(f"{count} {outcome}" for outcome, count in times[0].failed.items())
        console.print(f"failed: {failed}", soft_wrap=True, markup=False)
    console.print(
        f"seed {found.seed}, {found.replications} replications of every point, {found.runs} runs",
        soft_wrap=True,
    )
    return ExitCode.HELD

"""`faultline ledger show|score|verify`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from faultline.commands.options import JsonOption
from faultline.exits import ExitCode

app = typer.Typer(
    help="What was predicted before it was measured, and the score of it.", no_args_is_help=False
)


@app.command()
def show(
    run: Annotated[str, typer.Option("--run", help="Only the rows of this run.")] = "",
    as_json: JsonOption = False,
) -> ExitCode:
    """List the rows, oldest first."""
    from faultline.console import print_json, print_table
    from faultline.home import Home
    from faultline.ledger import Ledger

    rows = [row for row in Ledger(Home.find().ledger).rows() if row.run_id.startswith(run)]
    if as_json:
        print_json([{**vars(row), "payload": row.content} for row in rows])
        return ExitCode.HELD
    print_table(
        ["n", "time (UTC)", "kind", "run", "what", "hash"],
        [
            (
                str(row.n),
                row.time[:19].replace("T", " "),
                row.kind,
                row.run_id,
                _what(row.kind, row.content),
                row.hash[:12],
            )
            for row in rows
        ],
        numeric=[0],
    )
    return ExitCode.HELD


def _what(kind: str, content: dict[str, Any]) -> str:
    if kind == "prediction":
        return f"{len(content.get('intervals', {}))} intervals, program {content.get('program_hash', '')[:8]}"
    if kind == "measurement":
        trouble = ", disturbed" if content.get("disturbances") else ""
        return f"{len(content.get('metrics', {}))} values on {content.get('backend', '?')}{trouble}"
    return str(content.get("verdict", ""))


@app.command()
def score(
    everything: Annotated[
        bool, typer.Option("--all", help="Score the break-down by site, request and kind too.")
    ] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Coverage of the 90 % intervals and error of the points, by metric and backend."""
    from faultline import score as scoring
    from faultline.console import out, print_json, print_table
    from faultline.home import Home
    from faultline.ledger import Ledger
    from faultline.wording import DASH

    rows = Ledger(Home.find().ledger).rows()
    found = scoring.scores(rows, everything=everything)
    _, unscored = scoring.pairs(rows, everything=everything)
    if as_json:
        print_json(scoring.to_json(found, unscored))
        return ExitCode.HELD
    print_table(
        ["backend", "metric", "runs", "inside 90 %", "coverage [95 %]", "bias", "error"],
        [
            (
                one.backend,
                one.metric,
                str(one.runs),
                f"{one.inside} of {one.count}",
                f"{one.coverage:.0%} [{one.coverage_low:.0%} – {one.coverage_high:.0%}]",
                DASH if one.bias is None else f"{one.bias:+.1%}",
                DASH if one.error is None else f"{one.error:.1%}",
            )
            for one in found
        ],
        numeric=[2, 3, 4, 5, 6],
    )
    console = out()
    if not found:
        console.print("nothing has been predicted and measured yet")
    if any(not one.validation for one in found):
        console.print("simulated: the simulator against itself; this validates nothing")
    for one in unscored:
        console.print(f"not scored: {one.run_id}: {one.reason}", soft_wrap=True, markup=False)
    return ExitCode.HELD


@app.command()
def verify(as_json: JsonOption = False) -> ExitCode:
    """Walk the hash chain; exit 1 when a row or a registered file of a run was tampered with."""
    from faultline.console import out, print_json
    from faultline.home import Home
    from faultline.ledger import Ledger
    from faultline.witnesses import altered_documents, witnesses

    home = Home.find()
    ledger = Ledger(home.ledger)
    result = ledger.verify(witnesses(home))
    if home.ledger.exists():
        altered = tuple(altered_documents(home, ledger.rows()))
        result = replace(result, problems=result.problems + altered)
    if as_json:
        print_json({"intact": result.intact, **vars(result), "problems": [vars(p) for p in result.problems]})
    else:
        console = out()
        if result.intact:
            console.print(f"intact: {result.rows} rows, head {result.head}", soft_wrap=True)
        for problem in result.problems:
            place = f"row {problem.n}: " if problem.n is not None else ""
            console.print(f"[red]broken[/] {place}{problem.what}", soft_wrap=True)
    return ExitCode.HELD if result.intact else ExitCode.DEVIATED

"""`faultline plan`, `predict` and `run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faultline.commands.options import (
    DEFAULT_MAX_REPLICATIONS,
    DEFAULT_PROFILE,
    DEFAULT_REPLICATIONS,
    AllowNodesOption,
    BackendName,
    CalibrationOption,
    ContextOption,
    EngineName,
    EngineOption,
    ExperimentArgument,
    HalfWidthOption,
    ImageOption,
    JsonOption,
    KubeconfigOption,
    MaxReplicationsOption,
    PreciseOption,
    PredictedBackend,
    PredictedBackendOption,
    ProfileOption,
    ReplicationsOption,
    SeedOption,
    SetOption,
    SizeChoice,
    SizeOption,
    UrlOption,
)
from faultline.exits import ExitCode

if TYPE_CHECKING:
    from faultline.inputs import Backend, Inputs
    from faultline.plan import Plan
    from faultline.results import RunResult

PANEL = "Predict and break"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=PANEL)(plan)
    app.command(rich_help_panel=PANEL)(predict)
    app.command(rich_help_panel=PANEL)(run)


def _prepare(
    experiment: str,
    seed: int | None,
    overrides: list[str] | None,
    size: SizeChoice,
    calibration: str | None,
    replications: int,
    profile: str = DEFAULT_PROFILE,
    backend: str | None = None,
) -> Inputs:
    from faultline.home import Home
    from faultline.inputs import prepare

    return prepare(
        experiment,
        home=Home.find(),
        seed=seed,
        overrides=overrides or [],
        size="lab" if size is SizeChoice.LAB else "production",
        calibration=calibration,
        replications=replications,
        profile=profile,
        backend=backend,
    )


def _with_access(
    inputs: Inputs,
    contexts: list[str] | None,
    kubeconfig: str | None,
    urls: list[str] | None,
    image: str,
    allow_nodes: bool,
) -> Inputs:
    from dataclasses import replace

    from chaos.kube.access import Access

    access = Access.of(
        contexts or [], kubeconfig=kubeconfig, front_ends=urls or [], image=image, allow_nodes=allow_nodes
    )
    return replace(inputs, access=access)


def _predictable(inputs: Inputs, backend: str | None) -> None:
    """Refuse faults that take a cluster where the user says that there is none."""
    from faultline.labs import on_kubernetes, refuse_kubernetes_faults

    if backend is not None and not on_kubernetes(backend, inputs):
        refuse_kubernetes_faults(inputs, backend)


def plan(
    experiment: ExperimentArgument,
    backend: PredictedBackendOption = None,
    seed: SeedOption = None,
    overrides: SetOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    profile: ProfileOption = DEFAULT_PROFILE,
    replications: ReplicationsOption = DEFAULT_REPLICATIONS,
    without_prediction: Annotated[
        bool, typer.Option("--no-predict", help="Leave out the predicted outcome (quicker).")
    ] = False,
    allow_nodes: AllowNodesOption = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """What would be broken, how far it reaches, what undoes it, what is predicted. Executes nothing.

    With --backend kubernetes also what the lab would put into the clusters and the rights that it takes.
    """
    from faultline.console import print_json
    from faultline.display import display
    from faultline.plan import make_plan
    from faultline.plan_kubernetes import on_existing_clusters
    from faultline.predicting import predict_document

    inputs = _prepare(experiment, seed, overrides, size, calibration, replications, profile, backend)
    _predictable(inputs, backend)
    planned = make_plan(inputs)
    if backend is PredictedBackend.KUBERNETES:
        planned = on_existing_clusters(planned, inputs, allow_nodes)
    document = None
    if not without_prediction:
        with display() as shown:
            shown.phase("predict", f"{inputs.experiment.title} (seed {inputs.seed})")
            document = predict_document(inputs, shown)
    if as_json:
        print_json({**planned.to_json(), "prediction": document})
        return ExitCode.HELD
    _show_plan(planned)
    if document is not None:
        _show_prediction(document, everything=False)
    return ExitCode.HELD


def _show_plan(planned: Plan) -> None:
    from faultline.console import out

    console = out()
    console.print(f"[bold]{planned.title}[/]", soft_wrap=True)
    for step in planned.steps:
        until = "the end of the load" if step.until is None else f"{step.until:g} s"
        console.print(f"\n{step.at:g} s to {until}: {step.what}  ({step.name})", soft_wrap=True, markup=False)
        for label, lines in (("touches", step.touches), ("reach", step.reach), ("undo", [step.undo])):
            for line in lines:
                console.print(f"  {label:8} {line}", soft_wrap=True, markup=False)
    if not planned.steps:
        console.print("\nnothing is broken")
    console.print(f"\nexpected duration: {planned.expected:.0f} s, of which {planned.load:g} s of load")
    for line in planned.safety:
        console.print(f"safety: {line}", soft_wrap=True, markup=False)
    for site, names in planned.objects.items():
        console.print(f"\n{site} gets {len(names)} objects: {', '.join(names)}", soft_wrap=True, markup=False)
    if planned.rights:
        console.print("\nrights that the lab takes (`kubectl apply -f`, and bind them to its account):")
        console.print(planned.rights, soft_wrap=True, markup=False, highlight=False)


def predict(
    experiment: ExperimentArgument,
    backend: PredictedBackendOption = None,
    seed: SeedOption = None,
    overrides: SetOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    profile: ProfileOption = DEFAULT_PROFILE,
    replications: ReplicationsOption = DEFAULT_REPLICATIONS,
    half_width: HalfWidthOption = None,
    max_replications: MaxReplicationsOption = DEFAULT_MAX_REPLICATIONS,
    precise: PreciseOption = None,
    engine: EngineOption = EngineName.COMPILED,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the prediction to this file, for `compare`."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the break-down by site and request.")
    ] = False,
    as_json: JsonOption = False,
) -> ExitCode:
    """Simulate an experiment: every metric with its 90 % prediction interval. Needs no privileges."""
    from dataclasses import replace

    from faultline.console import print_json
    from faultline.display import display
    from faultline.inputs import wanted_precision
    from faultline.predicting import ensure_output, predict_document, write_prediction

    precision = wanted_precision(half_width, max_replications, precise or [])
    inputs = _prepare(experiment, seed, overrides, size, calibration, replications, profile, backend)
    _predictable(inputs, backend)
    inputs = replace(inputs, precision=precision, engine=engine.value)
    if output is not None:
        ensure_output(output)
    with display() as shown:
        shown.phase("predict", f"{inputs.experiment.title} (seed {inputs.seed})")
        document = predict_document(inputs, shown)
    if output is not None:
        write_prediction(output, document)
    if as_json:
        print_json(document)
    else:
        _show_prediction(document, everything)
    return ExitCode.HELD


def _show_prediction(document: dict[str, Any], everything: bool) -> None:
    from faultline.console import out, print_table
    from faultline.predicting import intervals_of
    from faultline.verdict import is_headline
    from faultline.wording import (
        DASH,
        likelihood,
        precision_lines,
        reading_order,
        show,
        show_range,
        title,
        unit_of,
        where,
        window,
    )

    faulted = bool(document["timeline"])
    rows = []
    for key, found in sorted(intervals_of(document).items(), key=lambda item: reading_order(item[0])):
        if everything or is_headline(key, faulted):
            unit = unit_of(key)
            label = ", ".join(filter(None, [title(key), where(key)]))
            if found.censored == 1:
                rows.append((label, window(key), DASH, f"not in {show(found.high, unit)}"))
                continue
            point = show(found.point, unit, like=found.high)
            rows.append((label, window(key), point, show_range(found.low, found.high, unit)))
    print_table(["metric", "when", "predicted", "90 % interval"], rows, numeric=[2, 3])
    console = out()
    for claim in document["hypotheses"]:
        console.print(f"{claim['claim']}: {likelihood(claim)}", soft_wrap=True, markup=False)
    source = document["calibration"]["source"].partition(":")[0]
    console.print(
        f"seed {document['seed']}, {document['replications']} replications, "
        f"program {document['program_hash'][:12]}, calibration: {source}, "
        f"service profile: {document['profile']['name']}"
        + (", on Kubernetes: a cluster per site" if document.get("platform") else ""),
        soft_wrap=True,
    )
    if document.get("precision"):
        for line in precision_lines(document["precision"], document["replications"]):
            console.print(line, soft_wrap=True, markup=False)


def run(
    experiment: ExperimentArgument,
    backend: Annotated[
        BackendName,
        typer.Option(
            "--backend",
            help="Where it runs: real daemons on namespaces (local), a Kubernetes cluster per site (kind), "
            "on clusters that you have (kubernetes), or the simulator (validates nothing).",
        ),
    ] = BackendName.LOCAL,
    contexts: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    urls: UrlOption = None,
    image: ImageOption = "",
    allow_nodes: AllowNodesOption = False,
    seed: SeedOption = None,
    overrides: SetOption = None,
    size: SizeOption = SizeChoice.LAB,
    calibration: CalibrationOption = None,
    replications: ReplicationsOption = DEFAULT_REPLICATIONS,
    as_json: JsonOption = False,
) -> ExitCode:
    """Predict, register the prediction, break, measure, judge and report.

    Exits 0 when it held, 1 when it deviated, 2 when nothing can be said.
    """
    from faultline.console import print_json
    from faultline.display import display
    from faultline.guard import say
    from faultline.home import Home
    from faultline.labs import ensure_runnable
    from faultline.run import run as run_experiment

    inputs = _prepare(experiment, seed, overrides, size, calibration, replications, backend=backend)
    name: Backend = backend.value
    if backend is BackendName.KUBERNETES:
        inputs = _with_access(inputs, contexts, kubeconfig, urls, image, allow_nodes)
    ensure_runnable(name, inputs)
    say(f"seed {inputs.seed}; the same again with: --seed {inputs.seed}")
    finished = run_experiment(inputs, name, Home.find(), display())
    result, directory = finished.result, finished.directory
    if as_json:
        print_json({"run_id": directory.id, "directory": str(directory.path), **result.to_json()})
    else:
        _show_result(result)
        say(f"report: {directory.path / 'report.html'}")
    return result.verdict.exit_code


def _show_result(result: RunResult) -> None:
    from faultline.console import STYLES, out, print_table
    from faultline.report import headline_metrics
    from faultline.verdict import Verdict
    from faultline.wording import show, show_interval, shown_value, title, where, window

    rows = [
        (
            ", ".join(filter(None, [title(m.key), where(m.key)])),
            window(m.key),
            show_interval(m.low, m.point, m.high, m.unit),
            shown_value(m.key, m.value, m.unit, m.censored, like=m.high),
            str(m.verdict),
        )
        for m in headline_metrics(result.metrics)
    ]
    print_table(["metric", "when", "predicted [90 % interval]", "measured", "verdict"], rows, numeric=[2, 3])
    claims = [
        (h.claim, show(h.value, h.unit), str(h.verdict), "" if h.verdict is Verdict.HELD else h.reason)
        for h in result.hypotheses
    ]
    if claims:
        print_table(["hypothesis", "measured", "verdict", ""], claims, numeric=[1])
    style = STYLES.get(str(result.verdict), "")
    out().print(f"[bold {style}]{result.verdict}[/]: {result.reason}", soft_wrap=True)

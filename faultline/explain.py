"""What drives a prediction, and where the time goes: the question of `faultline explain`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.catalogue import MetricKey
from faultline.display import Display
from faultline.home import Home, RunDirectory
from faultline.inputs import Inputs, fingerprint, prepare
from faultline.wording import DASH, show, show_range, unit_of
from topologies.errors import InputError
from topologies.loader import is_there

if TYPE_CHECKING:
    from sim.explain import Effect, Explanation, Index
    from sim.phases import Breakdown

SCHEMA = "faultline/explanation/1"


@dataclass(frozen=True)
class Question:
    """What is explained.

    Attributes:
        inputs: the prediction's.
        run: id of the run, empty for an experiment.
        predicted: of the run, by metric: the registered interval.
        measured: of the run, by metric.
        notes: what differs from when the run was predicted.
    """

    inputs: Inputs
    run: str = ""
    predicted: Mapping[str, tuple[float, float]] | None = None
    measured: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()


def ask(reference: str, home: Home, **options: Any) -> Question:
    """Find the run or the experiment that ``reference`` names.

    Args:
        reference: `latest`, a run's id or directory, else an experiment.
        home: where runs are.
        options: of `faultline.inputs.prepare`; what a run was predicted with takes their place.

    Raises:
        InputError: it is neither, or the run's experiment cannot be read any more.
    """
    directory = _run(reference, home)
    if directory is None:
        return Question(prepare(reference, home=home, **options))
    record = directory.read_json("record")
    prediction = directory.read_json("prediction")
    try:
        file = record["files"]["experiment"]
        options |= {
            "seed": record["seed"],
            "size": record["size"],
            "overrides": [*record["overrides"], *options.get("overrides", ())],
            "profile": prediction.get("profile", {}).get("name", options.get("profile")),
            "backend": record["backend"],
        }
        path, digest = Path(file["path"]), file["sha256"]
    except (KeyError, TypeError) as error:
        raise InputError(f"the run's record lacks {error}", file=str(directory.path)) from None
    inputs = prepare(
        str(path), home=home, **{key: value for key, value in options.items() if value is not None}
    )
    notes = []
    if fingerprint(inputs.experiment.file)[1] != digest:
        notes.append(f"{path} has changed since the run")
    if inputs.calibration.hash != prediction.get("calibration", {}).get("hash"):
        notes.append("the calibration is another one than the run was predicted with")
    measured = None
    if directory.has("measurement.json"):
        found = directory.read_json("measurement")["metrics"]
        measured = {key: float(value["value"]) for key, value in found.items()}
    predicted = {
        key: (float(found["interval90"][0]), float(found["interval90"][1]))
        for key, found in prediction["metrics"].items()
    }
    return Question(inputs, directory.id, predicted, measured, tuple(notes))


def _run(reference: str, home: Home) -> RunDirectory | None:
    direct = Path(reference)
    is_directory = is_there(direct, anything=True) and direct.is_dir()
    if reference == "latest" or is_directory:
        return home.open_run(reference)
    if reference and any(name.startswith(reference) for name in home.run_ids()):
        return home.open_run(reference)
    return None


def answer(
    question: Question,
    shown: Display,
    *,
    metrics: Sequence[str] = (),
    replications: int = 2,
    sobol: int = 0,
    top: int = 4,
) -> tuple[Explanation, list[Breakdown]]:
    """Simulate what it takes.

    Raises:
        InputError: a metric is none, or nothing can be predicted.
    """
    from sim.explain import explain
    from sim.phases import breakdowns

    inputs = question.inputs
    for key in metrics:
        try:
            MetricKey.parse(key)
        except ValueError as error:
            raise InputError(str(error), file="--metric") from None

    def progress(done: int, total: int) -> None:
        if done == total or done % 10 == 0:
            shown.note(f"{done} of {total} runs")

    try:
        found = explain(
            inputs.scenario,
            inputs.demands,
            inputs.seed,
            metrics=metrics,
            replications=replications,
            sobol=sobol,
            top=top,
            workers=min(2, os.cpu_count() or 1),
            progress=progress,
            note=shown.note,
        )
        times = breakdowns(inputs.scenario, inputs.demands, inputs.seed, replications=replications)
    except ValueError as error:
        raise InputError(str(error), file=str(inputs.experiment.file)) from None
    return found, times


def document(question: Question, found: Explanation, times: Sequence[Breakdown]) -> dict[str, Any]:
    """All of it as plain data: a pure function of the inputs."""
    inputs = question.inputs
    return {
        "schema": SCHEMA,
        "run": question.run,
        "experiment": inputs.experiment.name,
        "topology": inputs.topology.topology,
        "size": inputs.size,
        "overrides": list(inputs.overrides),
        "profile": inputs.profile.profile,
        "calibration": {"hash": inputs.calibration.hash, "source": inputs.calibration.source},
        "notes": list(question.notes),
        "predicted": {key: list(value) for key, value in (question.predicted or {}).items()},
        "measured": dict(question.measured or {}),
        "sensitivity": found.data(),
        "times": [part.data() for part in times],
    }


def effect_rows(key: str, effects: Sequence[Effect], most: int = 10) -> list[tuple[str, ...]]:
    """Lines of the one-at-a-time table of a metric."""
    unit = unit_of(key)
    rows: list[tuple[str, ...]] = []
    for effect in effects[:most]:
        ends = DASH if effect.kind == "chance" else f"{show(effect.low, unit)} – {show(effect.high, unit)}"
        share = DASH if effect.kind == "configured" else show(effect.share, "ratio")
        rows.append(
            (
                effect.parameter,
                {"calibrated": "90 % of its uncertainty", "configured": "-10 to +10 %"}.get(
                    effect.kind, "90 %"
                ),
                ends,
                _signed(effect.difference, unit),
                f"{_signed(effect.interval[0], unit)} – {_signed(effect.interval[1], unit)}",
                share,
            )
        )
    return rows


def index_rows(indices: Sequence[Index]) -> list[tuple[str, ...]]:
    """Lines of the Sobol table of a metric."""
    return [
        (
            index.parameter,
            f"{index.first:.2f} ± {index.first_half:.2f}",
            f"{index.total:.2f} ± {index.total_half:.2f}",
        )
        for index in indices
    ]


def time_rows(part: Breakdown) -> list[tuple[str, ...]]:
    """Lines of the table of phases, those that took any time."""
    return [
        (
            share.phase,
            show(share.seconds, "s", like=part.latency),
            show_range(share.interval[0], share.interval[1], "s"),
            show(share.share, "ratio"),
        )
        for share in part.phases
        if share.seconds > 1e-7
    ]


def comparison_line(question: Question, key: str) -> str:
    """What was predicted and measured of a metric in the run, empty for an experiment."""
    if question.predicted is None or key not in question.predicted:
        return ""
    unit = unit_of(key)
    low, high = question.predicted[key]
    text = f"predicted {show_range(low, high, unit)}"
    measured = (question.measured or {}).get(key)
    if measured is None:
        return text
    side = "below" if measured < low else "above" if measured > high else "inside"
    return f"{text}, measured {show(measured, unit)}: {side}"


def _signed(value: float, unit: str) -> str:
    text = show(abs(value), unit)
    return text if value == 0 else f"{'+' if value > 0 else '-'}{text}"

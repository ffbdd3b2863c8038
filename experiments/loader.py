"""Experiments from files: the library's by name, the user's by path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from chaoslib.configuration import load_configuration
from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid
from chaoslib.hypothesis import ensure_hypothesis_tolerance_is_valid
from pydantic import ValidationError

from experiments.activity import PROBES_MODULE, Activity, probe_misfits
from experiments.checks import check
from experiments.model import EXTENSION, Experiment, ExperimentFile, Extension
from experiments.timeline import compile_timeline
from topologies.document import Document, Position, read
from topologies.errors import InputError, Misfit, Path, Problem, nearest
from topologies.loader import is_there
from topologies.loader import locate as locate_topology
from topologies.validation import misfits_of

__all__ = ["check", "from_document", "library", "load", "locate", "split_overrides"]

ROOM = FilePath(__file__).parent
_FILE_KEYS = {info.alias or name for name, info in ExperimentFile.model_fields.items()}


def library() -> dict[str, FilePath]:
    """The experiments that come with the product: name -> file, in name order."""
    return {path.stem: path for path in sorted(ROOM.glob("*.yaml"))}


def locate(reference: str | FilePath) -> FilePath:
    """Find the file of ``reference``: a path, or the bare name of a library experiment.

    Raises:
        InputError: there is no such file or name; the nearest one is named.
    """
    text = str(reference)
    if not text.strip():
        raise InputError("no experiment is named", expected="a path or a library name", hint=_known())
    path = FilePath(text)
    looks_like_path = path.suffix in {".yaml", ".yml", ".json"} or len(path.parts) > 1
    if is_there(path, anything=looks_like_path):
        return path
    names = library()
    if text in names:
        return _short(names[text])
    near = nearest(path.stem, names)
    hint = f"did you mean the library's {near!r}?" if near else _known()
    if looks_like_path:
        raise InputError("there is no such experiment file", file=text, hint=hint)
    raise InputError(f"there is no experiment {text!r}", expected="a path or a library name", hint=hint)


def load(reference: str | FilePath, *, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        reference: a path, or the bare name of a library experiment.
        overrides: `path=value` texts; a path that starts with a key of the `faultline` extension
            (`workload.users=10`) is looked up there.

    Raises:
        InputError: everything that is wrong with the file alone, with file, line and what to write
            instead. `check` adds what is wrong with it on a topology.
    """
    return from_document(read(locate(reference)), overrides=overrides)


def from_document(document: Document, *, overrides: Sequence[str] = ()) -> Experiment:
    """Build the experiment that ``document`` describes; arguments and errors as for `load`."""
    document = _overridden(document, overrides)
    parts = document.validate(ExperimentFile)
    place = _place(document.data)
    extension = _extension(document, place)
    file = FilePath(document.file)
    misfits = [
        Misfit((*place, "hypotheses", index, *part.path), part.message, part.expected, part.hint, part.on_key)
        for index, hypothesis in enumerate(extension.hypotheses)
        for part in hypothesis.completed(extension.workload).misfits(extension.workload)
    ]
    if extension.workload.warmup >= extension.workload.duration:
        warmup, duration = f"{extension.workload.warmup:g}s", f"{extension.workload.duration:g}s"
        misfits.append(
            Misfit(
                (*place, "workload", "warmup"),
                f"the warm-up of {warmup} leaves nothing of a load of {duration}",
                f"less than {duration}",
            )
        )
    try:
        locate_topology(extension.topology, relative_to=file.parent)
    except InputError as error:
        misfits.append(Misfit((*place, "topology"), error.message, error.expected, error.hint))
    try:
        configuration = load_configuration(parts.configuration)
    except ChaosException as error:
        misfits.append(Misfit(("configuration",), str(error)))
    misfits += [*_probes(parts), *_tolerances(parts)]
    if misfits:
        raise document.error(*misfits)
    experiment = Experiment(file.stem, file, parts, extension, document, place, configuration)
    compile_timeline(experiment)
    _ensure_chaos_toolkit_accepts(experiment)
    return experiment


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part ``overrides`` into those of an experiment and those of its topology."""
    ours: list[str] = []
    topology: list[str] = []
    for text in overrides:
        head = re.split(r"[.\[=]", text.strip(), maxsplit=1)[0].strip()
        known = head in _FILE_KEYS or head in Extension.model_fields
        (ours if known else topology).append(text)
    return ours, topology


def _short(path: FilePath) -> FilePath:
    """Name ``path`` from the working directory when it lies below it."""
    try:
        return path.relative_to(FilePath.cwd())
    except (ValueError, OSError):
        return path


def _probes(parts: ExperimentFile) -> list[Misfit]:
    """What is wrong with the uses of our own probes, which Chaos Toolkit would report without a line."""
    steady = parts.steady_state.probes if parts.steady_state is not None else []
    places: list[tuple[Path, Activity]] = [
        *((("steady-state-hypothesis", "probes", index), probe) for index, probe in enumerate(steady)),
        *((("method", index), activity) for index, activity in enumerate(parts.method)),
        *((("rollbacks", index), activity) for index, activity in enumerate(parts.rollbacks)),
    ]
    return [
        Misfit((*path, "provider", *part.path), part.message, part.expected, part.hint, part.on_key)
        for path, activity in places
        if activity.provider is not None and activity.is_ours(PROBES_MODULE) and activity.type == "probe"
        for part in probe_misfits(activity.provider.func, activity.provider.arguments)
    ]


def _tolerances(parts: ExperimentFile) -> list[Misfit]:
    """Tolerances of the steady state that Chaos Toolkit would refuse without a line."""
    misfits: list[Misfit] = []
    for index, probe in enumerate(parts.steady_state.probes if parts.steady_state is not None else ()):
        path: Path = ("steady-state-hypothesis", "probes", index)
        if probe.ref is None and probe.tolerance is None:
            misfits.append(
                Misfit(path, "the probe has no tolerance", hint="add for example `tolerance: true`")
            )
        elif probe.ref is None:
            try:
                ensure_hypothesis_tolerance_is_valid(probe.tolerance)
            except ChaosException as error:
                example = "true, a number, or {type: range, range: [0.95, 1.0]}"
                misfits.append(Misfit((*path, "tolerance"), str(error), example))
    return misfits


def _known() -> str:
    return f"the library has {', '.join(library())}"


def _place(data: dict[str, Any]) -> Path:
    index = next(i for i, extension in enumerate(data["extensions"]) if extension.get("name") == EXTENSION)
    return ("extensions", index)


def _extension(document: Document, place: Path) -> Extension:
    data = document.data["extensions"][place[1]]
    try:
        return Extension.model_validate(data, context={"units": "required"})
    except ValidationError as error:
        raise document.error(
            *(
                Misfit((*place, *part.path), part.message, part.expected, part.hint, part.on_key)
                for part in misfits_of(error, Extension, data)
            )
        ) from None


def _overridden(document: Document, overrides: Sequence[str]) -> Document:
    for text in overrides:
        head = re.split(r"[.\[=]", text.strip(), maxsplit=1)[0].strip()
        written = text
        extensions = document.data.get("extensions")
        if head in Extension.model_fields and isinstance(extensions, list):
            for index, extension in enumerate(extensions):
                if isinstance(extension, dict) and extension.get("name") == EXTENSION:
                    written = f"extensions[{index}].{text.strip()}"
        origin = f"--set {text}"
        try:
            document = document.with_overrides([written])
        except InputError as error:  # about the text as the user wrote it
            raise InputError(problems=[_from(problem, origin) for problem in error.problems]) from None
        positions = {
            path: replace(position, origin=origin) if position.origin == f"--set {written}" else position
            for path, position in document.positions.items()
        }
        document = replace(document, positions=positions)
    return document


def _from(problem: Problem, origin: str) -> Problem:
    return replace(problem, file=origin)


def _ensure_chaos_toolkit_accepts(experiment: Experiment) -> None:
    """Let Chaos Toolkit check the rest: functions of providers, signatures, tolerances, controls.

    Raises:
        InputError: with the line of the activity that its message names.
    """
    try:
        ensure_experiment_is_valid(experiment.raw)
    except Exception as error:  # it lets KeyError and the like out for values of a wrong type
        named = [
            path
            for path, _ in _positions_of_names(experiment.document)
            if repr(_value(experiment.document.data, path)) in str(error)
        ]
        message = f"Chaos Toolkit does not accept it: {error}"
        raise experiment.document.error(Misfit(named[0][:-1] if named else (), message)) from None


def _positions_of_names(document: Document) -> list[tuple[Path, Position]]:
    return [(path, position) for path, position in document.positions.items() if path[-1:] == ("name",)]


def _value(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data

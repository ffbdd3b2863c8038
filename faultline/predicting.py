"""Asking the simulator, and the document that comes of it: `prediction.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faultline.display import Display
from faultline.home import SCHEMA_VERSION, write_atomically
from faultline.inputs import Inputs
from faultline.verdict import Interval
from topologies.errors import InputError
from topologies.loader import is_there

SCHEMA = f"faultline/prediction/{SCHEMA_VERSION}"


def predict_document(inputs: Inputs, shown: Display) -> dict[str, Any]:
    """Predict ``inputs``.

    Args:
        inputs: what is predicted.
        shown: told how many replications are done.

    Returns:
        The simulator's prediction with what it was made for. A pure function of the inputs: no time, no
        path, no run.

    Raises:
        InputError: nothing can be predicted for this topology.
    """
    from sim.predict import predict

    experiment = inputs.experiment

    def progress(done: int, total: int) -> None:
        if done == total or done % 5 == 0:
            shown.note(f"{done} of {total} replications")

    try:
        prediction = predict(
            inputs.scenario,
            inputs.demands,
            inputs.seed,
            replications=inputs.replications,
            workers=min(2, os.cpu_count() or 1),
            progress=progress,
            precision=inputs.precision,
            engine=inputs.engine,
            note=shown.note,
        )
    except ValueError as error:
        raise InputError(str(error), file=str(experiment.file)) from None
    return {
        **prediction.data(),
        "schema": SCHEMA,
        "experiment": experiment.name,
        "title": experiment.title,
        "description": experiment.description,
        "topology": inputs.topology.topology,
        "size": inputs.size,
        "overrides": list(inputs.overrides),
        "calibration": {"hash": inputs.calibration.hash, "source": inputs.calibration.source},
        "profile": {
            "name": inputs.profile.profile,
            "version": inputs.profile.version,
            "hash": inputs.profile.hash,
            "service": inputs.profile.service,
        },
        "timeline": [fault.model_dump(mode="json", exclude_none=True) for fault in inputs.timeline],
    }


def interval_of(found: Mapping[str, Any]) -> Interval:
    """The registered interval of one metric of a prediction document."""
    low, high = found["interval90"]
    return Interval(float(low), float(found["median"]), float(high), float(found["censored"]))


def intervals_of(document: Mapping[str, Any]) -> dict[str, Interval]:
    """All of them, by metric key."""
    return {key: interval_of(found) for key, found in document["metrics"].items()}


def ensure_output(path: Path) -> None:
    """Refuse a place that cannot be written to before minutes go into what would be written there.

    Raises:
        InputError: it is a directory, or lies in none.
    """
    if is_there(path, anything=True) and path.is_dir():
        raise InputError("this is a directory", file=str(path), expected="a file to write to")
    if not path.parent.is_dir():
        raise InputError(f"there is no directory {str(path.parent)!r}", file=str(path))


def write_prediction(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` where the user asked for it.

    Raises:
        InputError: it cannot be written there.
    """
    data = (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            # A device, a pipe or a link (`/dev/stdout`) is written to: never replaced by a file.
            with path.open("wb") as stream:
                stream.write(data)
        else:
            write_atomically(path, data)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from None

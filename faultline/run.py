"""One run, from the files to the report, with the prediction on record before anything is broken."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.toolkit.session import Session
from experiments.metrics import MetricValue, reduce
from experiments.observation import Observation
from faultline import facts
from faultline.display import Display
from faultline.guard import came_of_interruption
from faultline.home import Home, RunDirectory
from faultline.inputs import Backend, Inputs
from faultline.labs import ensure_runnable, open_lab, validates
from faultline.ledger import Kind, Ledger
from faultline.predicting import intervals_of, predict_document
from faultline.report import write_reports
from faultline.results import RunResult, judge_run
from faultline.signals import patient_with_signals

OBSERVE, DOWN = "observe", "down"


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that came to a verdict."""

    directory: RunDirectory
    result: RunResult


@dataclasses.dataclass
class Record:
    """`record.json`, written again whenever there is more to say, so that it is true at any moment."""

    directory: RunDirectory
    content: dict[str, Any]
    working: str = "validate"
    """The stage to name when something fails: taking the lab down follows a failure, it is none."""

    def enter(self, stage: str) -> None:
        """Note that ``stage`` begins."""
        if stage != DOWN or self.working == OBSERVE:
            self.working = stage
        with suppress(OSError) if stage == DOWN else nullcontext():  # must not hide why the lab comes down
            self.update(stage=stage)

    def update(self, **more: Any) -> None:
        """Add ``more`` and write the file."""
        self.content |= more
        self.directory.write_json("record", self.content)

    def add_row(self, kind: Kind, n: int, digest: str) -> None:
        """Remember a ledger row's hash outside the ledger."""
        self.update(ledger={**self.content["ledger"], kind: {"n": n, "hash": digest}})


def run(inputs: Inputs, backend: Backend, home: Home, shown: Display) -> Finished:
    """Predict, register, break, measure, judge, report.

    Whatever happens, the run directory says how far the run got and why it ended, and the lab is
    down.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: the lab, an injection or its undo failed.
        faultline.ledger.LedgerError: the prediction could not be registered; nothing was broken.
        KeyboardInterrupt: interrupted.
    """
    ensure_runnable(backend, inputs)
    home.create()
    directory = home.new_run(inputs.experiment.name)
    record = Record(directory, _opening(inputs, backend, directory))
    try:
        record.update()
    except OSError:
        directory.path.rmdir()  # a run of which not even the beginning is on disk is none
        raise
    try:
        with patient_with_signals(), shown:
            return _stages(inputs, backend, home, record, shown)
    except BaseException as error:
        # What an interruption made fail on its way out is an interruption, too.
        interrupted = isinstance(error, KeyboardInterrupt | RuntimeError) and came_of_interruption(error)
        kind = KeyboardInterrupt if interrupted else type(error)
        message = "interrupted" if interrupted else str(error) or kind.__name__
        with suppress(OSError):  # a disk that is full by now must not hide why the run ended
            record.update(
                ended=_now(),
                error={"stage": record.working, "type": kind.__name__, "message": message},
            )
        raise


def _stages(inputs: Inputs, backend: Backend, home: Home, record: Record, shown: Display) -> Finished:
    directory, ledger = record.directory, Ledger(home.ledger)

    def stage(name: str, text: str = "", expected: float | None = None) -> None:
        record.enter(name)
        shown.phase(name, text, expected)

    stage("predict", f"{inputs.experiment.title} (seed {inputs.seed})")
    prediction = predict_document(inputs, shown)
    written = directory.write_json("prediction", prediction)
    intervals = intervals_of(prediction)

    stage("register", "into the ledger, before anything is broken")
    row = ledger.append(
        "prediction", directory.id, _registered(inputs, backend, prediction, written.read_bytes())
    )
    record.add_row("prediction", row.n, row.hash)
    shown.note(f"row {row.n}, {row.hash[:12]}")

    session, observation = _measure(inputs, backend, record, shown, stage)
    values = reduce(observation, inputs.topology, inputs.experiment.workload)

    stage("judge")
    measurement = _measurement(observation, values, backend)
    written = directory.write_json("measurement", measurement)
    started = (
        datetime.fromisoformat(record.content["load_started"]) if "load_started" in record.content else None
    )
    row = ledger.append(
        "measurement", directory.id, _scorable(measurement, session, started, written.read_bytes())
    )
    record.add_row("measurement", row.n, row.hash)
    result = judge_run(
        intervals,
        values,
        inputs.experiment.hypotheses,
        measurement["disturbances"],
        faulted=bool(observation.windows),
    )
    directory.write_json("verdict", result.to_json())
    row = ledger.append("verdict", directory.id, _told(result))
    record.add_row("verdict", row.n, row.hash)

    stage("report")
    record.update(ended=_now())
    write_reports(directory)
    record.update(stage="done")
    return Finished(directory, result)


def _measure(
    inputs: Inputs, backend: Backend, record: Record, shown: Display, stage: Any
) -> tuple[Session, Observation]:
    """Run the experiment on the lab; on return the lab is down and the raw results are on disk."""
    workload = inputs.experiment.workload
    phases = {
        "up": ("lab", 60.0 if validates(backend) else None),
        "load": ("load", workload.duration if validates(backend) else None),
        "observe": (OBSERVE, None),
        "down": (DOWN, None),
    }

    def progress(step: str, text: str) -> None:
        if step == "load":
            record.update(load_started=_now())
        if step in phases:
            name, expected = phases[step]
            stage(name, text, expected)
        else:
            shown.note(text)

    lab = open_lab(inputs, backend, shown.note)
    session = Session(lab, inputs.topology, workload, seed=inputs.seed, progress=progress)
    try:
        with _chaos_toolkit_log(record.directory):
            _, observation = session.run(inputs.experiment)
    except BaseException:
        with suppress(OSError):  # a full disk must not hide why the run ended
            _write_journal(record.directory, session.journal)
            if session.observed is not None:  # what came after the measurement has failed
                _write_observation(record.directory, session.observed)
        raise
    _write_journal(record.directory, session.journal)
    # The lab is down by now: what it was made of is in the observation.
    record.update(lab=observation.extra.get("facts", {}))
    _write_observation(record.directory, observation)
    return session, observation


@contextmanager
def _chaos_toolkit_log(directory: RunDirectory) -> Iterator[None]:
    """Keep what Chaos Toolkit says in a file: on the terminal it would only repeat the phases."""
    logger = logging.getLogger("chaostoolkit")
    handler = logging.FileHandler(directory.path / "chaostoolkit.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()


def _write_journal(directory: RunDirectory, journal: Mapping[str, Any] | None) -> None:
    if journal is None:
        return
    text = json.dumps(journal, indent=1, default=str) + "\n"
    directory.write_text("journal.json", text)


def _write_observation(directory: RunDirectory, observation: Observation) -> None:
    lines = [json.dumps(dataclasses.asdict(event)) for event in observation.events]
    directory.write_text("events.jsonl", "".join(f"{line}\n" for line in lines))
    temporary = directory.path / ".samples.parquet"
    observation.table.write(temporary)
    temporary.replace(directory.path / "samples.parquet")


def _opening(inputs: Inputs, backend: Backend, directory: RunDirectory) -> dict[str, Any]:
    return {
        "run_id": directory.id,
        "stage": "validate",
        "title": inputs.experiment.title,
        "description": inputs.experiment.description,
        "command": facts.command(),
        "started": _now(),
        "backend": backend,
        "size": inputs.size,
        "seed": inputs.seed,
        "overrides": list(inputs.overrides),
        "topology": inputs.topology.model_dump(mode="json"),
        "workload": inputs.experiment.workload.model_dump(mode="json"),
        "cut": [list(pair) for pair in inputs.cut],
        "files": {name: {"path": path, "sha256": digest} for name, (path, digest) in inputs.files.items()},
        "machine": facts.machine(),
        "versions": facts.versions(),
        "ledger": {},
    }


def _registered(
    inputs: Inputs, backend: Backend, prediction: Mapping[str, Any], document: bytes
) -> dict[str, Any]:
    """The ledger's prediction row: enough to score with and to prove the document with."""
    return {
        "experiment": inputs.experiment.name,
        "topology": inputs.topology.topology,
        "size": inputs.size,
        "backend": backend,
        "seed": inputs.seed,
        "level": prediction["level"],
        "program_hash": prediction["program_hash"],
        "calibration_hash": inputs.calibration.hash,
        "document_sha256": hashlib.sha256(document).hexdigest(),
        "hypotheses": [str(hypothesis) for hypothesis in inputs.experiment.hypotheses],
        "intervals": {
            key: list(dataclasses.astuple(found)) for key, found in intervals_of(prediction).items()
        },
    }


def _measurement(
    observation: Observation, values: Mapping[str, MetricValue], backend: Backend
) -> dict[str, Any]:
    extra = observation.extra
    return {
        "backend": backend,
        "validation": validates(backend),
        "metrics": {key: dataclasses.asdict(value) for key, value in values.items()},
        "audit": dataclasses.asdict(observation.audit),
        "consistency": dict(extra.get("consistency", {})),
        "duration": observation.duration,
        "warmup": observation.warmup,
        "windows": [list(window) for window in observation.windows],
        "health": extra.get("health", {}),
        "disturbances": list(extra.get("disturbances", [])),
    }


def _scorable(
    measurement: Mapping[str, Any], session: Session, started: datetime | None, document: bytes
) -> dict[str, Any]:
    first = min((applied.at for applied in session.applied), default=None)
    return {
        "backend": measurement["backend"],
        "validation": measurement["validation"],
        "disturbances": measurement["disturbances"],
        "load_started": started.isoformat(timespec="microseconds") if started else None,
        "first_injection": (
            # A simulated lab's seconds are virtual, but they too come after the load's start.
            (started + timedelta(seconds=first)).isoformat(timespec="microseconds")
            if started is not None and first is not None
            else None
        ),
        "document_sha256": hashlib.sha256(document).hexdigest(),
        "metrics": measurement["metrics"],
    }


def _told(result: RunResult) -> dict[str, Any]:
    return {
        "verdict": str(result.verdict),
        "reason": result.reason,
        "prediction": str(result.prediction.verdict),
        "hypotheses": {claim.claim: str(claim.verdict) for claim in result.hypotheses},
        "metrics": {metric.key: str(metric.verdict) for metric in result.metrics},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")

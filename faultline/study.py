"""What-if studies in a notebook: a topology of the library, changed with `with_`, and a question.

Example:
    >>> from faultline import study
    >>> slow = study.topology("iris-2site-galera").with_("links[*].rtt=100ms")
    >>> study.workload(users=5).users
    5
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.faults import ScheduledFault
from experiments.hypothesis import Hypothesis
from experiments.loader import load as load_experiment
from experiments.timeline import compile_timeline
from experiments.workload import Workload
from faultline.home import Home
from faultline.inputs import find_calibration
from faultline.ledger import Ledger
from sim.predict import Prediction, Scenario
from sim.predict import predict as run_prediction
from sim.program import Size
from sim.progress import Bar
from sim.statistics import Precision
from sim.sweep import Point, grid
from sim.sweep import sweep as run_sweep
from sim.sweep_result import SweepResult
from sim.whatif import Comparison
from sim.whatif import compare as run_comparison
from topologies.loader import load as load_topology
from topologies.model import Topology

if TYPE_CHECKING:
    from sim.calibration import Calibration

__all__ = [
    "Question",
    "compare",
    "experiment",
    "grid",
    "ledger",
    "predict",
    "sweep",
    "topology",
    "workload",
]

WORKERS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Question:
    """What is asked of a topology: a load, faults, claims.

    Attributes:
        workload: what users do.
        timeline: what breaks.
        hypotheses: what is claimed.
    """

    workload: Workload
    timeline: tuple[ScheduledFault, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()


def topology(name: str | Path, *changes: str, size: Size = "production") -> Topology:
    """A topology: a library name or a file, changed by ``path=value`` texts; `with_` changes it further."""
    return load_topology(name, size=size, overrides=changes)


def workload(**settings: Any) -> Question:
    """Users and probes without any fault: settings as in an experiment's workload (`users`, `think`, ...)."""
    return Question(Workload.model_validate(settings))


def experiment(name: str, *changes: str) -> Question:
    """What an experiment asks: its load, its faults, its claims; changed as with `--set`.

    Args:
        name: a library name or a file.
        changes: ``path=value``, as in ``workload.users=10``.
    """
    found = load_experiment(name, overrides=changes)
    return Question(found.workload, tuple(compile_timeline(found)), tuple(found.hypotheses))


def predict(
    subject: Topology,
    question: Question,
    *,
    seed: int = 0,
    replications: int = 20,
    precision: Precision | None = None,
    size: Size = "production",
) -> Prediction:
    """Predict a run of ``question`` on ``subject``; a bar shows how far it is."""
    return run_prediction(
        _scenario(subject, question, size),
        _calibration(),
        seed,
        replications=replications,
        workers=WORKERS,
        progress=Bar("predict"),
        precision=precision,
    )


def compare(
    first: Topology,
    second: Topology,
    question: Question,
    *,
    names: tuple[str, str] = ("first", "second"),
    seed: int = 0,
    replications: int = 20,
    size: Size = "production",
) -> Comparison:
    """What changes from ``first`` to ``second``, under common random numbers."""
    return run_comparison(
        _scenario(first, question, size),
        _scenario(second, question, size),
        _calibration(),
        seed,
        names=names,
        replications=replications,
        workers=WORKERS,
        progress=Bar("compare"),
    )


def sweep(
    points: Iterable[tuple[Mapping[str, Any], Topology]],
    question: Question | Sequence[Question],
    *,
    seed: int = 0,
    replications: int = 10,
    size: Size = "production",
    cluster: Any = None,
    journal: str | Path | None = None,
) -> SweepResult:
    """Ask ``question`` of many topologies.

    Args:
        points: settings (columns of the table) and topology of each.
        question: one for all, or one per point.
        seed: of all random numbers.
        replications: of each point.
        size: of all topologies.
        cluster: address of a Dask scheduler, or a client.
        journal: file that keeps every result: asked again, only what is missing is simulated.
    """
    listed = list(points)
    questions = [question] * len(listed) if isinstance(question, Question) else list(question)
    return run_sweep(
        [
            Point(settings, _scenario(subject, asked, size))
            for (settings, subject), asked in zip(listed, questions, strict=True)
        ],
        _calibration(),
        seed,
        replications=replications,
        workers=WORKERS,
        cluster=cluster,
        journal=journal,
        progress=Bar("sweep"),
    )


def ledger() -> Ledger:
    """The ledger of this home: what was predicted, and how often it held."""
    return Ledger(Home.find().ledger)


def _scenario(subject: Topology, question: Question, size: Size) -> Scenario:
    return Scenario(subject, question.workload, question.timeline, question.hypotheses, size)


def _calibration() -> Calibration:
    return find_calibration(Home.find())[0]

"""Check any file a user wrote, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.loader import check, from_document
from experiments.loader import library as experiments
from experiments.loader import locate as locate_experiment
from experiments.timeline import compile_timeline
from faultline.inputs import partition_overrides
from topologies.document import Document, read
from topologies.errors import InputError, nearest
from topologies.loader import from_document as topology_from_document
from topologies.loader import is_there
from topologies.loader import library as topologies
from topologies.loader import load as load_topology
from topologies.loader import locate as locate_topology
from topologies.weakness import weaknesses


@dataclass(frozen=True)
class Checked:
    """A file without mistakes.

    Attributes:
        kind: `experiment` or `topology`.
        about: what is in it, in a few words.
        remarks: what is allowed but worth knowing.
    """

    file: str
    kind: str
    about: str
    remarks: list[str] = field(default_factory=list)


def check_file(reference: str, overrides: Sequence[str] = ()) -> Checked:
    """Check a topology or an experiment (on its topology, in both sizes).

    Raises:
        InputError: everything that is wrong.
    """
    document = read(_locate(reference))
    if "method" in document.data or "extensions" in document.data:
        return _experiment(document, overrides)
    return _topology(document, overrides)


def _locate(reference: str) -> Path:
    if is_there(Path(reference), anything=True):
        return Path(reference)
    if reference in experiments():
        return locate_experiment(reference)
    if reference in topologies():
        return locate_topology(reference)
    near = nearest(Path(reference).stem, [*experiments(), *topologies()])
    hint = f"did you mean the library's {near!r}?" if near else ""
    raise InputError(
        "there is no such file",
        file=reference,
        expected="a file, or the name of a library experiment or topology",
        hint=hint,
    )


def _experiment(document: Document, overrides: Sequence[str]) -> Checked:
    ours, theirs = partition_overrides(overrides)
    experiment = from_document(document, overrides=ours)
    for size in ("lab", "production"):
        topology = load_topology(
            experiment.topology,
            size="lab" if size == "lab" else "production",
            overrides=theirs,
            relative_to=experiment.file.parent,
        )
        check(experiment, topology)
    faults = compile_timeline(experiment)
    about = f"with {_count(len(faults), 'fault')} and {_count(len(experiment.hypotheses), 'hypothesis')}"
    remarks = [] if experiment.hypotheses else ["it claims nothing: add `hypotheses` to its extension"]
    return Checked(document.file, "experiment", f"{about} on {experiment.topology}", remarks)


def _topology(document: Document, overrides: Sequence[str]) -> Checked:
    _, theirs = partition_overrides(overrides)
    topology = topology_from_document(document, overrides=theirs)
    topology_from_document(document, size="lab", overrides=theirs)
    about = f"with {_count(len(topology.sites), 'site')} and {_count(len(topology.services), 'service')}"
    return Checked(document.file, "topology", about, [str(weakness) for weakness in weaknesses(topology)])


def _count(number: int, word: str) -> str:
    if number == 1:
        return f"1 {word}"
    return f"{number} {word[:-2] + 'es' if word.endswith('is') else word + 's'}"

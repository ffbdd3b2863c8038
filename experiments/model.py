"""An experiment: a Chaos Toolkit file with what this project adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Literal

from pydantic import Field, field_validator

from experiments.activity import CONTROL_MODULE, Activity, SteadyState, _Part
from experiments.hypothesis import Hypothesis
from experiments.workload import Workload
from topologies.document import Document
from topologies.errors import Misfit, MisfitError, Path
from topologies.model import Model

EXTENSION = "faultline"


class Extension(Model):
    """The entry named `faultline` of an experiment's `extensions`.

    Attributes:
        topology: library name, or path (relative to the experiment's file) of the topology.
        workload: what users do meanwhile.
        hypotheses: claims about the run.
        seed: of the random numbers; the command line's wins.
    """

    name: Literal["faultline"] = "faultline"
    topology: str = Field(min_length=1)
    workload: Workload = Workload()
    hypotheses: tuple[Hypothesis, ...] = ()
    seed: int | None = Field(None, ge=0, lt=2**63)


class ExperimentFile(_Part):
    """The shape of the whole file (Chaos Toolkit's experiment format; keys as documented there)."""

    version: str | None = None
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    tags: list[str] = Field(default_factory=list)
    configuration: dict[str, Any] = Field(default_factory=dict)
    secrets: dict[str, Any] = Field(default_factory=dict)
    contributions: dict[str, Any] = Field(default_factory=dict)
    runtime: dict[str, Any] = Field(default_factory=dict)
    controls: list[dict[str, Any]] = Field(default_factory=list)
    steady_state: SteadyState | None = Field(None, alias="steady-state-hypothesis")
    method: list[Activity]
    rollbacks: list[Activity] = Field(default_factory=list)
    extensions: list[dict[str, Any]]

    @field_validator("extensions")
    @classmethod
    def _has_ours_once(cls, extensions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ours = [index for index, extension in enumerate(extensions) if extension.get("name") == EXTENSION]
        if not ours:
            hint = "add `- {name: faultline, topology: iris-3site-galera}`"
            raise MisfitError([Misfit((), "no extension is named 'faultline'", hint=hint)])
        if len(ours) > 1:
            raise MisfitError(
                [Misfit((ours[1],), "a second extension is named 'faultline'", hint="merge the two")]
            )
        return extensions

    @field_validator("controls")
    @classmethod
    def _is_driven(cls, controls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        providers = [control.get("provider") for control in controls]
        if not any(isinstance(p, dict) and p.get("module") == CONTROL_MODULE for p in providers):
            line = f"{{name: faultline, provider: {{type: python, module: {CONTROL_MODULE}}}}}"
            raise MisfitError(
                [
                    Misfit(
                        (),
                        f"{CONTROL_MODULE} is missing: nothing would bring the lab up",
                        hint=f"add `- {line}`",
                    )
                ]
            )
        return controls


@dataclass(frozen=True)
class Experiment:
    """A loaded experiment.

    Attributes:
        name: the file's name without suffix.
        file: the file as the user named it.
        parts: the typed Chaos Toolkit part.
        extension: what this project adds.
        document: the text as data with positions, for errors about it.
        place: path of the extension in the document.
    """

    name: str
    file: FilePath
    parts: ExperimentFile
    extension: Extension
    document: Document
    place: Path = ("extensions", 0)
    _resolved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> dict[str, Any]:
        """What Chaos Toolkit executes: a fresh copy, because it writes into what it is given."""
        return self.document.copy().data

    @property
    def title(self) -> str:
        """One line for people."""
        return self.parts.title

    @property
    def description(self) -> str:
        """What the experiment is about."""
        return self.parts.description

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by."""
        return tuple(self.parts.tags)

    @property
    def steady_state(self) -> SteadyState | None:
        """What must hold before and after."""
        return self.parts.steady_state

    @property
    def method(self) -> tuple[Activity, ...]:
        """What is done, in order."""
        return tuple(self.parts.method)

    @property
    def rollbacks(self) -> tuple[Activity, ...]:
        """What is put back at the end."""
        return tuple(self.parts.rollbacks)

    @property
    def controls(self) -> tuple[dict[str, Any], ...]:
        """Chaos Toolkit controls."""
        return tuple(self.parts.controls)

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Chaos Toolkit configuration, resolved (environment variables read)."""
        return self._resolved

    @property
    def topology(self) -> str:
        """Reference of the topology: library name or path."""
        return self.extension.topology

    @property
    def workload(self) -> Workload:
        """What users do."""
        return self.extension.workload

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Claims, with the workload's flow filled in where it was left out."""
        return tuple(hypothesis.completed(self.workload) for hypothesis in self.extension.hypotheses)

    @property
    def seed(self) -> int | None:
        """Seed, if the file gives one."""
        return self.extension.seed

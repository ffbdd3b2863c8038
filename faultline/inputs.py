"""What a command works on: the experiment on its topology, the seed and the calibration, all checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.catalogue import MetricKey
from experiments.faults import Fault, Partition, ScheduledFault
from experiments.kubernetes_faults import KubernetesFault
from experiments.loader import check, split_overrides
from experiments.loader import load as load_experiment
from experiments.model import Experiment
from experiments.targets import grudge
from experiments.timeline import compile_timeline, scheduled_with_places, windows
from faultline.home import Home
from sim.calibration import Calibration
from sim.calibration import load as load_calibration
from sim.engine.choice import Engine
from sim.profile import DEFAULT as DEFAULT_PROFILE
from sim.profile import Profile
from sim.profile import load as load_profile
from sim.program import Platform
from sim.steps import refusal
from topologies.errors import InputError, Misfit
from topologies.loader import SizeName, is_there, locate
from topologies.loader import load as load_topology
from topologies.model import IndigoIam, Topology
from topologies.quantities import RATIO_UNITS, parse

if TYPE_CHECKING:
    from sim.predict import Scenario
    from sim.statistics import Precision

if TYPE_CHECKING:
    from chaos.kube.access import Access

Backend = Literal["local", "kind", "kubernetes", "simulated"]

DEFAULT_SEED = 0
"""Used when neither the command line nor the experiment gives one, as the Chaos Toolkit extension does."""


@dataclass(frozen=True)
class Inputs:
    """A checked request.

    Attributes:
        size: of the topology.
        overrides: `--set` texts, as given.
        calibration_source: file of the calibration, or `shipped`.
        files: what was read, name -> (path, SHA-256).
        replications: simulated runs behind the intervals.
        precision: go on with replications until it is reached, if any is wanted.
        profile: the service whose requests are simulated.
        platform: what carries the processes, if not bare nodes.
        access: to existing clusters, for the backend `kubernetes`.
        engine: that the replications run on.
    """

    experiment: Experiment
    topology: Topology
    timeline: tuple[ScheduledFault, ...]
    seed: int
    size: SizeName
    overrides: tuple[str, ...]
    calibration: Calibration
    calibration_source: str
    files: dict[str, tuple[str, str]]
    replications: int = 20
    precision: Precision | None = None
    profile: Profile = field(default_factory=load_profile)
    platform: Platform | None = None
    access: Access | None = None
    engine: Engine = "compiled"

    @property
    def demands(self) -> Calibration:
        """The calibration as the service profile has it: what a prediction is made with."""
        return self.profile.calibrated(self.calibration, self.topology)

    @property
    def scenario(self) -> Scenario:
        """What the simulator is asked."""
        from sim.predict import Scenario

        experiment = self.experiment
        return Scenario(
            self.topology,
            experiment.workload,
            self.timeline,
            experiment.hypotheses,
            self.size,
            self.platform,
        )

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """Fault windows in seconds since the load started."""
        return windows(self.timeline, self.experiment.workload.duration)

    @property
    def cut(self) -> list[tuple[str, str]]:
        """Pairs of sites that a fault parts, in one direction at least."""
        pairs: set[tuple[str, str]] = set()
        for scheduled in self.timeline:
            if isinstance(scheduled.fault, Partition):
                for who, unheard in grudge(scheduled.fault, self.topology).items():
                    pairs |= {(min(who, other), max(who, other)) for other in unheard}
        return sorted(pairs)


def prepare(
    reference: str,
    *,
    home: Home,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    size: SizeName = "lab",
    calibration: str | None = None,
    replications: int = 20,
    profile: str = DEFAULT_PROFILE,
    backend: str | None = None,
) -> Inputs:
    """Read and check everything a prediction needs.

    Args:
        reference: experiment file or library name.
        home: where the machine's calibration is.
        seed: wins over the experiment's own.
        overrides: `path=value`; a path that starts with `experiment.`, or with a key of the experiment
            file or of its `faultline` extension (`workload.users`), changes the experiment, any other the
            topology (`links[0].rtt`).
        size: of the topology.
        calibration: file to use instead of the home's, or `shipped`.
        replications: simulated runs behind the intervals, two at least.
        profile: file or library name of the service profile.
        backend: where it will run; see `platform_of`.

    Raises:
        InputError: with file, line and what to write instead.
    """
    ours, topology_overrides = partition_overrides(overrides)
    experiment = load_experiment(reference, overrides=ours)
    place = experiment.file.parent
    topology = load_topology(experiment.topology, size=size, overrides=topology_overrides, relative_to=place)
    check(experiment, topology)
    if seed is None:
        seed = experiment.seed if experiment.seed is not None else DEFAULT_SEED
    elif not 0 <= seed < 2**63:
        raise InputError(
            f"the seed {seed} is out of range", file="--seed", expected="a number from 0 to 2^63 - 1"
        )
    found, source = find_calibration(home, calibration)
    files = {
        "experiment": fingerprint(experiment.file),
        "topology": fingerprint(locate(experiment.topology, relative_to=place)),
    }
    timeline = compile_timeline(experiment)
    inputs = Inputs(
        experiment,
        topology,
        timeline,
        seed,
        size,
        tuple(overrides),
        found,
        source,
        files,
        replications,
        profile=load_profile(profile),
        platform=platform_of(backend, timeline),
    )
    identity = next(iter(topology.services_of(IndigoIam).values()), None)
    refused = refusal(experiment.workload, inputs.demands, identity) if identity is not None else ""
    if refused:
        raise InputError(refused, file=str(experiment.file), path="workload.flow")
    return inputs


def refuse_faults(experiment: Experiment, why: Callable[[Fault], str | None], hint: str = "") -> None:
    """Refuse faults that ``why`` gives a reason against.

    Raises:
        InputError: every such fault, with its line.
    """
    misfits = [
        Misfit((*path, "provider", "func"), reason, hint=hint)
        for path, scheduled in scheduled_with_places(experiment)
        if (reason := why(scheduled.fault)) is not None
    ]
    if misfits:
        raise experiment.document.error(*misfits)


def platform_of(backend: str | None, timeline: Sequence[ScheduledFault]) -> Platform | None:
    """What carries the processes on ``backend``.

    Clusters where the backend has them; and where it may have them (the simulator, or no backend named)
    if a fault takes them.
    """
    if backend in ("kind", "kubernetes"):
        return "kubernetes"
    takes = any(isinstance(scheduled.fault, KubernetesFault) for scheduled in timeline)
    return "kubernetes" if takes and backend in (None, "simulated") else None


def partition_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part `--set` texts into those of the experiment and those of the topology.

    The prefixes `experiment.` and `topology.` decide where a name could mean either.
    """
    ours: list[str] = []
    topology: list[str] = []
    for text in overrides:
        bare = text.strip()
        if bare.startswith("experiment."):
            ours.append(bare.removeprefix("experiment."))
        elif bare.startswith("topology."):
            topology.append(bare.removeprefix("topology."))
        else:
            mine, theirs = split_overrides([text])
            ours += mine
            topology += theirs
    return ours, topology


def find_calibration(home: Home, asked: str | None = None) -> tuple[Calibration, str]:
    """The calibration to predict with, and where it is from.

    The one asked for, else this machine's own (`faultline calibrate`), else the shipped one.

    Raises:
        InputError: it cannot be read.
    """
    if asked is not None and asked != "shipped":
        return load_calibration(asked), asked
    if asked is None and is_there(home.calibration, anything=True):
        return load_calibration(home.calibration), str(home.calibration)
    return Calibration.default(), "shipped"


def fingerprint(path: Path) -> tuple[str, str]:
    """A file's path and SHA-256."""
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def wanted_precision(half_width: str | None, cap: int, metrics: Sequence[str]) -> Precision | None:
    """The precision that `--half-width`, `--max-replications` and `--precise` ask for, if any.

    Raises:
        InputError: it is not a share between 0 and 100 %, or something named is no metric.
    """
    from sim.statistics import Precision

    if half_width is None:
        if metrics:
            raise InputError(
                "says which metrics --half-width is about", file="--precise", hint="add --half-width 5%"
            )
        return None
    try:
        share = parse(half_width, RATIO_UNITS, "5%")
    except ValueError as error:
        raise InputError(str(error), file="--half-width", expected="a share as in 5%") from None
    for key in metrics:
        try:
            MetricKey.parse(key)
        except ValueError as error:
            raise InputError(str(error), file=f"--precise {key}") from None
    try:
        return Precision(share, cap, tuple(metrics))
    except ValueError as error:
        raise InputError(str(error), file="--half-width", expected="a share as in 5%") from None

"""Options and arguments that several commands share, and how shells complete them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class BackendName(StrEnum):
    """Where an experiment runs."""

    LOCAL = "local"
    KIND = "kind"
    KUBERNETES = "kubernetes"
    SIMULATED = "simulated"


class LabName(StrEnum):
    """Which lab of real daemons."""

    LOCAL = "local"
    KIND = "kind"


class PredictedBackend(StrEnum):
    """What a prediction is for."""

    LOCAL = "local"
    SIMULATED = "simulated"
    KIND = "kind"
    KUBERNETES = "kubernetes"


class EngineName(StrEnum):
    """Which simulation engine."""

    COMPILED = "compiled"
    REFERENCE = "reference"


class SizeChoice(StrEnum):
    """Which size of a topology."""

    LAB = "lab"
    PRODUCTION = "production"


ROOMS = Path(__file__).parents[2]


def _library(room: str, incomplete: str) -> list[str]:
    # Listed from the directory: importing the loader would make every TAB slow.
    names = sorted(path.stem for path in (ROOMS / room).glob("*.yaml"))
    return [name for name in names if name.startswith(incomplete)]


def complete_experiment(incomplete: str) -> list[str]:
    """Library experiments that begin like this."""
    return _library("experiments", incomplete)


def complete_topology(incomplete: str) -> list[str]:
    """Library topologies that begin like this."""
    return _library("topologies", incomplete)


def complete_either(incomplete: str) -> list[str]:
    """Library experiments and topologies that begin like this."""
    return complete_experiment(incomplete) + complete_topology(incomplete)


def complete_run(incomplete: str) -> list[str]:
    """Runs that begin like this, newest first."""
    from faultline.home import Home

    return [name for name in ["latest", *reversed(Home.find().run_ids())] if name.startswith(incomplete)]


PredictedBackendOption = Annotated[
    PredictedBackend | None,
    typer.Option(
        "--backend",
        help="What is predicted: processes on nodes (local), or pods in clusters (kind, kubernetes). By "
        "default clusters if the experiment has a fault that only they can have.",
    ),
]
EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="Simulation engine: compiled, or the slower reference in plain Python. Same numbers from both.",
    ),
]
ContextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="SITE=CONTEXT",
        help="With --backend kubernetes: the kubeconfig's context of a site's cluster. Once per site.",
    ),
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        help="With --backend kubernetes. Default: $KUBECONFIG, ~/.kube/config.",
    ),
]
UrlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        metavar="SITE=URL",
        help="With --backend kubernetes: where users reach a site's front end from this machine. Default: "
        "its first node, port 30080.",
    ),
]
ImageOption = Annotated[
    str, typer.Option("--image", metavar="IMAGE", help="With --backend kubernetes: the lab's image there.")
]
AllowNodesOption = Annotated[
    bool, typer.Option("--allow-nodes", help="With --backend kubernetes: faults may touch nodes.")
]
ExperimentArgument = Annotated[
    str,
    typer.Argument(
        help="Experiment file, or the name of one of the library.",
        metavar="EXPERIMENT",
        autocompletion=complete_experiment,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write the result as JSON to standard output.")]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of all random numbers; the experiment's own, else 0, when not given."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one value: of the experiment (workload.users=10, experiment.title=...) or else of the "
        "topology (links[0].rtt=200ms). Can be repeated.",
    ),
]
SizeOption = Annotated[
    SizeChoice, typer.Option("--size", help="Size of the topology: as written, or with its lab overlay.")
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help="Calibration to predict with: a file, or `shipped`. Default: this machine's own, if any.",
    ),
]


def complete_profile(incomplete: str) -> list[str]:
    """Library profiles that begin like this."""
    return _library("sim/profiles", incomplete)


ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Service whose requests are simulated: `lab-iam` (the lab's, with the calibration's demands), "
        "`indigo-iam` (the real INDIGO IAM, with its own), or a file.",
        autocompletion=complete_profile,
    ),
]
DEFAULT_PROFILE = "lab-iam"
ReplicationsOption = Annotated[
    int,
    typer.Option(
        "--replications",
        min=2,
        max=10_000,
        help="Simulated runs behind the intervals; fewer are quicker and give wider, rougher ones.",
    ),
]
DEFAULT_REPLICATIONS = 20
HalfWidthOption = Annotated[
    str | None,
    typer.Option(
        "--half-width",
        metavar="SHARE",
        help="Add replications until the 95 % confidence interval of every claimed metric's mean is this "
        "narrow, as in 5% (of a ratio: percentage points).",
    ),
]
MaxReplicationsOption = Annotated[
    int,
    typer.Option("--max-replications", min=2, max=100_000, help="Where --half-width gives up, and says so."),
]
PreciseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precise",
        metavar="METRIC",
        help="Metric that --half-width is about instead of the claimed ones, as in "
        "'latency_p95{flow=workflow}@whole'. Can be repeated.",
    ),
]
DEFAULT_MAX_REPLICATIONS = 200
RunArgument = Annotated[
    str,
    typer.Argument(
        help="A run: its id, the beginning of it, its directory, or `latest`.",
        metavar="RUN",
        autocompletion=complete_run,
    ),
]

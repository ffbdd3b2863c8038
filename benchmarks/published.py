"""Published measurements as data: loaded, predicted, and set side by side with signed errors.

`python -m benchmarks.published` predicts every quick row of `tests/corpus/published/*.yaml` and prints the
table; `--all` predicts the slow rows too and writes docs/validation.md. A row is predicted by a closed
form, by a simulation of the set-up it describes, or says why it cannot be predicted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmarks.published_forms import FORMULAS
from experiments.catalogue import MetricKey
from experiments.faults import Fault, ScheduledFault
from experiments.metrics import reduce
from experiments.workload import Workload
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.profile import load as load_profile
from sim.program import compile_program
from sim.replication import seed_of
from sim.statistics import confidence_interval
from topologies.base import Model
from topologies.document import read
from topologies.errors import InputError, Misfit, MisfitError, suggestion
from topologies.model import Topology
from topologies.quantities import Duration

ROOT = Path(__file__).parents[1]
ROOM = ROOT / "tests" / "corpus" / "published"
PROFILES = ROOT / "tests" / "corpus" / "profiles"
PAGE = ROOT / "docs" / "validation.md"
BEGIN, END = "<!-- published: begin -->", "<!-- published: end -->"
SEED = 20260101


class ClosedForm(Model):
    """A formula of :mod:`benchmarks.published_forms`."""

    by: Literal["closed-form"]
    formula: str
    arguments: dict[str, float | str] = Field(default_factory=dict)
    assumes: str = ""

    @model_validator(mode="after")
    def _known(self) -> ClosedForm:
        if self.formula not in FORMULAS:
            hint = suggestion(self.formula, FORMULAS)
            raise MisfitError([Misfit(("formula",), f"there is no formula {self.formula!r}", hint=hint)])
        return self


class At(Model):
    """A fault and when."""

    at: Duration
    duration: Duration | None = None
    fault: Fault


class Simulated(Model):
    """A simulation of the set-up.

    Attributes:
        profile: library name, or a file of tests/corpus/profiles; the lab's service when not given.
        metric: key of the predicted metric.
        scale: from the metric's unit to the row's.
        replications: runs that are averaged.
        speed: a slow row is left out of the quick table.
    """

    by: Literal["simulation"]
    topology: Topology
    workload: Workload
    profile: str = "lab-iam"
    faults: tuple[At, ...] = ()
    metric: str
    scale: float = 1.0
    replications: int = Field(1, ge=1)
    speed: Literal["quick", "slow"] = "quick"
    assumes: str = ""


class Baseline(Model):
    """The row is what the others of its set-up are predicted from."""

    by: Literal["baseline"]
    why: str


class Nothing(Model):
    """The row cannot be predicted."""

    by: Literal["nothing"]
    why: Annotated[str, Field(min_length=10)]


class Row(Model):
    """One published figure.

    Attributes:
        value: as published; None for a finding without a figure.
        low, high: ends of a published range, or a bound.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    what: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    predict: Annotated[ClosedForm | Simulated | Baseline | Nothing, Field(discriminator="by")]

    @property
    def published(self) -> str:
        """The figure in words."""
        unit = f" {self.unit}" if self.unit else ""
        if self.value is not None and self.low is not None:
            return f"{self.low:g} – {self.high:g}{unit}"
        if self.value is not None:
            return f"{self.value:g}{unit}"
        if self.low is not None:
            return f"> {self.low:g}{unit}"
        return f"< {self.high:g}{unit}" if self.high is not None else "a finding"


class Corpus(Model):
    """The rows of one publication."""

    corpus: str
    title: str
    source: str
    set_up: str
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Corpus:
        seen: set[str] = set()
        for place, row in enumerate(self.rows):
            if row.id in seen:
                raise MisfitError([Misfit(("rows", place, "id"), f"the row {row.id!r} stands here twice")])
            seen.add(row.id)
            measured = (row.value, row.low, row.high)
            if not isinstance(row.predict, Nothing) and all(value is None for value in measured):
                raise MisfitError([Misfit(("rows", place), "there is nothing to compare with", "a value")])
        return self


@dataclass(frozen=True)
class Result:
    """A row with its prediction.

    Attributes:
        predicted: in the row's unit; None when it was not predicted.
        interval: 95 % confidence interval of a simulated mean.
    """

    corpus: Corpus
    row: Row
    predicted: float | None
    interval: tuple[float, float] | None = None

    @property
    def error(self) -> float | None:
        """Signed error relative to the published value; None without one."""
        if self.predicted is None or not self.row.value:
            return None
        return self.predicted / self.row.value - 1

    @property
    def inside(self) -> bool | None:
        """Whether the prediction lies in the published range; None without a range."""
        if self.predicted is None or (self.row.low is None and self.row.high is None):
            return None
        low = -math.inf if self.row.low is None else self.row.low
        return low <= self.predicted <= (math.inf if self.row.high is None else self.row.high)


def load(path: Path) -> Corpus:
    """Read one file.

    Raises:
        InputError: it is wrong, with file, line and what to write instead.
    """
    document = read(path)
    found = document.validate(Corpus)
    for place, row in enumerate(found.rows):
        if isinstance(row.predict, Simulated):
            try:
                MetricKey.parse(row.predict.metric)
                profile_of(row.predict)
            except (ValueError, InputError) as error:
                raise document.error(Misfit(("rows", place, "predict"), str(error))) from None
    return found


def corpora() -> list[Corpus]:
    """All of them, in name order."""
    return [load(path) for path in sorted(ROOM.glob("*.yaml"))]


def profile_of(spec: Simulated) -> Any:
    """The service profile of a simulated row."""
    own = PROFILES / f"{spec.profile}.yaml"
    return load_profile(own if own.is_file() else spec.profile)


def predict(corpus: Corpus, row: Row, *, slow: bool = False) -> Result:
    """Predict one row; slow ones only when asked."""
    how = row.predict
    if isinstance(how, ClosedForm):
        return Result(corpus, row, float(FORMULAS[how.formula](**how.arguments)))
    if isinstance(how, Simulated) and (slow or how.speed == "quick"):
        values = [_simulate(how, number) for number in range(how.replications)]
        mean = math.fsum(values) / len(values)
        interval = confidence_interval(values) if len(values) > 1 else None
        return Result(corpus, row, mean, interval)
    return Result(corpus, row, None)


def _simulate(spec: Simulated, number: int) -> float:
    nothing = Estimate(mean=0.0)
    # Nobody published proxies or a VPN in the way.
    bare = Calibration.default().model_copy(
        update={"proxy_cpu": nothing, "vpn_delay": nothing, "public_delay": nothing}
    )
    calibration = profile_of(spec).calibrated(bare, spec.topology)
    timeline = [
        ScheduledFault(name=f"fault {place}", fault=found.fault, at=found.at, duration=found.duration)
        for place, found in enumerate(spec.faults)
    ]
    program = compile_program(spec.topology, spec.workload, timeline, calibration, size="production")
    simulation = Simulation.of(program, seed_of(SEED, number))
    simulation.run_until(spec.workload.duration)
    observed = reduce(simulation.observation(), spec.topology, spec.workload)
    found: dict[str, float] = {str(name): value.value for name, value in observed.items()}
    key = str(MetricKey.parse(spec.metric))
    if key not in found:
        raise ValueError(f"the simulation has no {key}; it has {', '.join(sorted(found))}")
    return spec.scale * found[key]


def results(*, slow: bool = False) -> Iterator[Result]:
    """Every row, predicted where it can be."""
    for corpus in corpora():
        for row in corpus.rows:
            yield predict(corpus, row, slow=slow)


def page(found: Sequence[Result]) -> str:
    """The part of docs/validation.md between the markers."""
    errors = [result.error for result in found if result.error is not None]
    predicted = [result for result in found if result.predicted is not None]
    lines = [
        BEGIN,
        "## Published measurements",
        "",
        "Other people's experiments and this project's own, encoded in `tests/corpus/published/` and",
        "predicted by `make validate-corpus`. Nothing was fitted to the rows below; a row that serves as",
        "baseline of others says so. The error is signed: predicted against published.",
        "",
        f"{len(predicted)} of {len(found)} rows predicted; mean absolute error "
        f"{100 * sum(map(abs, errors)) / len(errors):.0f} %, median "
        f"{100 * sorted(map(abs, errors))[len(errors) // 2]:.0f} %.",
    ]
    name = ""
    for result in found:
        corpus, row = result.corpus, result.row
        if corpus.corpus != name:
            name = corpus.corpus
            lines += [
                "",
                f"### {corpus.title}",
                "",
                f"{_sentence(corpus.set_up)} Source: {_sentence(corpus.source)}",
                "",
                "| what | published | predicted | error | how |",
                "|---|---|---|---|---|",
            ]
        lines.append(
            f"| {row.what} | {row.published} | {_predicted(result)} | {_error(result)} | {_how(row)} |"
        )
    return "\n".join([*lines, END]) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _predicted(result: Result) -> str:
    if result.predicted is None:
        return "–"
    unit = f" {result.row.unit}" if result.row.unit else ""
    text = f"{result.predicted:.3g}{unit}" if result.predicted < 1000 else f"{result.predicted:.0f}{unit}"
    if result.interval is not None and result.interval[1] - result.interval[0] > 0.01 * result.predicted:
        text += f" [{result.interval[0]:.3g}, {result.interval[1]:.3g}]"
    return text


def _error(result: Result) -> str:
    text = "–" if result.error is None else f"{100 * result.error:+.0f} %"
    if result.inside is not None:
        text = ("in range" if result.inside else "outside") + (
            f" ({text})" if result.error is not None else ""
        )
    return text


def _how(row: Row) -> str:
    how = row.predict
    if isinstance(how, Baseline):
        return f"baseline of the others: {how.why}"
    if isinstance(how, Nothing):
        return f"not predictable: {how.why}"
    text = f"closed form `{how.formula}`" if isinstance(how, ClosedForm) else "simulation"
    if isinstance(how, Simulated) and how.speed == "slow":
        text += ", slow"
    return f"{text}; assumes {how.assumes}" if how.assumes else text


def written(text: str, begin: str = BEGIN, end: str = END) -> str:
    """docs/validation.md with the part between two markers replaced by ``text``, which has them too."""
    current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "# Validation\n\n"
    if begin in current:
        before, _, rest = current.partition(begin)
        return before + text + rest.partition(end + "\n")[2]
    return current.rstrip("\n") + "\n\n" + text


def main() -> int:
    """Predict, print, write when all of it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__)
    parser.add_argument("--all", action="store_true", help="the slow rows too, and write docs/validation.md")
    arguments = parser.parse_args()
    try:
        found = list(results(slow=arguments.all))
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for result in found:
        label = f"{result.corpus.corpus}/{result.row.id}"
        print(f"{label:40} {result.row.published:>18} {_predicted(result):>28} {_error(result):>18}")
    if arguments.all:
        PAGE.write_text(written(page(found)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

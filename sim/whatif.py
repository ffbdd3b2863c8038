"""What if: two systems under the same random numbers, and the difference with its interval.

Streams of random numbers are named after users, links and processes, not taken in turn: the second
system meets the users, the think times and the drawn calibration of the first. What both share
cancels in each pair of replications.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sim.calibration import Calibration
from sim.engine.choice import Engine, engine_for, prepare
from sim.predict import Scenario, spec_maker
from sim.program import compile_program
from sim.replication import Outcome
from sim.rounds import Progress, replicate
from sim.statistics import CONFIDENCE_LEVEL, PairedDifference, paired_difference
from sim.views import ComparisonView

SCHEMA = "faultline/comparison/1"


@dataclass(frozen=True)
class Contrast:
    """One metric on both sides.

    Attributes:
        unit: of all values.
        paired: second less first, over the replications in which both have a value.
        censored: share of those in which a side's value was cut off by the end of the run.
    """

    unit: str
    paired: PairedDifference
    censored: float = 0.0


@dataclass(frozen=True)
class Comparison(ComparisonView):
    """Two systems beside each other.

    Attributes:
        names: what the two are called.
        programs: their hashes.
        metrics: by metric key; those that only one side has are in `alone`.
        alone: metric key -> name of the side that has it.
    """

    names: tuple[str, str]
    programs: tuple[str, str]
    calibration_hash: str
    seed: int
    replications: int
    metrics: dict[str, Contrast]
    alone: dict[str, str]
    level: float = CONFIDENCE_LEVEL
    schema: str = SCHEMA

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def differing(self) -> dict[str, Contrast]:
        """The metrics whose difference is not zero, as far as the replications can tell."""
        return {key: found for key, found in self.metrics.items() if found.paired.significant}


def compare(
    first: Scenario,
    second: Scenario,
    calibration: Calibration | None = None,
    seed: int = 0,
    *,
    second_calibration: Calibration | None = None,
    names: tuple[str, str] = ("first", "second"),
    replications: int = 20,
    workers: int = 2,
    level: float = CONFIDENCE_LEVEL,
    progress: Progress | None = None,
    engine: Engine = "compiled",
    note: Callable[[str], None] | None = None,
) -> Comparison:
    """Run both scenarios under common random numbers.

    Args:
        first: what is compared against.
        second: what is changed.
        calibration: demands of the machine; the shipped ones by default.
        seed: of all random numbers, the same for both.
        second_calibration: demands of the second, when they are not those of the first.
        names: of the two.
        replications: of each, paired by number.
        workers: processes; 1 runs everything in this one.
        level: of the intervals of the differences.
        progress: told after every replication, of both sides together.
        engine: `compiled` or `reference`; both give the same numbers.
        note: told when the engine has to be compiled first, once per installation.

    Raises:
        ValueError: fewer than two replications, or a topology that nobody can ask.
    """
    if replications < 2:
        raise ValueError("a comparison needs at least two replications: there is no interval from one")
    calibration = calibration or Calibration.default()
    programs, sides = [], []
    # Both are compiled before either is run: what is wrong with the second shows at once.
    pairs = ((first, calibration), (second, second_calibration or calibration))
    for scenario, demands in pairs:
        compiled = compile_program(
            scenario.topology,
            scenario.workload,
            scenario.timeline,
            demands,
            size=scenario.size,
            platform=scenario.platform,
        )
        programs.append(compiled.hash)
        if engine_for(compiled, engine) == "compiled":
            prepare(note)
    for index, (scenario, demands) in enumerate(pairs):
        before = index * replications

        def told(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, 2 * replications)

        sides.append(
            replicate(
                spec_maker(scenario, demands, seed, engine), replications, workers=workers, progress=told
            )
        )
    metrics, alone = contrasts(sides[0], sides[1], names, level)
    return Comparison(
        names=names,
        programs=(programs[0], programs[1]),
        calibration_hash=calibration.hash,
        seed=seed,
        replications=replications,
        metrics=metrics,
        alone=alone,
        level=level,
    )


def contrasts(
    first: Sequence[Outcome], second: Sequence[Outcome], names: tuple[str, str], level: float
) -> tuple[dict[str, Contrast], dict[str, str]]:
    """Pair two sides by replication, metric by metric: contrasts, and what one side alone has."""
    found: dict[str, Contrast] = {}
    alone: dict[str, str] = {}
    sides = [{key for outcome in side for key in outcome.metrics} for side in (first, second)]
    for key in sorted(sides[0] | sides[1]):
        if key not in sides[0] or key not in sides[1]:
            alone[key] = names[0] if key in sides[0] else names[1]
            continue
        pairs = [
            (a.metrics[key], b.metrics[key])
            for a, b in zip(first, second, strict=True)
            if key in a.metrics and key in b.metrics
        ]
        # A number that most pairs do not have says little about one.
        if len(pairs) < max(2.0, len(first) / 2):
            continue
        paired = paired_difference([a[0] for a, _ in pairs], [b[0] for _, b in pairs], level)
        censored = sum(a[3] or b[3] for a, b in pairs) / len(pairs)
        found[key] = Contrast(pairs[0][0][2], paired, censored)
    return found, alone

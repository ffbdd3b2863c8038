"""The study's findings as executable checks: direction, size, interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.findings.study import Estimated, Key, Results
from sim.statistics import confidence_interval

Expect = Literal["above", "below", "near"]
Outcome = Literal["agrees", "disagrees", "open"]


@dataclass(frozen=True)
class Effect:
    """One comparison: ``second`` against ``first``, trial by trial under the same random numbers.

    Attributes:
        what: in words.
        metric: of both cases.
        first, second: the cases.
        expect: where the ratio (or the difference in percentage points) is to lie: above the bound,
            below it, or `near` one within the bound.
        bound: a ratio, or points.
        points: compare by difference in percentage points, for shares that may be zero.
        against: two cases whose own ratio the ratio is divided by.
    """

    what: str
    metric: str
    first: Key
    second: Key
    expect: Expect
    bound: float = 1.0
    points: bool = False
    against: tuple[Key, Key] | None = None

    def measured(self, results: Results) -> Estimated:
        """The ratio (geometric mean over trials) or the difference, with its 95 % interval."""
        first, second = results.trials(self.first, self.metric), results.trials(self.second, self.metric)
        pairs = list(zip(first, second, strict=True))
        if self.points:
            return Estimated.of([100 * (b - a) for a, b in pairs])
        if self.against is not None:
            divisors = (results.trials(case, self.metric) for case in self.against)
            pairs = [(a * d, b * c) for (a, b), c, d in zip(pairs, *divisors, strict=True)]
        return ratio(pairs)

    def is_known(self, results: Results) -> bool:
        """Whether all that is compared was simulated."""
        return {self.first, self.second, *(self.against or ())} <= set(results.values)

    def outcome(self, results: Results) -> Outcome:
        """`agrees` when the whole interval is where it is to be, `disagrees` when none of it is."""
        if not self.is_known(results):
            return "open"
        return judge(self.measured(results), self.expect, self.bound)

    @property
    def expected(self) -> str:
        """The expectation in words."""
        unit = " points" if self.points else " times"
        if self.expect == "near":
            return f"{1 / self.bound:.2g} to {self.bound:.3g}{unit}"
        return f"{'>' if self.expect == 'above' else '<'} {self.bound:g}{unit}"


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimated:
    """Second over first: geometric mean over trials, Student's interval of the logarithm.

    Example:
        >>> ratio([(1.0, 2.0), (10.0, 20.0)]).value
        2.0
    """
    logs = [math.log(b / a) if a > 0 and b > 0 else math.nan for a, b in pairs]
    low, high = confidence_interval(logs)
    return Estimated(round(math.exp(sum(logs) / len(logs)), 12), math.exp(low), math.exp(high))


def judge(found: Estimated, expect: Expect, bound: float) -> Outcome:
    """Where an interval lies; one that cannot be computed, or lies across the bound, is open.

    Example:
        >>> judge(Estimated(1.5, 1.2, 1.8), "above", 1.0)
        'agrees'
    """
    if not (math.isfinite(found.value) and found.low <= found.high):
        return "open"
    if expect == "near":
        if 1 / bound <= found.low and found.high <= bound:
            return "agrees"
        return "disagrees" if found.high < 1 / bound or found.low > bound else "open"
    low, high = (found.low, found.high) if expect == "above" else (-found.high, -found.low)
    limit = bound if expect == "above" else -bound
    if low > limit:
        return "agrees"
    return "disagrees" if high < limit else "open"


@dataclass(frozen=True)
class Finding:
    """What the study concluded, and the comparisons that it comes to.

    Attributes:
        name: F1 to F7.
        claim: in short.
        effects: all of them.
        why: how the mechanisms of the model bring the disagreeing parts about.
        evidence: comparisons that take the mechanism away.
    """

    name: str
    claim: str
    effects: tuple[Effect, ...]
    why: str = ""
    evidence: tuple[Effect, ...] = ()

    def outcome(self, results: Results) -> str:
        """`agrees`, `disagrees`, `in part`, or `open`."""
        found = {effect.outcome(results) for effect in self.effects}
        if len(found) == 1:
            return found.pop()
        return "in part" if "disagrees" in found else "agrees, in part open"

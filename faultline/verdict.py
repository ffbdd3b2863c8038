"""Three-valued verdicts: what held, what deviated, and what cannot be told.

The rules, all of them:

1. A measured value *deviated* when it fell outside its 90 % prediction interval by more than its
   own resolution (the probe period for recovery times, for instance).
2. Inside, it *held*, unless the interval was too wide to mean anything (`is_too_wide`) or the
   measurement rests on too few samples (`samples_needed`): then it is *inconclusive*.
3. The prediction as a whole: `judge_prediction`; the run: the worst of that and of the hypotheses.
4. A disturbed lab makes everything inconclusive: its numbers speak about the lab.

Reasons and alternatives: docs/decisions/0003-run-verdict.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from faultline.exits import ExitCode

LEVEL = 0.9
"""Coverage the prediction intervals claim."""

SURPRISE = 0.05
"""A prediction deviated when what happened had less than this probability, were its intervals true."""

MINIMUM_HEADLINES = 2
"""With fewer scored headline metrics no outcome is improbable enough to call (0.1 > 0.05)."""


class Verdict(StrEnum):
    """Held, deviated or cannot be told."""

    HELD = "held"
    INCONCLUSIVE = "inconclusive"
    DEVIATED = "deviated"

    @property
    def exit_code(self) -> ExitCode:
        """What a run with this verdict exits with."""
        return _EXIT[self]


_RANK = {Verdict.HELD: 0, Verdict.INCONCLUSIVE: 1, Verdict.DEVIATED: 2}
_EXIT = {
    Verdict.HELD: ExitCode.HELD,
    Verdict.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Verdict.DEVIATED: ExitCode.DEVIATED,
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The join of the chain held < inconclusive < deviated; `held` is the worst of nothing."""
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.HELD)


@dataclass(frozen=True)
class Judgement:
    """A verdict and the reason for it, in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Interval:
    """A 90 % prediction interval around a point; all None when nothing was predicted.

    Attributes:
        censored: share of replications in which the run ended before the value was final.
    """

    low: float | None
    point: float | None
    high: float | None
    censored: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A measured value.

    Attributes:
        value: None when there was nothing to measure.
        samples: how many observations it rests on.
        resolution: what the instrument cannot resolve, in the metric's unit.
        censored: the true value is at least `value`: the run ended first.
    """

    value: float | None
    samples: int
    resolution: float = 0.0
    censored: bool = False


_SAMPLES = {
    # At least five observations beyond a quantile, so that one outlier does not make it.
    "latency_mean": 10,
    "latency_p50": 10,
    "latency_p80": 25,
    "latency_p95": 100,
    "latency_p99": 500,
    "success_ratio": 50,
    "error_ratio": 50,
    "stale_reads": 50,
    "availability": 20,
    "recovery_time": 20,
    "unavailability": 20,
}
_NARROW_ENOUGH = {
    # Widths that are informative whatever the point is, in the metric's unit.
    "success_ratio": 0.1,
    "error_ratio": 0.1,
    "stale_reads": 0.1,
    "availability": 0.1,
    "throughput": 2.0,
    "lost_commits": 2.0,
    "in_doubt_commits": 5.0,
}
_NARROW_LATENCY = 0.005
_NARROW_TIME = 2.0
WIDE = 2.0
"""An interval wider than this many times its point (beyond ±100 %) forbids too little."""


HEADLINES = {
    # The windows a metric is a headline in; `parts` are before, fault and after (or the whole run
    # when nothing was injected), which say more than the whole they make up.
    "throughput": "parts",
    "latency_p50": "parts",
    "latency_p95": "parts",
    "success_ratio": "parts",
    "stale_reads": "whole",
    "availability": "whole",
    "recovery_time": "whole",
    "write_stall": "whole",
    "lost_commits": "whole",
    "time_to": "whole",
}


def is_headline(key: str, faulted: bool = True) -> bool:
    """Whether the metric ``key`` says something about the service as a whole (docs/decisions/0003).

    Args:
        key: the metric's key.
        faulted: something was injected during the run.
    """
    windows = HEADLINES.get(metric_name(key))
    if windows is None or any(f"{part}=" in key for part in ("site", "request", "kind")):
        return False
    window = key.rpartition("@")[2]
    return (window == "whole") != (windows == "parts" and faulted)


def metric_name(key: str) -> str:
    """The bare name in a metric key: `latency_p95{site=ral}@fault` is `latency_p95`."""
    return key.split("{", 1)[0].split("@", 1)[0]


def samples_needed(key: str) -> int:
    """How many observations the metric ``key`` needs before it is judged."""
    return _SAMPLES.get(metric_name(key), 0)


def is_too_wide(key: str, interval: Interval) -> bool:
    """Whether a value inside ``interval`` would tell nothing."""
    if interval.low is None or interval.high is None:
        return False
    name = metric_name(key)
    floor = _NARROW_LATENCY if name.startswith("latency") else _NARROW_ENOUGH.get(name, _NARROW_TIME)
    return interval.high - interval.low > max(WIDE * abs(interval.point or 0.0), floor)


NEVER_ROOM = (1 - LEVEL) / 2
"""A value that never came is inside when the prediction's upper tail holds runs without it too."""


def judge_metric(key: str, interval: Interval, measured: Measured) -> Judgement:
    """Compare one measured value with what was predicted for it (rules 1 and 2)."""
    if interval.low is None or interval.high is None:
        return Judgement(Verdict.INCONCLUSIVE, "nothing was predicted")
    if measured.value is None:
        return Judgement(Verdict.INCONCLUSIVE, "nothing was measured")
    if measured.samples < samples_needed(key):
        return Judgement(
            Verdict.INCONCLUSIVE, f"only {measured.samples} samples, {samples_needed(key)} are needed"
        )
    if measured.censored and interval.censored > NEVER_ROOM:
        return Judgement(Verdict.HELD, "not within the run, as predicted")
    if measured.value < interval.low - measured.resolution:
        if measured.censored:
            return Judgement(Verdict.INCONCLUSIVE, "the run ended before it could be told")
        return Judgement(Verdict.DEVIATED, "below")
    if measured.value > interval.high + measured.resolution:
        return Judgement(Verdict.DEVIATED, "above")
    if is_too_wide(key, interval):
        return Judgement(Verdict.INCONCLUSIVE, "inside, but too wide")
    return Judgement(Verdict.HELD, "inside")


def chance_of_so_few(inside: int, scored: int, level: float = LEVEL) -> float:
    """Probability that at most ``inside`` of ``scored`` intervals contain their value.

    Each does with probability ``level``.

    The distribution is the binomial, which takes the metrics for independent.
    """
    return math.fsum(
        math.comb(scored, hits) * level**hits * (1 - level) ** (scored - hits) for hits in range(inside + 1)
    )


def is_certain(interval: Interval) -> bool:
    """Whether the prediction left no room at all, as in `no commit will be lost`."""
    return interval.low == interval.high or interval.censored == 1


def judge_prediction(verdicts: Sequence[Verdict]) -> Judgement:
    """The prediction as a whole, from the verdicts on its headline metrics (rule 3).

    Among many 90 % intervals some must miss, so single misses do not make it wrong; it deviated when so
    few contained their value that true 90 % intervals would do so with probability below 5 %. Certainties
    that held (`is_certain`) are not to be passed in: they would pad the count.
    """
    inside = sum(verdict is Verdict.HELD for verdict in verdicts)
    scored = sum(verdict is not Verdict.INCONCLUSIVE for verdict in verdicts)
    open_ones = len(verdicts) - scored
    told = f"{inside} of {scored} headline metrics inside their 90 % interval"
    if open_ones:
        told += f" ({open_ones} inconclusive)"
    if scored:
        chance = chance_of_so_few(inside, scored)
        if chance < SURPRISE:
            likely = f"a chance of {chance:.1%}" if chance >= 0.001 else "a chance below 0.1%"
            return Judgement(Verdict.DEVIATED, f"{told}: so few have {likely} if the intervals are true")
    if scored < MINIMUM_HEADLINES:
        return Judgement(Verdict.INCONCLUSIVE, f"{told}: too few to judge the prediction")
    if open_ones > scored:
        return Judgement(Verdict.INCONCLUSIVE, f"{told}: most could not be judged")
    return Judgement(Verdict.HELD, told)


def disturbed(judgement: Judgement) -> Judgement:
    """What a judgement becomes when the lab was disturbed (rule 4).

    The reason stays what it was: where the value fell is worth knowing even when it proves nothing.
    """
    return replace(judgement, verdict=Verdict.INCONCLUSIVE)

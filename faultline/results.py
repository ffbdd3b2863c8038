"""What a run comes to: every metric and hypothesis with its verdict, and the verdict on the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.hypothesis import Hypothesis
from experiments.metrics import MetricValue
from faultline.verdict import (
    LEVEL,
    Interval,
    Judgement,
    Measured,
    Verdict,
    disturbed,
    is_certain,
    is_headline,
    judge_metric,
    judge_prediction,
    samples_needed,
    worst,
)
from faultline.wording import unit_of


@dataclass(frozen=True)
class MetricResult:
    """One predicted metric against its measurement.

    Attributes:
        key: text form of the metric's key.
        low, point, high: the 90 % prediction interval; None when there was no prediction.
        never: predicted not to come to an end within the run.
        value: measured; None when there was nothing to measure.
        counted: it takes part in the verdict on the prediction as a whole.
    """

    key: str
    unit: str
    low: float | None
    point: float | None
    high: float | None
    never: bool
    value: float | None
    n: int
    resolution: float
    censored: bool
    verdict: Verdict
    reason: str
    headline: bool
    counted: bool


@dataclass(frozen=True)
class HypothesisResult:
    """One claim of the experiment against the measurement.

    Attributes:
        claim: in the experiment's words.
        low, point, high: what was predicted for the claimed number, if anything.
    """

    claim: str
    key: str
    unit: str
    value: float | None
    n: int
    low: float | None
    point: float | None
    high: float | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class RunResult:
    """The verdict on a run with all that it rests on."""

    verdict: Verdict
    reason: str
    prediction: Judgement
    metrics: tuple[MetricResult, ...]
    hypotheses: tuple[HypothesisResult, ...]
    disturbances: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for `verdict.json`."""
        return {
            "verdict": str(self.verdict),
            "exit_code": int(self.verdict.exit_code),
            "reason": self.reason,
            "prediction": asdict(self.prediction),
            "metrics": [asdict(metric) for metric in self.metrics],
            "hypotheses": [asdict(hypothesis) for hypothesis in self.hypotheses],
            "disturbances": list(self.disturbances),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunResult:
        """The inverse of `to_json`."""
        return cls(
            verdict=Verdict(data["verdict"]),
            reason=data["reason"],
            prediction=Judgement(Verdict(data["prediction"]["verdict"]), data["prediction"]["reason"]),
            metrics=tuple(
                MetricResult(**{**row, "verdict": Verdict(row["verdict"])}) for row in data["metrics"]
            ),
            hypotheses=tuple(
                HypothesisResult(**{**row, "verdict": Verdict(row["verdict"])}) for row in data["hypotheses"]
            ),
            disturbances=tuple(data["disturbances"]),
        )


def judge_hypothesis(hypothesis: Hypothesis, measured: MetricValue | None) -> Judgement:
    """Compare a claim with the measured value alone.

    ``hypothesis`` must be complete (`Hypothesis.completed`).
    """
    key = str(hypothesis.key)
    if measured is None:
        return Judgement(Verdict.INCONCLUSIVE, "nothing was measured")
    if measured.n < samples_needed(key):
        return Judgement(Verdict.INCONCLUSIVE, f"only {measured.n} samples, {samples_needed(key)} are needed")
    holds = hypothesis.holds(measured.value)
    if measured.censored:
        # The true value is at least this one, which settles a claim in one direction only.
        upward = hypothesis.comparator in {">=", ">"}
        if holds == upward:
            verdict = Verdict.HELD if holds else Verdict.DEVIATED
            return Judgement(verdict, "settled, though the run ended before the value was final")
        return Judgement(Verdict.INCONCLUSIVE, "the run ended before it could be told")
    if measured.unit == "s" and 0 < abs(measured.value - hypothesis.value) < measured.resolution:
        return Judgement(
            Verdict.INCONCLUSIVE, f"closer to the limit than can be resolved ({measured.resolution:g} s)"
        )
    return Judgement(Verdict.HELD, "as claimed") if holds else Judgement(Verdict.DEVIATED, "not as claimed")


def judge_run(
    intervals: Mapping[str, Interval],
    measured: Mapping[str, MetricValue],
    hypotheses: Sequence[Hypothesis],
    disturbances: Sequence[str] = (),
    faulted: bool = True,
) -> RunResult:
    """Judge everything.

    Args:
        intervals: metric key -> registered 90 % interval.
        measured: metric key -> measured value.
        hypotheses: complete claims (`Hypothesis.completed`).
        disturbances: why the lab's numbers cannot be trusted; empty for a healthy lab.
        faulted: something was injected.
    """
    why = "; ".join(disturbances)

    def final(judgement: Judgement) -> Judgement:
        return disturbed(judgement) if disturbances else judgement

    metrics = []
    for key in intervals:
        found, interval = measured.get(key), intervals[key]
        seen = (
            Measured(found.value, found.n, found.resolution, found.censored) if found else Measured(None, 0)
        )
        judged = judge_metric(key, interval, seen)
        headline = is_headline(key, faulted)
        padding = is_certain(interval) and judged.verdict is not Verdict.DEVIATED
        judged = final(judged)
        metrics.append(
            MetricResult(
                key,
                unit_of(key),
                interval.low,
                interval.point,
                interval.high,
                interval.censored >= LEVEL,
                seen.value,
                seen.samples,
                seen.resolution,
                seen.censored,
                judged.verdict,
                judged.reason,
                headline,
                headline and not padding,
            )
        )
    claims = []
    for hypothesis in hypotheses:
        key = str(hypothesis.key)
        found = measured.get(key)
        judged = final(judge_hypothesis(hypothesis, found))
        predicted = intervals.get(key, Interval(None, None, None))
        claims.append(
            HypothesisResult(
                str(hypothesis),
                key,
                hypothesis.catalogued.unit,
                found.value if found else None,
                found.n if found else 0,
                predicted.low,
                predicted.point,
                predicted.high,
                judged.verdict,
                judged.reason,
            )
        )
    whole = final(judge_prediction([metric.verdict for metric in metrics if metric.counted]))
    verdict = worst([whole.verdict, *(claim.verdict for claim in claims)])
    return RunResult(
        verdict, _reason(whole, claims, why), whole, tuple(metrics), tuple(claims), tuple(disturbances)
    )


def _reason(whole: Judgement, claims: Sequence[HypothesisResult], disturbance: str) -> str:
    if disturbance:
        return f"the lab was disturbed: {disturbance}"
    told = [f"{sum(c.verdict is Verdict.HELD for c in claims)} of {len(claims)} hypotheses held"] * bool(
        claims
    )
    return "; ".join([*told, whole.reason])

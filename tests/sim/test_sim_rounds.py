"""Replications until they are enough, and two systems under the same random numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments.workload import ProbeStream, Workload
from sim import rounds
from sim.predict import Prediction, Scenario, predict
from sim.replication import Outcome
from sim.statistics import Precision
from sim.whatif import compare
from topologies.loader import load

WORKLOAD = Workload(
    users=4, think=1.0, duration=14.0, warmup=2.0, probes=(ProbeStream(flow="health", rate=2.0),)
)
MEDIAN = "latency_p50{flow=workflow}@whole"


def scenario(*overrides: str) -> Scenario:
    """A short, quiet run on one site."""
    return Scenario(load("iris-1site", size="lab", overrides=overrides), WORKLOAD)


def outcome(number: int, value: float | None) -> Outcome:
    """A replication with one metric."""
    metrics = {} if value is None else {"m": (value, 1, "s", False)}
    return Outcome(number, metrics, {}, 0.0, (), [], [], 0)


def drawn(values: list[float | None], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make replications return ``values`` by number; gives the list of the numbers asked for."""
    asked: list[int] = []

    def run(number: int) -> Outcome:
        asked.append(number)
        return outcome(number, values[number % len(values)])

    monkeypatch.setattr(rounds, "run", run)
    return asked


def replicated(precision: Precision, first: int = 4) -> list[Outcome]:
    """Rounds of made-up replications; a spec is its number here."""
    return rounds.replicate(lambda number: number, first, workers=1, precision=precision, keys=("m",))  # type: ignore[arg-type, return-value]


class TestRounds:
    """Replications to a wanted half width."""

    def test_stops_as_soon_as_it_is_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Values that hardly vary need no second round."""
        asked = drawn([10.0, 10.01], monkeypatch)
        assert len(replicated(Precision(0.05))) == 4
        assert asked == [0, 1, 2, 3]

    def test_goes_on_until_it_is_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each replication is run once, in rounds that at most double; no more of them than needed."""
        asked = drawn([9.0, 11.0, 10.0, 8.0, 12.0], monkeypatch)
        found = replicated(Precision(0.05))
        assert asked == list(range(len(found)))
        assert rounds.report(found, Precision(0.05), ("m",))["reached"]
        before = found[: int(len(found) * 0.7)]
        assert not rounds.report(before, Precision(0.05), ("m",))["reached"]

    def test_gives_up_at_the_cap_and_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twenty replications are not enough: there are twenty, and the report says not reached."""
        drawn([1.0, 100.0, 3.0], monkeypatch)
        wish = Precision(0.01, cap=20)
        found = replicated(wish)
        told = rounds.report(found, wish, ("m",))
        assert len(found) == 20
        assert not told["reached"]
        assert told["metrics"]["m"]["half_width"] > 0.01

    @pytest.mark.parametrize("values", [[-1.0, 1.0], [None], [None, None, None, 1.0, None, 2.0]])
    def test_what_cannot_be_reached_ends_at_the_cap(
        self, values: list[float | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A mean of zero, a metric without values, one with few."""
        drawn(values, monkeypatch)
        wish = Precision(0.001, cap=30)
        found = replicated(wish)
        assert len(found) == 30
        assert not rounds.report(found, wish, ("m",))["reached"]

    def test_of_a_prediction(self) -> None:
        """The prediction says what was wanted and what was reached; it is the same with more workers."""
        wish = Precision(0.2, cap=12, metrics=(MEDIAN,))
        found = predict(scenario(), seed=3, replications=2, workers=1, precision=wish)
        assert found.precision is not None
        reached = found.precision["metrics"][MEDIAN]
        metric = found.metrics[MEDIAN]
        half = (metric.confidence[1] - metric.confidence[0]) / 2 / metric.mean
        assert reached["half_width"] == pytest.approx(half)
        assert reached["reached"] == (half <= 0.2) == found.precision["reached"]
        assert found.replications == reached["n"] <= 12
        assert Prediction.from_json(found.to_json()).precision == found.data()["precision"]
        plain = predict(scenario(), seed=3, replications=found.replications, workers=2)
        assert replace(plain, precision=found.precision).to_json() == found.to_json()

    def test_precision_of_no_metric(self) -> None:
        """A misspelt metric is refused before anything is run."""
        with pytest.raises(ValueError, match="latencyy"):
            predict(scenario(), precision=Precision(0.1, metrics=("latencyy@whole",)))


class TestCompare:
    """Common random numbers."""

    def test_nothing_changed_nothing_differs(self) -> None:
        """The same system twice: every difference is exactly zero."""
        found = compare(scenario(), scenario(), seed=1, replications=2, workers=1)
        assert found.programs[0] == found.programs[1]
        assert found.metrics
        assert all(contrast.paired.interval == (0.0, 0.0) for contrast in found.metrics.values())
        assert not found.differing

    def test_a_small_change_is_seen_through_the_luck_of_the_runs(self) -> None:
        """More CPU lowers the median; pairs see it with far fewer runs than independent ones would."""
        found = compare(scenario(), scenario("sites.ral.cpu=0.75"), seed=1, replications=4, workers=1)
        paired = found.metrics[MEDIAN].paired
        assert paired.significant
        assert paired.difference < 0
        assert paired.gain is not None
        assert paired.gain > 2
        assert MEDIAN in found.differing

    def test_what_only_one_side_has_is_named(self) -> None:
        """A topology with one site has no metric of the sites of the other."""
        two = Scenario(load("iris-2site-galera", size="lab"), WORKLOAD)
        found = compare(scenario(), two, names=("one", "two"), replications=2, workers=1)
        assert any("site=" in key and side == "two" for key, side in found.alone.items())
        assert MEDIAN in found.metrics

    def test_one_replication_is_no_comparison(self) -> None:
        """There is no interval from one pair."""
        with pytest.raises(ValueError, match="at least two"):
            compare(scenario(), scenario(), replications=1)


class TestRunner:
    """Where replications are carried out."""

    @pytest.mark.parametrize(("guess", "takes", "shared"), [(9.0, 9, 4), (0.1, 0, 0), (0.1, 9, 2)])
    def test_other_processes_are_started_when_they_save_time(
        self, guess: float, takes: int, shared: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Long work is shared at once, short work stays; what turns out longer is shared after two."""
        handed_over: list[int] = []

        class Pool:
            """Does at once what it is given."""

            def submit(self, work: Callable[[int], int], spec: int) -> Future[int]:
                """Note it and do it."""
                handed_over.append(spec)
                done: Future[int] = Future()
                done.set_result(work(spec))
                return done

        @contextmanager
        def pool(workers: int) -> Iterator[Pool]:
            assert workers == 2
            yield Pool()

        monkeypatch.setattr(rounds, "run", lambda spec: 10 * spec)
        monkeypatch.setattr(rounds, "worker_pool", pool)
        monkeypatch.setattr(rounds, "estimate", lambda spec: guess)
        clock = itertools.count(0, takes)
        monkeypatch.setattr(rounds, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
        with rounds.runner(2) as carry_out:
            found = list(carry_out([0, 1, 2, 3]))  # type: ignore[list-item]
        assert sorted(found) == [0, 10, 20, 30]  # type: ignore[type-var, comparison-overlap]
        assert len(handed_over) == shared

"""The compiled queueing kernels: against the SimPy reference to the last digit, and against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import analytic
from sim.queueing import Closed, Open, Station, reference, run, simulate

THREE = 3.0
"""Standard errors within which theory must lie."""


def within(found: float, expected: float, error: float) -> bool:
    """Whether a mean agrees with theory."""
    return abs(found - expected) <= THREE * error


stations = st.lists(
    st.builds(
        Station,
        name=st.just("s"),
        service=st.sampled_from([0.05, 0.2, 0.7]),
        servers=st.integers(1, 3),
        discipline=st.sampled_from(["fcfs", "ps", "delay"]),
        cv=st.sampled_from([0.5, 1.0, 2.5]),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


class TestTwoEngines:
    """Kernels and SimPy draw the same numbers."""

    @settings(max_examples=60, deadline=None)
    @given(stations, st.integers(1, 12), st.sampled_from([0.0, 0.4]), st.integers(0, 5))
    def test_closed_networks_give_the_same_responses(
        self, row: tuple[Station, ...], users: int, think: float, seed: int
    ) -> None:
        """Every response, whatever stations there are."""
        network = Closed(row, users, think)
        fast = simulate(network, 60, seed=seed, warmup=7, batches=3, samples=True)
        slow = reference.simulate(network, 60, seed=seed, warmup=7, batches=3, samples=True)
        assert fast.samples is not None
        assert slow.samples is not None
        assert fast.samples == pytest.approx(slow.samples, rel=1e-7, abs=1e-9)
        assert fast.elapsed == pytest.approx(slow.elapsed)
        for one, other in zip(fast.stations, slow.stations, strict=True):
            assert one.customers == pytest.approx(other.customers, abs=1e-7)
            assert one.busy == pytest.approx(other.busy, abs=1e-7)

    @settings(max_examples=40, deadline=None)
    @given(stations, st.integers(0, 5))
    def test_open_networks_give_the_same_responses(self, row: tuple[Station, ...], seed: int) -> None:
        """Arrivals at 80 % of what the slowest station can take."""
        limits = [station.servers / station.service for station in row if station.discipline != "delay"]
        # A delay station behind it sends the single line through the event loop as well.
        network = Open((*row, Station("behind", 0.01, discipline="delay")), 0.8 * min([*limits, 20.0]))
        fast = simulate(network, 90, seed=seed, warmup=5, batches=3, samples=True)
        slow = reference.simulate(network, 90, seed=seed, warmup=5, batches=3, samples=True)
        assert fast.samples == pytest.approx(slow.samples, rel=1e-7, abs=1e-9)

    @pytest.mark.parametrize("servers", [1, 3])
    def test_the_line_without_events_is_the_same_line(self, servers: int) -> None:
        """One station in order of arrival needs no event loop; its responses are those of SimPy."""
        network = Open((Station("s", 1.0, servers, cv=0.5),), 0.8 * servers)
        fast = simulate(network, 900, seed=2, warmup=0, samples=True)
        slow = reference.simulate(network, 900, seed=2, warmup=0, samples=True)
        assert fast.samples is not None
        assert slow.samples is not None
        if servers == 1:
            assert fast.samples == pytest.approx(slow.samples)
        else:  # in order of arrival here, of completion there, which differ at the end of the run only
            common = set(np.round(fast.samples, 9)) & set(np.round(slow.samples, 9))
            assert len(common) >= 900 - 20

    def test_lindley_gives_the_same_waits(self) -> None:
        """The array form of the recursion, from the numbers of the reference's streams."""
        key = run.key_of(4, run.STREAM, "")
        gaps, services = (reference.Draws(key, entity) for entity in (0, 1))
        between = [-math.log(gaps.uniform(n)) / 0.8 for n in range(500)]
        needs = [-math.log(services.uniform(n)) for n in range(500)]
        found = simulate(Open((Station("s", 1.0),), 0.8), 500, seed=4, warmup=0, batches=2, samples=True)
        assert found.samples == pytest.approx(analytic.lindley(between, needs) + needs)

    def test_many_users_on_the_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Far events kept in a wheel change no bit of the result, nor does a wheel that is too short."""
        network = Closed(
            (Station("a", 0.5, discipline="delay"), Station("b", 0.003), Station("c", 0.002, 1, "ps")),
            900,
            3.0,
        )
        plain = simulate(network, 3000, seed=1, samples=True)
        monkeypatch.setattr(run, "WHEEL_FROM", 1)
        wheel = run._wheel
        assert len(wheel(network, 900)[1]) > 16
        turned = simulate(network, 3000, seed=1, samples=True)
        assert turned.samples is not None
        assert plain.samples is not None
        assert turned.samples.tolist() == plain.samples.tolist()
        monkeypatch.setattr(run, "_wheel", lambda *given: (wheel(*given)[0], np.full(8, -1, dtype=np.int64)))
        short = simulate(network, 3000, seed=1, samples=True)
        assert short.samples is not None
        assert short.samples.tolist() == plain.samples.tolist()

    def test_more_customers_at_once_than_there_was_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run is repeated with more room and comes to the same."""
        network = Open((Station("a", 1.0, 1, "ps"), Station("b", 0.1)), 0.8)
        roomy = simulate(network, 600, seed=3)
        monkeypatch.setattr(run, "FIRST_SLOTS", 1)
        assert simulate(network, 600, seed=3) == roomy


class TestTheory:
    """Within three standard errors of the closed forms."""

    def test_one_server(self) -> None:
        """M/M/1 at 80 %: a million customers."""
        found = simulate(Open((Station("s", 1.0),), 0.8), 1_000_000, seed=1)
        assert within(found.response.mean, analytic.ps_sojourn(0.8, 1.0), found.response.standard_error)
        assert not found.response.correlated
        assert found.stations[0].busy == pytest.approx(0.8, rel=0.01)

    @pytest.mark.parametrize("cv", [0.0, 0.5, 3.0])
    def test_other_service_times(self, cv: float) -> None:
        """M/G/1 waits as Pollaczek and Khinchine say; processor sharing does not care."""
        line = simulate(Open((Station("s", 1.0, cv=cv),), 0.6), 300_000, seed=2)
        wait = analytic.mg1_wait(0.6, 1.0, cv)
        assert within(line.response.mean, wait + 1, line.response.standard_error)
        shared = simulate(Open((Station("s", 1.0, 1, "ps", cv),), 0.6), 200_000, seed=2)
        assert within(shared.response.mean, analytic.ps_sojourn(0.6, 1.0), shared.response.standard_error)

    @pytest.mark.parametrize(("servers", "share"), [(2, 0.6), (4, 0.8), (16, 0.9)])
    def test_several_servers(self, servers: int, share: float) -> None:
        """M/M/c by Erlang's formula, as a line and as shared cores."""
        rate = servers * share
        expected = 1 + analytic.mmc_wait(rate, 1.0, servers)
        for discipline in ("fcfs", "ps"):
            station = Station("s", 1.0, servers, discipline)  # type: ignore[arg-type]
            found = simulate(Open((station,), rate), 300_000, seed=3)
            assert within(found.response.mean, expected, found.response.standard_error)
            assert found.stations[0].customers == pytest.approx(rate * expected, rel=0.05)

    def test_waits_have_the_quantiles_of_theory(self) -> None:
        """The share of M/M/4 customers that wait no longer than the 90 % quantile is 90 %."""
        found = simulate(Open((Station("s", 1.0, 4, cv=1.0),), 3.0), 200_000, seed=4, samples=True)
        again = simulate(Open((Station("s", 1.0, 4, cv=1.0),), 3.0), 200_000, seed=5, samples=True)
        limit = analytic.mmc_wait_quantile(3.0, 1.0, 4, 0.9)
        # A response is a wait and an independent service: P(wait + service <= x), by both runs' means.
        assert found.samples is not None
        assert again.samples is not None
        generator = np.random.default_rng(1)
        waits = np.where(
            generator.random(200_000) < analytic.erlang_c(4, 3.0), generator.exponential(1.0, 200_000), 0.0
        )
        expected = float(np.mean(waits + generator.exponential(1.0, 200_000) <= limit + 1))
        for samples in (found.samples, again.samples):
            assert float(np.mean(samples <= limit + 1)) == pytest.approx(expected, abs=0.01)

    @pytest.mark.parametrize("discipline", ["fcfs", "ps"])
    def test_closed_network(self, discipline: str) -> None:
        """Five hundred users and six stations: exact mean value analysis."""
        demands = [0.01 * (1 + k / 10) for k in range(6)]
        row = tuple(Station(f"s{k}", demand, 1, discipline) for k, demand in enumerate(demands))  # type: ignore[arg-type]
        runs = [simulate(Closed(row, 500, 10.0), 30_000, seed=seed) for seed in range(10)]
        rate, response = analytic.mva(demands, 10.0, 500)
        for values, expected in (
            ([found.response.mean for found in runs], response),
            ([found.throughput for found in runs], rate),
        ):
            assert within(float(np.mean(values)), expected, float(np.std(values, ddof=1)) / math.sqrt(10))

    def test_closed_network_of_several_servers(self) -> None:
        """Cores and a line of three servers: convolution."""
        row = (Station("cpu", 0.1, 4, "ps"), Station("db", 0.05, 3), Station("net", 0.3, discipline="delay"))
        found = simulate(Closed(row, 60, 1.0), 100_000, seed=6)
        _, response = analytic.closed_multiserver([0.1, 0.05], [4, 3], 1.3, 60)
        assert within(found.response.mean, response + 0.3, found.response.standard_error)

    def test_a_million_users(self) -> None:
        """They fit, and get what the closed forms of a lightly loaded station give them."""
        network = Closed((Station("s", 5e-6),), 1_000_000, 10.0)
        found = simulate(network, 300_000, seed=7, warmup=0)
        assert found.throughput == pytest.approx(1e5, rel=0.02)
        assert found.response.mean == pytest.approx(1e-5, rel=0.1)


class TestInterval:
    """What is said about one run."""

    def test_intervals_cover_theory(self) -> None:
        """About 95 % of the batch-means intervals of M/M/1 at 50 % hold the mean."""
        network = Open((Station("s", 1.0),), 0.5)
        hits = 0
        for seed in range(200):
            low, high = simulate(network, 20_000, seed=seed).response.interval
            hits += low <= 2.0 <= high
        assert 0.9 <= hits / 200 <= 0.99

    def test_the_same_question_gets_the_same_answer(self) -> None:
        """A seed decides everything; samples and batches only describe."""
        network = Closed((Station("s", 0.1), Station("t", 0.2, 1, "ps")), 8, 1.0)
        assert simulate(network, 3000, seed=9) == simulate(network, 3000, seed=9)
        assert simulate(network, 3000, seed=9) != simulate(network, 3000, seed=10)
        kept = simulate(network, 3000, seed=9, samples=True)
        assert kept.samples is not None
        assert float(kept.samples.mean()) == pytest.approx(simulate(network, 3000, seed=9).response.mean)

    @pytest.mark.parametrize(
        ("make", "told"),
        [
            (lambda: Station("s", 0.0), "service"),
            (lambda: Station("s", 1.0, discipline="lifo"), "lifo"),  # type: ignore[arg-type]
            (lambda: Open((Station("s", 1.0),), 1.0), "grows for ever"),
            (lambda: Open((), 1.0), "station"),
            (lambda: Closed((Station("s", 1.0),), 0), "users"),
            (lambda: simulate(Open((Station("s", 1.0),), 0.5), 10), "30 batches"),
        ],
    )
    def test_what_makes_no_sense(self, make, told: str) -> None:  # type: ignore[no-untyped-def]
        """Refused with what is wrong."""
        with pytest.raises(ValueError, match=told):
            make()

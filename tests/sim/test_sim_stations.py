"""CPU stations against queueing theory and against the quota's arithmetic by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.analytic import mva, ps_sojourn, quota_elapsed
from sim.engine.stations import Cpu
from sim.random import Stream


def finish_times(cpu: Cpu, env: simpy.Environment, jobs: list[tuple[float, float]]) -> list[float]:
    """When each job (arrival, demand) is done."""
    done = [math.nan] * len(jobs)

    def job(index: int, at: float, demand: float):  # type: ignore[no-untyped-def]
        yield env.timeout(at)
        yield cpu.work(demand)
        done[index] = env.now

    for index, (at, demand) in enumerate(jobs):
        env.process(job(index, at, demand))
    env.run()
    return done


def event_by_event(
    jobs: list[tuple[Fraction, Fraction]], cores: int, quota: Fraction, period: Fraction
) -> list[Fraction]:
    """The same in exact arithmetic, with an event for every arrival, end, spent budget and new period."""
    left = [demand for _, demand in jobs]
    done: list[Fraction | None] = [None] * len(jobs)
    now, budget, boundary = Fraction(0), quota * period, period
    while any(at is None for at in done):
        present = [i for i, (at, _) in enumerate(jobs) if at <= now and left[i] > 0]
        waits = [boundary - now] + [at - now for at, _ in jobs if at > now]
        rate = min(Fraction(1), Fraction(cores, len(present))) if present and budget else Fraction(0)
        if rate:
            waits += [budget / (rate * len(present)), min(left[i] for i in present) / rate]
        wait = min(waits)
        now += wait
        budget -= wait * rate * len(present)
        for i in present:
            left[i] -= wait * rate
            if left[i] == 0:
                done[i] = now
        if now == boundary:
            boundary, budget = boundary + period, quota * period
    return [at for at in done if at is not None]


class TestProcessorSharing:
    """Cpu without a quota."""

    def test_two_jobs_share_one_core(self) -> None:
        """A job of 1 s that is joined half way by a job of 1 s ends at 1.5 s, the other at 2 s."""
        env = simpy.Environment()
        assert finish_times(Cpu(env, 1), env, [(0.0, 1.0), (0.5, 1.0)]) == pytest.approx([1.5, 2.0])

    def test_a_job_uses_one_core_at_most(self) -> None:
        """Two jobs on four cores do not slow each other down, five do."""
        env = simpy.Environment()
        assert finish_times(Cpu(env, 4), env, [(0.0, 1.0)] * 2) == pytest.approx([1.0, 1.0])
        env = simpy.Environment()
        assert finish_times(Cpu(env, 4), env, [(0.0, 1.0)] * 5) == pytest.approx([1.25] * 5)

    @pytest.mark.parametrize(("cores", "rate"), [(1, 0.7), (2, 1.5)])
    def test_open_station_agrees_with_theory(self, cores: int, rate: float) -> None:
        """Mean sojourn of Poisson arrivals equals M/M/c-PS, also for a service far from exponential."""
        for stream, demand in (("exp", None), ("two-point", (0.2, 4.2))):
            arrivals, services = Stream(7, "arrival", stream), Stream(7, "service", stream)
            now, jobs = 0.0, []
            for index in range(60_000):
                now += arrivals.exponential(index) / rate
                # 0.2 with 80 % and 4.2 with 20 % have mean 1 as well.
                work = (
                    services.exponential(index) if demand is None else demand[services.uniform(index) < 0.2]
                )
                jobs.append((now, work))
            env = simpy.Environment()
            done = finish_times(Cpu(env, cores), env, jobs)
            mean = float(np.mean([end - at for end, (at, _) in zip(done, jobs, strict=True)]))
            assert mean == pytest.approx(ps_sojourn(rate, 1.0, cores), rel=0.05)

    def test_closed_network_agrees_with_mva(self) -> None:
        """Users that think and visit two CPUs in turn get the throughput and response time of exact MVA."""
        env = simpy.Environment()
        cpus = [Cpu(env, 1), Cpu(env, 1)]
        demands, think, users, horizon = [0.03, 0.05], 0.4, 8, 4000.0
        responses: list[float] = []

        def user(number: int):  # type: ignore[no-untyped-def]
            draws = Stream(3, "user", str(number))
            while True:
                yield env.timeout(think * draws.exponential(draws.next()))
                start = env.now
                for cpu, demand in zip(cpus, demands, strict=True):
                    yield cpu.work(demand * draws.exponential(draws.next()))
                responses.append(env.now - start)

        for number in range(users):
            env.process(user(number))
        env.run(until=horizon)
        throughput, response = mva(demands, think, users)
        assert len(responses) / horizon == pytest.approx(throughput, rel=0.02)
        assert float(np.mean(responses)) == pytest.approx(response, rel=0.03)


class TestQuota:
    """Cpu under a CFS quota."""

    def test_one_job_by_hand(self) -> None:
        """Half a core in periods of 10 ms: 12 ms of work run 5 ms, wait 5, run 5, wait 5, run 2."""
        env = simpy.Environment()
        assert finish_times(Cpu(env, 2, 0.5, 0.01), env, [(0.0, 0.012)]) == pytest.approx([0.022])
        assert quota_elapsed(0.012, 0.5, 0.01) == pytest.approx(0.022)

    def test_two_jobs_use_the_quota_up_twice_as_fast(self) -> None:
        """Two jobs on two cores use 5 ms of quota in 2.5 ms, then both stand still to the period's end."""
        env = simpy.Environment()
        done = finish_times(Cpu(env, 2, 0.5, 0.01), env, [(0.0, 0.004), (0.0, 0.004)])
        assert done == pytest.approx([0.0115, 0.0115])

    def test_unused_quota_is_not_carried_over(self) -> None:
        """A job that comes at 8 ms into a period has 2 ms of it, whatever was left unused before."""
        env = simpy.Environment()
        done = finish_times(Cpu(env, 1, 0.5, 0.01), env, [(0.008, 0.006)])
        assert done == pytest.approx([0.014])

    @settings(max_examples=150, deadline=None)
    @given(
        jobs=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=6),
        cores=st.sampled_from([1, 2]),
        quota=st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(4, 5)]),
    )
    def test_agrees_with_event_by_event(
        self, jobs: list[tuple[int, int]], cores: int, quota: Fraction
    ) -> None:
        """The closed-form advance gives the end times of a naive simulation in exact arithmetic.

        Demands are odd multiples of an odd unit, so that no job ends in the very moment in which the
        budget does: there a rounding error decides whether the end shows a period later.
        """
        exact = [(Fraction(at, 1009), Fraction(demand, 997)) for at, demand in jobs]
        env = simpy.Environment()
        cpu = Cpu(env, cores, float(quota), 0.01)
        done = finish_times(cpu, env, [(float(at), float(demand)) for at, demand in exact])
        expected = event_by_event(exact, cores, quota, Fraction(1, 100))
        assert done == pytest.approx([float(at) for at in expected], abs=1e-8)
        assert cpu.busy == pytest.approx(float(sum(demand for _, demand in exact)))


class TestProcesses:
    """Pausing and killing whoever the jobs belong to."""

    def test_pause_stops_the_clock_of_its_jobs_only(self) -> None:
        """A paused job takes up its rest later; the other has the core to itself meanwhile."""
        env = simpy.Environment()
        cpu = Cpu(env, 1)
        ends: dict[str, float] = {}
        cpu.submit(1.0, lambda: ends.setdefault("a", env.now), "a", "shared")
        cpu.submit(1.0, lambda: ends.setdefault("b", env.now), "b")
        env.run(until=0.5)
        cpu.pause("shared")
        env.run(until=2.0)
        assert ends == {"b": pytest.approx(1.25)}
        cpu.resume("shared")
        env.run()
        assert ends["a"] == pytest.approx(2.75)

    def test_dropped_and_cancelled_jobs_never_end(self) -> None:
        """Jobs of a dead process and cancelled jobs leave the core to the others."""
        env = simpy.Environment()
        cpu = Cpu(env, 1)
        ends: list[str] = []
        cpu.submit(1.0, lambda: ends.append("dead"), "dead")
        job = cpu.submit(1.0, lambda: ends.append("cancelled"), "c")
        cpu.submit(1.0, lambda: ends.append("alive"), "alive")
        env.run(until=0.3)
        cpu.drop("dead")
        cpu.cancel(job)
        env.run()
        assert ends == ["alive"]
        assert env.now == pytest.approx(1.2)
        assert cpu.busy == pytest.approx(1.2)


def test_a_group_out_of_quota_says_how_long_it_stands_still() -> None:
    """With 5 ms per 10 ms used up at 5 ms, 5 ms of standing still are left; a fresh period has none."""
    env = simpy.Environment()
    cpu = Cpu(env, 2.0, quota=0.5, period=0.010)
    cpu.submit(0.006, lambda: None)
    found = {}
    for at in (0.002, 0.0051, 0.008, 0.0105, 0.013):
        env.run(until=at)
        found[at] = cpu.stalled()
    assert found == {
        0.002: 0.0,
        0.0051: pytest.approx(0.0049),
        0.008: pytest.approx(0.002),
        0.0105: 0.0,
        0.013: 0.0,
    }

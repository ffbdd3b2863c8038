"""Control groups that share a machine: by hand, by the rules of fair sharing, by queueing theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import simpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.workload import ProbeStream, Workload
from sim.analytic import ps_sojourn
from sim.calibration import Calibration
from sim.engine.machines import Machine, water_level
from sim.engine.stations import Cpu
from sim.machine import CLUSTER_BUSY, cores_for_sites, filled, offered
from sim.program import Program, compile_program
from sim.random import Stream
from topologies import loader

Jobs = list[tuple[int, float, float]]


def finish_times(make: Callable[[simpy.Environment], list[Cpu]], jobs: Jobs) -> list[float]:
    """When each job (group, arrival, demand) is done."""
    env = simpy.Environment()
    cpus = make(env)
    done = [math.nan] * len(jobs)

    def job(index: int, group: int, at: float, demand: float):  # type: ignore[no-untyped-def]
        yield env.timeout(at)
        yield cpus[group].work(demand)
        done[index] = env.now

    for index, one in enumerate(jobs):
        env.process(job(index, *one))
    env.run()
    return done


def shared(
    cores: float, groups: int, own: float = 2, quota: float | None = None, period: float = 0.01
) -> Callable[[simpy.Environment], list[Cpu]]:
    """Groups of one machine."""

    def make(env: simpy.Environment) -> list[Cpu]:
        machine = Machine(env, cores)
        return [machine.share(own, quota, period) for _ in range(groups)]

    return make


def alone(groups: int, own: float, quota: float, period: float) -> Callable[[simpy.Environment], list[Cpu]]:
    """As many CPUs of their own."""
    return lambda env: [Cpu(env, own, quota, period) for _ in range(groups)]


def event_by_event(
    jobs: list[tuple[int, Fraction, Fraction]],
    groups: int,
    cores: Fraction,
    quota: Fraction,
    period: Fraction,
) -> list[Fraction]:
    """The same in exact arithmetic, with an event for every arrival, end, spent budget and new period."""
    left = [demand for _, _, demand in jobs]
    done: list[Fraction | None] = [None] * len(jobs)
    now, budgets, boundary = Fraction(0), [quota * period] * groups, period
    while any(at is None for at in done):
        present = [
            [i for i, (group, at, _) in enumerate(jobs) if group == k and at <= now and left[i] > 0]
            for k in range(groups)
        ]
        rates = [Fraction(0)] * groups
        rest, hungry = cores, [k for k in range(groups) if present[k] and budgets[k]]
        while hungry:
            k = min(hungry, key=lambda k: min(len(present[k]), 2))
            rates[k] = min(Fraction(min(len(present[k]), 2)), rest / len(hungry))
            rest -= rates[k]
            hungry.remove(k)
        waits = [boundary - now] + [at - now for _, at, _ in jobs if at > now]
        for k in range(groups):
            if rates[k]:
                waits += [
                    budgets[k] / rates[k],
                    min(left[i] for i in present[k]) * len(present[k]) / rates[k],
                ]
        wait = min(waits)
        now += wait
        for k in range(groups):
            budgets[k] -= wait * rates[k]
            for i in present[k]:
                left[i] -= wait * rates[k] / len(present[k])
                if left[i] == 0:
                    done[i] = now
        if now == boundary:
            boundary, budgets = boundary + period, [quota * period] * groups
    return [at for at in done if at is not None]


class TestFairness:
    """How cores are shared out."""

    @given(
        demands=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 4.0]), min_size=1, max_size=9),
        cores=st.floats(0.5, 8.0),
    )
    def test_max_min(self, demands: list[float], cores: float) -> None:
        """Who wants more than the level gets the level, the others what they want, and no core is idle."""
        assume(sum(demands) > cores)
        level = water_level(demands, cores)
        given_out = [min(demand, level) for demand in demands]
        assert sum(given_out) == pytest.approx(cores)
        assert max(given_out) == pytest.approx(level)

    def test_a_small_demand_leaves_the_rest_to_the_others(self) -> None:
        """A quarter of a core for who wants no more; the others halve what is left of two cores."""
        assert water_level([2.0, 0.25, 2.0], 2.0) == pytest.approx(0.875)
        assert water_level([2.0, 1.0], 2.0) == pytest.approx(1.0)


class TestMachine:
    """Groups of one machine."""

    def test_three_groups_on_two_cores(self) -> None:
        """Three groups of a job each get two thirds of a core; when the short one ends, both others one."""
        done = finish_times(shared(2.0, 3), [(0, 0.0, 1.0), (1, 0.0, 1.0), (2, 0.0, 0.5)])
        assert done == pytest.approx([1.25, 1.25, 0.75])

    def test_shares_go_to_groups_and_not_to_jobs(self) -> None:
        """One core, a group of one job and one of three: half a core each, a sixth for each of the three."""
        done = finish_times(shared(1.0, 2), [(0, 0.0, 0.5), *[(1, 0.0, 0.5)] * 3])
        assert done == pytest.approx([1.0, 2.0, 2.0, 2.0])

    def test_who_has_used_up_its_quota_leaves_its_cores_to_the_others(self) -> None:
        """Two groups of 4 ms in 10 on one core have spent them after 8 ms; each needs 1 ms more from 10."""
        done = finish_times(shared(1.0, 2, quota=0.4), [(0, 0.0, 0.005), (1, 0.0, 0.005)])
        assert done == pytest.approx([0.012, 0.012])
        done = finish_times(shared(1.0, 2, quota=0.4), [(0, 0.0, 0.002), (1, 0.0, 0.005)])
        assert done == pytest.approx([0.004, 0.011])

    @settings(max_examples=120, deadline=None)
    @given(
        jobs=st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=7
        ),
        cores=st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2)]),
        quota=st.sampled_from([Fraction(1, 4), Fraction(1, 2), Fraction(4, 5)]),
    )
    def test_agrees_with_event_by_event(
        self, jobs: list[tuple[int, int, int]], cores: Fraction, quota: Fraction
    ) -> None:
        """The machine gives the end times of a naive simulation in exact arithmetic."""
        exact = [(group, Fraction(at, 1009), Fraction(demand, 997)) for group, at, demand in jobs]
        make = shared(float(cores), 3, 2, float(quota), 0.01)
        done = finish_times(make, [(group, float(at), float(demand)) for group, at, demand in exact])
        expected = event_by_event(exact, 3, cores, quota, Fraction(1, 100))
        assert done == pytest.approx([float(at) for at in expected], abs=1e-8)

    @settings(max_examples=60, deadline=None)
    @given(
        jobs=st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=8
        ),
        quota=st.sampled_from([0.25, 0.5, 4.0]),
    )
    def test_with_cores_for_all_nobody_notices(self, jobs: list[tuple[int, int, int]], quota: float) -> None:
        """Three groups of two cores on a machine of six end when they do on CPUs of their own."""
        real = [(group, at / 1009, demand / 997) for group, at, demand in jobs]
        mine = finish_times(shared(6.0, 3, 2, quota, 0.01), real)
        assert mine == pytest.approx(finish_times(alone(3, 2, quota, 0.01), real), abs=1e-8)

    def test_open_machine_agrees_with_theory(self) -> None:
        """One group that may use both cores at 66 %: the mean sojourn of M/M/2-PS, 1.8 times the work."""
        means = []
        for batch in range(20):
            arrivals, services = Stream(batch, "arrival", "m"), Stream(batch, "service", "m")
            now, jobs = 0.0, []
            for index in range(3000):
                now += arrivals.exponential(index) / 1.32
                jobs.append((0, now, services.exponential(index)))
            done = finish_times(shared(2.0, 1), jobs)
            spent = [end - at for end, (_, at, _) in zip(done, jobs, strict=True)]
            means.append(float(np.mean(spent[300:])))
        error = float(np.std(means, ddof=1)) / math.sqrt(len(means))
        assert abs(float(np.mean(means)) - ps_sojourn(1.32, 1.0, 2)) < 3 * error

    def test_pausing_a_group_leaves_the_machine_to_the_other(self) -> None:
        """Half a core each until 1 s, then one is stopped: the other ends at 1.5 s; resumed, at 3.5 s."""
        env = simpy.Environment()
        one, other = shared(1.0, 2)(env)
        ends: dict[str, float] = {}
        one.submit(1.0, lambda: ends.setdefault("one", env.now), "a")
        other.submit(1.0, lambda: ends.setdefault("other", env.now), "b")
        env.run(until=1.0)
        one.pause("a")
        env.run(until=3.0)
        one.resume("a")
        env.run()
        assert ends == {"other": pytest.approx(1.5), "one": pytest.approx(3.5)}
        assert [one.busy, other.busy] == pytest.approx([1.0, 1.0])

    def test_a_group_out_of_quota_says_how_long_it_stands_still(self) -> None:
        """With 5 ms per 10 ms spent at 5 ms, 5 ms of standing still are left; a fresh period has none."""
        env = simpy.Environment()
        cpu = shared(2.0, 1, quota=0.5)(env)[0]
        cpu.submit(0.006, lambda: None)
        found = []
        for at in (0.002, 0.0051, 0.0105, 0.013):
            env.run(until=at)
            found.append(cpu.stalled())
        assert found == [0.0, pytest.approx(0.0049), 0.0, 0.0]


class TestProgram:
    """Which programs share a machine, and how much of it."""

    def test_only_a_lab_shares(self) -> None:
        """Sites of production size have their own machines; what a lab shares survives being written down."""
        topology = loader.load("iris-3site-galera", size="lab")
        lab = compile_program(topology, Workload(), size="lab")
        production = compile_program(topology, Workload(), size="production")
        assert production.arrays["cpu_set"].tolist() == [-1, -1, -1]
        assert not len(production.arrays["set_cores"])
        again = Program.from_json(lab.to_json())
        assert again.arrays["cpu_set"].tolist() == lab.arrays["cpu_set"].tolist()
        assert again.arrays["set_cores"].tolist() == lab.arrays["set_cores"].tolist()

    def test_a_site_of_half_a_core_is_tied_to_a_cpu(self) -> None:
        """Three sites on two CPUs: two share the first; what the lab itself needs comes off the other one."""
        topology = loader.load("iris-3site-galera", size="lab")
        lab = compile_program(topology, Workload(), size="lab").arrays
        assert lab["cpu_set"].tolist() == [0, 1, 0]
        assert lab["cpu_cores"].tolist() == [1.0, 1.0, 1.0]
        first, second = lab["set_cores"].tolist()
        assert first == 1.0
        assert 0.5 <= second < 1.0

    def test_with_a_larger_site_nobody_is_tied(self) -> None:
        """A site of more than a core needs several CPUs: then all share the whole machine."""
        topology = loader.load("iris-3site-galera", size="lab").with_("sites.cam.cpu=1.5")
        lab = compile_program(topology, Workload(), size="lab").arrays
        assert lab["cpu_set"].tolist() == [0, 0, 0]
        assert lab["cpu_cores"].tolist() == [2.0, 2.0, 2.0]
        assert len(lab["set_cores"]) == 1

    @given(
        st.lists(st.floats(0, 5), min_size=1, max_size=6),
        st.floats(0, 10),
    )
    def test_water_fills_the_lowest_places_first(self, heights: list[float], amount: float) -> None:
        """Up to the level that is found there is room for exactly the amount."""
        level = filled(heights, amount)
        assert sum(max(0.0, level - height) for height in heights) == pytest.approx(amount, abs=1e-9)

    def test_the_lab_takes_its_part(self) -> None:
        """Two cores less the CPU that requests cost the lab, and what every cluster needs for itself."""
        topology = loader.load("iris-3site-galera", size="lab")
        calibration = Calibration.default()
        quiet = Workload(users=1, think=1e6, probes=(ProbeStream(rate=10.0),))
        assert offered(topology, quiet, calibration) == pytest.approx(30.0, rel=1e-3)
        left = cores_for_sites(topology, quiet, calibration, 0)
        assert left == pytest.approx(2.0 - 30.0 * calibration.load_cpu.mean, rel=1e-3)
        assert cores_for_sites(topology, quiet, calibration, 2) == pytest.approx(left - 2 * CLUSTER_BUSY)

    def test_offered_load_is_bounded_by_users_and_by_quotas(self) -> None:
        """Few users ask as often as they think; thousands ask no more than all quotas together can answer."""
        topology = loader.load("iris-3site-galera", size="lab")
        calibration = Calibration.default()
        few = Workload(users=2, think=10.0, flow="access-token", probes=())
        cost = calibration.requests["access-token"]
        work = cost.app_cpu.mean + cost.db_cpu.mean
        assert offered(topology, few, calibration) == pytest.approx(2 / (10.0 + work))
        many = few.model_copy(update={"users": 10_000})
        granted = sum(site.cpu for site in topology.sites.values())
        assert offered(topology, many, calibration) == pytest.approx(min(granted, 2.0) / work)

    def test_sites_keep_their_fair_share(self) -> None:
        """A lab that would need the whole machine leaves three sites three quarters of it."""
        topology = loader.load("iris-3site-galera", size="lab")
        calibration = Calibration.default()
        greedy = Workload(probes=(ProbeStream(rate=200.0),) * 4)
        assert cores_for_sites(topology, greedy, calibration, 0) == pytest.approx(1.5)

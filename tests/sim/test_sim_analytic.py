"""Closed forms against each other, against brute force, and against what the simulator does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import analytic
from sim.protocols.certification import EXCLUSIVE, WriteSet, certify, key, new_index
from topologies.loader import load


class TestQueues:
    """One station."""

    @given(st.integers(1, 60), st.floats(0.01, 0.99))
    def test_erlang_c_is_the_sum_of_the_textbook(self, servers: int, share: float) -> None:
        """The recursion gives what the sum over states gives."""
        load = servers * share
        terms = [math.exp(k * math.log(load) - math.lgamma(k + 1)) for k in range(servers)]
        last = math.exp(servers * math.log(load) - math.lgamma(servers + 1)) * servers / (servers - load)
        assert analytic.erlang_c(servers, load) == pytest.approx(last / (sum(terms) + last), rel=1e-9)

    @given(st.floats(0.01, 0.95), st.floats(0.01, 10))
    def test_one_server_three_ways(self, load: float, service: float) -> None:
        """M/M/1 by Erlang, by Pollaczek and Khinchine, and by processor sharing."""
        rate = load / service
        wait = analytic.mmc_wait(rate, service, 1)
        assert wait == pytest.approx(load * service / (1 - load))
        assert analytic.mg1_wait(rate, service, 1.0) == pytest.approx(wait)
        assert analytic.ps_sojourn(rate, service) == pytest.approx(wait + service)
        assert analytic.ps_sojourn_given(rate, service, service) == pytest.approx(wait + service)

    @given(st.floats(0.1, 0.9), st.integers(1, 20))
    def test_the_mean_wait_is_that_of_its_quantiles(self, share: float, servers: int) -> None:
        """The integral of the wait's quantiles over (0, 1) is its mean."""
        rate = share * servers
        points = (np.arange(20_000) + 0.5) / 20_000
        waits = [analytic.mmc_wait_quantile(rate, 1.0, servers, float(point)) for point in points[::10]]
        assert float(np.mean(waits)) == pytest.approx(
            analytic.mmc_wait(rate, 1.0, servers), rel=0.02, abs=1e-3
        )

    def test_no_closed_form_beyond_saturation(self) -> None:
        """A queue that grows for ever has no mean."""
        for form in (lambda: analytic.erlang_c(2, 2.0), lambda: analytic.mg1_wait(1.0, 1.0, 1.0)):
            with pytest.raises(ValueError, match="more than"):
                form()

    @given(
        st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=60),
    )
    def test_lindley_is_the_recursion(self, pairs: list[tuple[float, float]]) -> None:
        """The unrolled form gives what one customer after the other gives."""
        gaps, services = [a for a, _ in pairs], [s for _, s in pairs]
        expected, wait = [], 0.0
        for index in range(len(pairs)):
            if index:
                wait = max(0.0, wait + services[index - 1] - gaps[index])
            expected.append(wait)
        assert analytic.lindley(gaps, services).tolist() == pytest.approx(expected, abs=1e-9)


class TestNetworks:
    """A fixed number of users."""

    @settings(deadline=None)
    @given(st.lists(st.floats(0.001, 1), min_size=1, max_size=5), st.floats(0, 5), st.integers(1, 60))
    def test_mean_values_and_convolution_agree(self, demands: list[float], think: float, users: int) -> None:
        """Two algorithms of the same network; the operational bounds hold."""
        rate, response = analytic.mva(demands, think, users)
        again, slower = analytic.closed_multiserver(demands, [1] * len(demands), think, users)
        assert again == pytest.approx(rate, rel=1e-9)
        assert slower == pytest.approx(response, rel=1e-6, abs=1e-9)
        assert rate <= min(1 / max(demands), users / (think + sum(demands))) * (1 + 1e-9)

    def test_more_servers_against_a_birth_death_chain(self) -> None:
        """One station of three servers and a think time: the states solved one by one."""
        users, think, demand, servers = 12, 1.0, 0.5, 3
        chance = [1.0]
        for present in range(1, users + 1):
            chance.append(chance[-1] * (users - present + 1) / think / (min(present, servers) / demand))
        total = sum(chance)
        rate = sum(p * min(n, servers) / demand for n, p in enumerate(chance)) / total
        assert analytic.closed_multiserver([demand], [servers], think, users)[0] == pytest.approx(rate)

    def test_it_stays_exact_near_saturation(self) -> None:
        """Five hundred users on eight cores: the throughput is the cores' and no digit is lost."""
        rate, response = analytic.closed_multiserver([0.1, 0.01], [8, 1], 1.0, 500)
        assert rate == pytest.approx(80.0, rel=1e-6)
        assert response == pytest.approx(500 / 80 - 1, rel=1e-6)

    @given(st.integers(0, 6), st.integers(0, 6))
    def test_classes_that_are_alike_are_one_class(self, some: int, others: int) -> None:
        """Splitting the users changes nothing but the share each class gets."""
        demands, think = [0.2, 0.05], 0.7
        found = analytic.mva_classes([demands, demands], [think, think], [some, others])
        rate, response = analytic.mva(demands, think, some + others)
        assert sum(result.throughput for result in found) == pytest.approx(rate)
        for result, size in zip(found, (some, others), strict=True):
            if size:
                assert result.response == pytest.approx(response)

    def test_too_many_populations(self) -> None:
        """Said before hours are spent."""
        with pytest.raises(ValueError, match="populations"):
            analytic.mva_classes([[0.1]] * 4, [1.0] * 4, [100] * 4)

    def test_saturation_is_where_the_bounds_meet(self) -> None:
        """Below it the users set the throughput, above it the busiest station."""
        demands, think = [0.2, 0.1], 3.0
        assert analytic.saturation(demands, think) == pytest.approx(16.5)


class TestOrdering:
    """Galera's closed ordering formula."""

    def test_measured_values(self) -> None:
        """The values of components.md 1.2.

        One round trip for two, one and a half for more, the slowest pair for an uneven triangle; with a
        LAN inside two sites one round trip again.
        """
        pair = [[0.0, 0.05], [0.05, 0.0]]
        assert analytic.commit_latency(pair, 0) == pytest.approx(0.1)
        assert analytic.visibility(pair, 0) == pytest.approx(0.05)
        for count in (3, 4, 5):
            full = [[0.0 if a == b else 0.05 for b in range(count)] for a in range(count)]
            assert analytic.commit_latency(full, 0) == pytest.approx(0.15)
            assert analytic.visibility(full, 0) == pytest.approx(0.0)
        uneven = [[0.0, 0.015, 0.05], [0.015, 0.0, 0.1], [0.05, 0.1, 0.0]]
        found = [analytic.commit_latency(uneven, origin) for origin in range(3)]
        assert found == pytest.approx([0.165, 0.2, 0.2])
        halves = [[0.0 if (a < 2) == (b < 2) else 0.05 for b in range(4)] for a in range(4)]
        assert analytic.commit_latency(halves, 0) == pytest.approx(0.1)

    def test_delays_come_from_the_topology(self) -> None:
        """Half of each link's round trip."""
        deployed = load("iris-3site-galera").with_("links[0].rtt=100ms")
        sites, delay = analytic.member_delays(deployed, "db")
        a, b = deployed.links[0].between
        assert delay[sites.index(a)][sites.index(b)] == pytest.approx(0.05)
        with pytest.raises(ValueError, match="Galera"):
            analytic.member_delays(deployed, "iam")


def failures(
    members: int, rate: float, window: float, keys: int, rows: int, seconds: float, seed: int = 1
) -> float:
    """Certification failures per second of ``members`` that each write ``rate`` per second.

    A write set is ordered ``window`` after its COMMIT, at which it has seen what was ordered by then.
    """
    generator = np.random.default_rng(seed)
    count = int(members * rate * seconds)
    ordered = np.sort(generator.uniform(0, seconds, count))
    seen = np.searchsorted(ordered, ordered - window, side="right")
    sources = generator.integers(0, members, count)
    touched = generator.integers(0, rows, (count, keys))
    index, failed = new_index(), 0
    for number in range(count):
        packed = tuple(key(int(row), EXCLUSIVE) for row in touched[number])
        failed += not certify(index, WriteSet(int(sources[number]), int(seen[number]), packed), number + 1).ok
    return failed / seconds


class TestConflicts:
    """The certification of the simulator against Gray's argument, where conflicts are few."""

    RATE, WINDOW, KEYS, ROWS = 100.0, 0.02, 4, 4000

    def test_probability_of_a_failure(self) -> None:
        """Within three standard errors of the closed form, or 4 % of it (failed sets spoil nobody)."""
        seconds, members = 150.0, 3
        found = failures(members, self.RATE, self.WINDOW, self.KEYS, self.ROWS, seconds)
        others = self.RATE * (members - 1)
        expected = (
            analytic.certification_failure(others, self.WINDOW, self.KEYS, self.ROWS) * self.RATE * members
        )
        error = 3 * math.sqrt(expected / seconds)
        assert found == pytest.approx(expected, abs=max(error, 0.04 * expected))

    def test_slopes(self) -> None:
        """Second power of the rate and of the keys, inverse of the rows.

        With the nodes as n(n - 1), and with their third power once the window grows with them: Gray's.
        """
        seconds = 60.0

        def slope(low: float, high: float, factor: float) -> float:
            return math.log(high / low) / math.log(factor)

        def found(**changes: float) -> float:
            given = {
                "members": 3,
                "rate": self.RATE,
                "window": self.WINDOW,
                "keys": self.KEYS,
                "rows": self.ROWS,
            }
            return failures(seconds=seconds, **(given | changes))  # type: ignore[arg-type]

        base = found()
        assert slope(base, found(rate=2 * self.RATE), 2) == pytest.approx(2, abs=0.25)
        assert slope(base, found(rows=2 * self.ROWS), 2) == pytest.approx(-1, abs=0.25)
        assert slope(base, found(keys=2 * self.KEYS), 2) == pytest.approx(2, abs=0.25)
        # n(n - 1): 2 -> 6 members is fifteen times as much, and three times that with the longer window.
        two, six = found(members=2), found(members=6)
        assert six / two == pytest.approx(15, rel=0.25)
        longer = found(members=6, window=3 * self.WINDOW)
        assert longer / two == pytest.approx(45, rel=0.25)

    @given(st.integers(1, 50))
    def test_gray_pays_the_third_power_of_the_nodes(self, nodes: int) -> None:
        """Ten times the nodes, a thousand times the deadlocks; a primary copy pays the second power."""
        at = {"tps": 10.0, "action_time": 0.01, "actions": 4, "rows": 1e6}
        one, many = (analytic.eager_deadlocks(**at, nodes=n) for n in (nodes, 10 * nodes))
        assert many / one == pytest.approx(1000)
        one, many = (analytic.lazy_group_reconciliations(**at, nodes=n) for n in (nodes, 10 * nodes))
        assert many / one == pytest.approx(1000)
        one, many = (analytic.lazy_master_deadlocks(**at, nodes=n) for n in (nodes, 10 * nodes))
        assert many / one == pytest.approx(100)
        assert analytic.wait_probability(**at) < 1e-3

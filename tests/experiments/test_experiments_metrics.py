"""Metrics of observations made by hand, whose numbers can be worked out on paper."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.catalogue import CATALOGUE, ERROR_KINDS, EVENT_SOURCES, WINDOWS, MetricKey
from experiments.metrics import MetricValue, observed_windows, reduce
from experiments.observation import OUTCOMES, REQUEST_COLUMNS, Audit, Event, Observation
from experiments.workload import ProbeStream, Workload
from topologies.loader import load

TOPOLOGY = load("iris-3site-galera", size="lab")
WORKLOAD = Workload(
    duration=100.0,
    warmup=10.0,
    probes=(ProbeStream(flow="health", rate=2.0), ProbeStream(flow="access-token", rate=1.0)),
)
Row = tuple[float, float, str, str, str, str, str, str]
"""start, latency, source, site, flow, request, outcome, front end."""


def seen(
    rows: Sequence[Row],
    *,
    events: Sequence[Event] = (),
    audit: Audit = Audit(),  # noqa: B008 - immutable
    windows: tuple[tuple[float, float], ...] = ((40.0, 60.0),),
) -> Observation:
    """An observation of 100 s with a fault from 40 to 60 s."""
    names = ["start", "latency", "source", "site", "flow", "request", "outcome", "front_end"]
    requests = pd.DataFrame(list(rows), columns=names)
    requests["status"] = np.where(requests["outcome"] == "ok", 200, 500)
    requests = requests[list(REQUEST_COLUMNS)].astype({"start": float, "latency": float})
    return Observation(requests, tuple(events), audit, 100.0, 10.0, windows)


def user(
    at: float, latency: float = 0.1, outcome: str = "ok", site: str = "ral", step: str = "password"
) -> Row:
    """A user's request."""
    return (at, latency, "load", site, "workflow", step, outcome, site)


def probe(at: float, outcome: str = "ok", site: str = "ral", flow: str = "health") -> Row:
    """A probe that takes 10 ms."""
    return (at, 0.01, "probe", site, flow, flow, outcome, site)


def values(observation: Observation) -> dict[str, MetricValue]:
    """Its metrics."""
    return reduce(observation, TOPOLOGY, WORKLOAD)


class TestLoad:
    """What the users got."""

    def test_throughput_counts_ok_answers_by_completion(self) -> None:
        """An answer that arrives after the window's end is not the window's."""
        found = values(seen([user(39.95, 0.1), user(38.0), user(41.0), user(42.0, 0.1, "conflict")]))
        assert found["throughput{flow=workflow}@before"].value == pytest.approx(1 / 30)
        assert found["throughput{flow=workflow}@fault"].value == pytest.approx(2 / 20)
        assert found["throughput{flow=workflow}@whole"].value == pytest.approx(3 / 90)

    def test_ratios_belong_to_the_window_of_the_start(self) -> None:
        """A request that starts before the fault and fails in it counts before."""
        found = values(seen([user(39.0, 5.0, "timeout"), user(38.0), user(45.0)]))
        assert found["success_ratio{flow=workflow}@before"].value == 0.5
        assert found["error_ratio{flow=workflow,kind=timeout}@before"].value == 0.5
        assert found["success_ratio{flow=workflow}@fault"].value == 1.0

    def test_the_warm_up_is_not_counted(self) -> None:
        """What starts in the first ten seconds is nowhere."""
        found = values(seen([user(9.9, 0.05, "conflict"), user(10.0)]))
        assert found["success_ratio{flow=workflow}@whole"] == MetricValue(1.0, 1, "ratio", 1.0)

    def test_percentiles_are_of_ok_answers_only(self) -> None:
        """A fast error does not improve the latency."""
        rows = [user(20 + i, latency=(i + 1) / 10) for i in range(11)] + [user(35.0, 0.001, "conflict")]
        found = values(seen(rows))
        assert found["latency_p50{flow=workflow}@before"].value == pytest.approx(0.6)
        assert found["latency_p80{flow=workflow}@before"].value == pytest.approx(0.9)
        assert found["latency_p95{flow=workflow}@whole"].value == pytest.approx(1.05)
        assert found["latency_p99{flow=workflow}@whole"].n == 11

    def test_the_mean_is_of_ok_answers_only(self) -> None:
        """One to eleven tenths of a second; a fast error does not count, a slow one neither."""
        rows = [user(20 + i, latency=(i + 1) / 10) for i in range(11)]
        rows += [user(35.0, 0.001, "conflict"), user(36.0, 9.0, "timeout")]
        found = values(seen(rows))
        assert found["latency_mean{flow=workflow}@whole"].value == pytest.approx(0.6)
        assert found["latency_mean{flow=workflow}@whole"].n == 11

    def test_scopes_are_the_whole_the_sites_and_the_requests(self) -> None:
        """A site's number is of the users next to it, whichever front end answered."""
        rows = [user(20.0), user(21.0, site="cam", outcome="stale", step="refresh"), user(22.0, site="cam")]
        found = values(seen(rows))
        assert found["success_ratio{site=cam,flow=workflow}@whole"].value == 0.5
        assert found["stale_reads{flow=workflow,request=refresh}@whole"].value == 1.0
        assert found["stale_reads{flow=workflow}@whole"].value == pytest.approx(1 / 3)
        assert "success_ratio{site=edi,flow=workflow}@whole" not in found

    def test_an_empty_window_has_no_numbers(self) -> None:
        """No request is not a success ratio of zero."""
        found = values(seen([user(20.0)]))
        assert not [key for key in found if key.endswith("@fault") and "workflow" in key]

    def test_what_is_open_at_the_end_is_no_sample(self) -> None:
        """Nobody knows how a request ends that outlives the run."""
        found = values(seen([user(99.0, 5.0, "timeout"), user(98.0)]))
        assert found["success_ratio{flow=workflow}@whole"] == MetricValue(1.0, 1, "ratio", 1.0)

    def test_an_unknown_outcome_is_a_failure(self) -> None:
        """A word that is not in the vocabulary counts as `other`, never as nothing."""
        found = values(seen([user(20.0, outcome="gremlins"), user(21.0)]))
        assert found["error_ratio{flow=workflow,kind=other}@whole"].value == 0.5


class TestProbes:
    """What the open-loop probes saw."""

    def test_availability_and_unavailability(self) -> None:
        """Ten failed probes at two per second are five seconds."""
        rows = [probe(t, "refused" if 45 <= t < 50 else "ok") for t in np.arange(10, 100, 0.5)]
        found = values(seen(rows))
        assert found["unavailability{site=ral,flow=health}@fault"] == MetricValue(5.0, 40, "s", 0.5)
        assert found["availability{site=ral,flow=health}@fault"].value == 0.75
        assert found["availability{site=ral,flow=health}@after"].value == 1.0
        assert found["recovery_time{site=ral,flow=health}@whole"] == MetricValue(5.0, 120, "s", 0.5)

    def test_without_a_site_the_worst_site_counts_for_times_and_all_for_shares(self) -> None:
        """One site that is down is not averaged away from a recovery time."""
        rows = [probe(t, site=s, outcome="timeout" if s == "edi" and 40 <= t < 48 else "ok")
                for t in np.arange(10, 100, 0.5) for s in ("ral", "cam", "edi")]  # fmt: skip
        found = values(seen(rows))
        assert found["recovery_time{flow=health}@whole"].value == 8.0
        assert found["unavailability{flow=health}@whole"].value == 8.0
        assert found["availability{flow=health}@fault"].value == pytest.approx(1 - 16 / 120)
        assert found["recovery_time{site=cam,flow=health}@whole"].value == 0.0

    def test_an_outage_before_the_fault_is_not_its_recovery(self) -> None:
        """Only what starts after the injection counts as recovering from it."""
        rows = [probe(t, "refused" if t < 30 else "ok") for t in np.arange(10, 100, 0.5)]
        found = values(seen(rows))
        assert found["recovery_time{site=ral,flow=health}@whole"].value == 0.0
        assert values(seen(rows, windows=()))["recovery_time{site=ral,flow=health}@whole"].value == 20.0

    def test_a_probe_under_way_at_the_injection_may_be_its_first_victim(self) -> None:
        """It was sent before the fault and failed because of it."""
        hung = (39.5, 5.0, "probe", "ral", "health", "health", "timeout", "ral")
        rows = (
            [probe(t) for t in np.arange(10, 39.5, 0.5)]
            + [hung]
            + [probe(t) for t in np.arange(43, 100, 0.5)]
        )
        assert values(seen(rows))["recovery_time{site=ral,flow=health}@whole"].value == 3.5

    def test_never_recovered_is_censored(self) -> None:
        """The value is a lower bound: from the first failure to the end of the load."""
        rows = [
            probe(t, "refused" if t >= 70 else "ok", flow="access-token") for t in np.arange(10, 100, 1.0)
        ]
        found = values(seen(rows))["recovery_time{site=ral,flow=access-token}@whole"]
        assert (found.value, found.censored, found.resolution) == (30.0, True, 1.0)

    def test_probes_and_load_of_one_flow_are_not_mixed(self) -> None:
        """Access-token probes are no users, though users may run a flow of that name."""
        workload = WORKLOAD.model_copy(update={"flow": "access-token"})
        user_row = (21.0, 0.1, "load", "ral", "access-token", "access-token", "ok", "ral")
        rows: list[Row] = [probe(20.0, "refused", flow="access-token"), user_row]
        found = reduce(seen(rows), TOPOLOGY, workload)
        assert found["success_ratio{flow=access-token}@whole"].value == 1.0
        assert found["availability{flow=access-token}@whole"].value == 0.0


class TestRun:
    """What belongs to the whole run."""

    def test_write_stall_is_the_longest_gap_around_the_fault(self) -> None:
        """Load and probes count, reads do not, and neither do isolated front ends."""
        cut = [Event(40.0, "ral-edi", "link.cut"), Event(40.0, "cam-edi", "link.cut")]
        rows = [user(t) for t in np.arange(10, 40, 0.5)]
        rows += [probe(t, flow="access-token") for t in np.arange(47, 100, 0.5)]
        rows += [probe(t) for t in np.arange(10, 100, 0.5)]  # reads
        rows += [user(42.0, site="edi")]
        found = values(seen(rows, events=cut))["write_stall@whole"]
        assert found.value == pytest.approx(47.01 - 39.6)
        assert found.resolution == pytest.approx(0.5)
        assert values(seen(rows))["write_stall@whole"].value == pytest.approx(47.01 - 42.1)

    def test_audit_numbers_pass_through_and_are_absent_when_nobody_looked(self) -> None:
        """No audit is not `nothing lost`."""
        found = values(seen([user(20.0)], audit=Audit(50, 2, 1, 7, 3, "all on 3 members")))
        assert found["lost_commits@whole"] == MetricValue(2.0, 50, "count")
        assert found["in_doubt_commits@whole"] == MetricValue(3.0, 7, "count")
        assert "lost_commits@whole" not in values(seen([user(20.0)]))

    def test_time_to_counts_from_the_first_injection(self) -> None:
        """Earlier events of that kind do not count; an event that never comes is censored."""
        events = [Event(5.0, "db@ral", "galera.view"), Event(45.5, "db@ral", "galera.view")]
        found = values(seen([user(20.0)], events=events))
        assert found["time_to{event=galera.view}@whole"] == MetricValue(5.5, 1, "s")
        never = found["time_to{event=redis.switch-master}@whole"]
        assert (never.value, never.censored, never.n) == (60.0, True, 0)

    def test_events_that_nobody_looked_for_are_left_out(self) -> None:
        """That none of them came says nothing, as when the logs of daemons cannot be read."""
        observation = replace(seen([user(20.0)]), extra={"unseen_events": ["galera.view"]})
        found = values(observation)
        assert "time_to{event=galera.view}@whole" not in found
        assert "time_to{event=dns.down}@whole" in found

    def test_events_of_services_that_are_not_there_are_left_out(self) -> None:
        """A topology without Galera has no time to a Galera view."""
        other = load("iris-2site-replication", size="lab")
        found = reduce(seen([user(20.0)]), other, WORKLOAD)
        assert not [key for key in found if "galera" in key]

    def test_without_a_fault_there_is_only_the_whole(self) -> None:
        """No injection: no windows around it, no stall, no reaction times."""
        found = values(seen([user(20.0), probe(21.0)], windows=()))
        assert {key.rpartition("@")[2] for key in found} == {"whole"}
        assert not [key for key in found if key.startswith(("write_stall", "time_to"))]

    def test_an_empty_observation_has_no_numbers_but_event_times(self) -> None:
        """Nothing was asked, so nothing is known about the service."""
        assert {MetricKey.parse(key).name for key in values(seen([]))} == {"time_to"}


class TestWindows:
    """Where the parts of a run begin and end."""

    def test_several_faults_make_one_window(self) -> None:
        """From the first injection to the last undo."""
        found = observed_windows(seen([], windows=((50.0, 55.0), (30.0, 35.0))))
        assert found == {"whole": (10, 100), "before": (10, 30), "fault": (30, 55), "after": (55, 100)}

    def test_a_fault_to_the_end_has_no_after(self) -> None:
        """Windows of no length are left out; times beyond the load are cut off."""
        assert set(observed_windows(seen([], windows=((10.0, 130.0),)))) == {"whole", "fault"}


rows_st = st.lists(
    st.builds(
        lambda at, lat, probing, site, step, outcome: (
            probe(at, outcome, site) if probing else user(at, lat, outcome, site, step)
        ),
        st.floats(0, 99).map(lambda x: round(x, 3)),
        st.floats(0.001, 12).map(lambda x: round(x, 3)),
        st.booleans(),
        st.sampled_from(["ral", "cam", "edi"]),
        st.sampled_from(["password", "refresh", "token-exchange"]),
        st.sampled_from(OUTCOMES),
    ),
    max_size=60,
)


class TestProperties:
    """What holds for every observation."""

    @given(rows_st, st.randoms(use_true_random=False))
    @settings(max_examples=40, deadline=None)
    def test_the_order_of_rows_does_not_matter(self, rows: list[Row], random: object) -> None:
        """A shuffled table has the same metrics."""
        shuffled = list(rows)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert values(seen(rows)) == values(seen(shuffled))

    @given(rows_st, st.integers(1, 500))
    @settings(max_examples=40, deadline=None)
    def test_a_shift_in_time_changes_nothing(self, rows: list[Row], shift: int) -> None:
        """Only times relative to one another count."""
        here = seen(rows, events=[Event(44.0, "db@edi", "galera.view")])
        there = dataclasses.replace(
            here,
            requests=here.requests.assign(start=here.requests["start"] + shift),
            events=tuple(dataclasses.replace(event, at=event.at + shift) for event in here.events),
            duration=here.duration + shift,
            warmup=here.warmup + shift,
            windows=tuple((a + shift, b + shift) for a, b in here.windows),
        )
        before, after = values(here), values(there)
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert after[key].value == pytest.approx(value.value, abs=1e-9), key
            assert after[key].censored == value.censored

    @given(rows_st)
    @settings(max_examples=40, deadline=None)
    def test_shares_of_all_outcomes_add_up_to_one(self, rows: list[Row]) -> None:
        """Every request is counted once: ok, stale, or one kind of error."""
        found = values(seen(rows))
        for window in WINDOWS:
            for scope in ("flow=workflow", "site=ral,flow=workflow"):
                if f"success_ratio{{{scope}}}@{window}" in found:
                    names = [f"success_ratio{{{scope}}}", f"stale_reads{{{scope}}}"]
                    names += [f"error_ratio{{{scope},kind={kind}}}" for kind in ERROR_KINDS]
                    assert math.fsum(found[f"{name}@{window}"].value for name in names) == pytest.approx(1)

    @given(rows_st)
    @settings(max_examples=40, deadline=None)
    def test_values_are_finite_and_keys_are_catalogued(self, rows: list[Row]) -> None:
        """Every key parses back to itself and is a scope and window of its metric; values are usable."""
        for text, value in values(seen(rows, audit=Audit(1, 0, 0, 0, 0, "all"))).items():
            key = MetricKey.parse(text)
            assert str(key) == text
            assert key.metric.allows(frozenset(key.scope)) and key.window in key.metric.windows
            assert math.isfinite(value.value) and value.value >= 0 and value.unit == key.metric.unit

    @given(rows_st)
    @settings(max_examples=40, deadline=None)
    def test_a_failed_probe_never_improves_anything(self, rows: list[Row]) -> None:
        """One more failure in the fault window cannot raise availability or shorten an outage."""
        rows = [*rows, probe(50.0)]
        good = values(seen(rows))
        bad = values(seen([*rows[:-1], probe(50.0, "refused")]))
        for name, sign in (("availability", 1), ("unavailability", -1), ("recovery_time", -1)):
            key = f"{name}{{site=ral,flow=health}}@whole"
            assert sign * good[key].value >= sign * bad[key].value - 1e-12

    def test_fast_enough_to_be_called_for_every_replication(self) -> None:
        """20 000 requests reduce in well under the time they take to simulate."""
        rng = np.random.default_rng(5)
        rows = [user(float(t), 0.05, site=s) for t, s in zip(rng.uniform(0, 100, 15_000), rng.choice(["ral", "cam", "edi"], 15_000), strict=True)]  # fmt: skip  # noqa: E501
        rows += [probe(float(t)) for t in rng.uniform(0, 100, 5_000)]
        observation = seen(rows)
        best = math.inf
        for _ in range(5):
            start = time.process_time()
            values(observation)
            best = min(best, time.process_time() - start)
        assert best < 0.05


class TestCatalogue:
    """The list of metrics itself."""

    def test_keys_refuse_what_is_not_catalogued(self) -> None:
        """Unknown names, windows and scope keys are errors that say what is known."""
        for text, why in (
            ("throughputs@whole", "unknown metric"),
            ("throughput@later", "one of whole, before, fault, after"),
            ("throughput{place=ral}@whole", "site, flow, request, kind, event"),
            ("throughput{site=}@whole", "as in site=ral"),
            ("throughput{site=ral,site=cam}@whole", "cannot read"),
            ("throughput", "cannot read"),
        ):
            with pytest.raises(ValueError, match=why):
                MetricKey.parse(text)

    def test_every_metric_says_what_it_is(self) -> None:
        """Each has a meaning, a definition, a direction, and is computed somewhere."""
        for name, metric in CATALOGUE.items():
            assert metric.name == name and metric.meaning and metric.definition and metric.scopes

    def test_every_kind_of_event_has_a_key(self) -> None:
        """All reaction times of a topology with every kind of service are in the table."""
        found = values(seen([user(20.0)]))
        assert {f"time_to{{event={kind}}}@whole" for kind in EVENT_SOURCES} <= set(found)

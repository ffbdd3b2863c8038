"""When a lab counts as disturbed."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.measure import pace
from chaos.measure.health import (
    CpuTimes,
    Health,
    Limits,
    Sample,
    quantile,
    read_samples,
    summarise,
    verdict,
)

GOOD = Health(
    seconds=60,
    busy=0.5,
    busy_worst=0.9,
    steal=0.0,
    relay_late=0.001,
    relay_worst=0.01,
    relay_silent=0,
    prober_late=0.002,
    prober_worst=0.01,
    load_share=0.1,
)

# Two readings of a two-core machine, one second apart: 100 ticks used, 10 stolen, of 200.
BEFORE = "cpu  1000 20 300 5000 40 5 6 70 11 12\ncpu0 1 2 3\n"
AFTER = "cpu  1060 25 330 5085 45 7 9 80 99 98\ncpu0 1 2 3\n"


def test_a_quiet_lab_is_undisturbed() -> None:
    """Below all limits there is no reason, and the text says so."""
    finding = verdict(GOOD)
    assert not finding.disturbed
    assert str(finding) == "the lab was undisturbed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"busy": 0.9}, "machine 90% busy (limit 85%)"),
        ({"steal": 0.1}, "10% of the CPU stolen"),
        ({"relay_late": 0.014}, "relay 14 ms late"),
        ({"relay_worst": 0.25}, "relay up to 250 ms late (limit 100 ms)"),
        ({"relay_silent": 4}, "relay did not answer for 4 s"),
        ({"prober_late": 0.04}, "one probe in a hundred 40 ms late"),
        ({"load_share": 0.95}, "a load generator used 95% of its core"),
        ({"seconds": 0}, "nothing was sampled"),
    ],
)
def test_each_limit_is_a_reason_of_its_own(change: dict[str, float], said: str) -> None:
    """Beyond one limit there is exactly one reason, with the number and the limit."""
    finding = verdict(replace(GOOD, **change))  # type: ignore[arg-type]
    assert finding.disturbed and len(finding.reasons) == 1
    assert said in str(finding)
    assert str(finding).startswith("the lab was disturbed: ")


def test_limits_can_be_chosen() -> None:
    """A stricter limit finds what the default lets pass."""
    assert verdict(GOOD, Limits(busy=0.4)).disturbed


def test_exactly_at_the_limit_is_still_undisturbed() -> None:
    """A limit is the last good value."""
    assert not verdict(replace(GOOD, busy=Limits.busy, relay_late=Limits.relay_late)).disturbed


def test_shares_come_from_the_kernels_ticks() -> None:
    """Used is everything but idle, iowait and steal; guests are already in user time."""
    busy, steal = CpuTimes.read(AFTER).shares_since(CpuTimes.read(BEFORE))
    assert busy == pytest.approx((60 + 5 + 30 + 2 + 3) / 200)
    assert steal == pytest.approx(10 / 200)


def test_no_time_passed_is_no_load() -> None:
    """Two readings in the same tick do not divide by zero."""
    assert CpuTimes.read(BEFORE).shares_since(CpuTimes.read(BEFORE)) == (0.0, 0.0)


def sample(time: float, busy: float = 0.5, late: float | None = 0.001) -> Sample:
    """One second."""
    return Sample(
        time=time,
        seconds=1.0,
        busy=busy,
        steal=0.0,
        cpu={"ral": 0.25, "load/users-uk": busy / 2},
        throttled={"ral": 0.125},
        late_p99=late,
        late_max=late,
    )


def test_a_summary_averages_load_and_keeps_the_worst_lateness() -> None:
    """Means for shares, the worst packet and the silent seconds of the relay, the busiest generator."""
    samples = [sample(1, 0.2), sample(2, 0.6, 0.05), sample(3, 0.4, None)]
    assert summarise(samples, [], relayed=False).relay_silent == 0  # a lab whose links are somebody else's
    found = summarise(samples, [0.001, 0.003])
    assert found.seconds == 3
    assert found.busy == pytest.approx(0.4)
    assert found.busy_worst == 0.6
    assert found.relay_worst == 0.05
    assert found.relay_silent == 1
    assert found.prober_worst == 0.003
    assert found.load_share == pytest.approx(0.2)
    assert found.throttled == {"ral": 0.125}


def test_the_pace_is_the_mean_of_what_was_measured() -> None:
    """Seconds of older recorders without it are left out; without any there is none."""
    samples = [sample(1), replace(sample(2), pace=0.002), replace(sample(3), pace=0.003)]
    assert summarise(samples, []).pace == pytest.approx(0.0025)
    assert summarise(samples[:1], []).pace is None


def test_measuring_the_pace_leaves_the_thread_where_it_may_run() -> None:
    """Every usable CPU is visited, and all are usable afterwards; what else runs does not count."""
    before = os.sched_getaffinity(0)
    took = [pace.measure() for _ in range(5)]
    assert os.sched_getaffinity(0) == before
    assert 0.0001 < min(took) < 0.1


def test_a_lab_nobody_watched_is_disturbed() -> None:
    """No sample is no proof of health."""
    assert verdict(summarise([], [])).disturbed


def test_samples_survive_their_file_and_a_torn_last_line(tmp_path: Path) -> None:
    """What was written is read back, within the asked time, up to where the writer was cut off."""
    path = tmp_path / "health.jsonl"
    written = [sample(float(time)) for time in range(1, 6)]
    path.write_text("".join(one.line() + "\n" for one in written) + written[0].line()[:20])
    assert read_samples(path) == written
    assert read_samples(path, start=1.0, end=4.0) == written[1:4]
    assert read_samples(tmp_path / "missing") == []


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_a_quantile_has_its_share_at_or_below_it(values: list[float], share: float) -> None:
    """At least the share lies at or below, and it is the smallest such value."""
    ordered = sorted(values)
    found = quantile(ordered, share)
    need = math.ceil(share * len(ordered))
    assert sum(value <= found for value in ordered) >= need
    assert sum(value < found for value in ordered) < need

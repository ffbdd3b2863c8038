"""From raw measurements at rest to a calibration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from experiments.workload import Request
from sim.calibration import Calibration, Demand, Machine, StartTimes
from sim.estimates import Estimate
from sim.pod_times import PodTimes
from sim.refill import Refill


@dataclass(frozen=True)
class RequestSample:
    """One baseline request, in seconds: CPU of both processes, and what the client waited."""

    cpu_app: float
    cpu_db: float
    latency: float


@dataclass(frozen=True)
class Samples:
    """Raw baseline measurements: one user, one site, no fault.

    Attributes:
        requests: samples per request kind.
        statement_rtt: round trips of a trivial statement less its CPU, seconds.
        proxy_cpu: CPU per request of one proxy.
        apply_cpu: CPU per write set of a member that did not take part in executing it.
        local_commit: seconds of a commit at a single member.
        vpn_extra: one-way delay of the VPN path beyond the configured one, seconds.
        public_extra: the same for the public path.
        load_cpu: CPU per request spent outside the nodes (generators, relay, VPN).
        rested: access-token requests after a pause of `sim.refill.PAUSE`.
        ordering: seconds of lone COMMITs at one of three members, beyond the links' delays.
        start: per component (fields of StartTimes), seconds.
        cores: of the machine.
        quota: cores granted to the measured site; None without a quota.
        quota_period: seconds.
        tcp_syn_linear_timeouts: of the kernel.
        pace: of the machine, seconds, several times.
        facts: of the machine.
        source: for people.
    """

    requests: Mapping[Request, Sequence[RequestSample]]
    statement_rtt: Sequence[float] = ()
    proxy_cpu: Sequence[float] = ()
    apply_cpu: Sequence[float] = ()
    local_commit: Sequence[float] = ()
    vpn_extra: Sequence[float] = ()
    public_extra: Sequence[float] = ()
    load_cpu: Sequence[float] = ()
    rested: Sequence[RequestSample] = ()
    ordering: Sequence[float] = ()
    start: Mapping[str, Sequence[float]] = field(default_factory=dict)
    cores: int = 2
    quota: float | None = None
    quota_period: float = 0.05
    tcp_syn_linear_timeouts: int = 4
    pace: Sequence[float] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    source: str = "measured"


SITTINGS = 0.06
"""Least relative standard error of a CPU demand: samples of one sitting show a fraction of what sittings
differ by. An estimate: half of what the three of `tests/corpus/sittings` differ by, whose pace varied."""


def estimate(values: Sequence[float], floor_sem: float = SITTINGS) -> Estimate:
    """Mean, variation and standard error of ``values``.

    The standard error is at least ``floor_sem`` of the mean: a baseline is one sitting.
    """
    count = len(values)
    mean = max(0.0, math.fsum(values) / count)
    deviation = variation(values) * mean if count > 1 else 0.5 * mean
    sem = max(deviation / math.sqrt(count), floor_sem * mean)
    return Estimate(mean=mean, cv=min(10.0, deviation / mean) if mean else 0.0, sem=sem)


def typical(values: Sequence[float], floor_sem: float = SITTINGS) -> Estimate:
    """The median and what undisturbed values vary by: for seconds of CPU and of packets.

    On a shared host some samples, and never the same number, fall into moments in which a neighbour has the
    core: they take 1.6 times as long (`chaos.measure.pace`), and would move a mean. Variation is from
    the median absolute deviation, 1.4826 of which is the standard deviation of a normal distribution.
    """
    middle = max(0.0, statistics.median(values))
    if len(values) < 2:
        return estimate(values, floor_sem)
    deviation = 1.4826 * statistics.median([abs(value - middle) for value in values])
    # The standard error of a median is 1.2533 times that of a mean, for normal values.
    sem = max(1.2533 * deviation / math.sqrt(len(values)), floor_sem * middle)
    return Estimate(mean=middle, cv=min(10.0, deviation / middle) if middle else 0.0, sem=sem)


def excess(usual: Sequence[float], rested: Sequence[float]) -> Estimate:
    """What ``rested`` takes longer than ``usual``, if it does; its standard error is a tenth at least."""
    less, more = typical(usual, 0.0), typical(rested, 0.0)
    mean = max(0.0, more.mean - less.mean)
    return Estimate(mean=mean, sem=max(math.hypot(less.sem, more.sem), 0.1 * mean) if mean else 0.0)


def variation(values: Sequence[float]) -> float:
    """Coefficient of variation; 0 of fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = statistics.fmean(values)
    return statistics.stdev(values, mean) / mean if mean else 0.0


def with_pod_times(
    base: Calibration, samples: Mapping[str, Sequence[float]], source: str = "measured"
) -> Calibration:
    """``base`` with times of a Kubernetes cluster; those that were not measured stay as they are.

    Args:
        base: everything else.
        samples: seconds by name of a field of PodTimes.
        source: where they come from, for people.

    Raises:
        ValueError: a name that PodTimes has not.
    """
    known = base.pods or PodTimes()
    unknown = sorted(set(samples) - set(PodTimes.model_fields))
    if unknown:
        raise ValueError(f"PodTimes has no {', '.join(unknown)}")
    measured = {name: estimate(values, 0.15) for name, values in samples.items() if values}
    return base.model_copy(
        update={
            "pods": known.model_copy(update=measured),
            "source": f"{base.source.partition('; pods')[0]}; pods {source}",
        }
    )


def fit(samples: Samples, base: Calibration | None = None) -> Calibration:
    """Turn raw baseline samples into a calibration.

    What was not measured is taken from ``base`` (the shipped calibration by default).
    The time a request spends in neither CPU, round trips, commit nor quota stalls becomes its
    `wait`.

    Raises:
        ValueError: no sample of any request kind.
    """
    from sim.analytic import quota_elapsed
    from sim.steps import round_trips

    if not any(samples.requests.values()):
        raise ValueError("no request was measured")
    base = base or Calibration.default()
    parts = {
        "statement_rtt": samples.statement_rtt,
        "proxy_cpu": samples.proxy_cpu,
        "apply_cpu": samples.apply_cpu,
        "local_commit": samples.local_commit,
        "vpn_delay": samples.vpn_extra,
        "public_delay": samples.public_extra,
        "load_cpu": samples.load_cpu,
    }
    # Where the host's pace varies, so will what these cost in the runs to come.
    floor = max(SITTINGS, variation(samples.pace))
    fields = {
        name: typical(values, floor) if values else getattr(base, name) for name, values in parts.items()
    }
    usual = samples.requests.get("access-token", ())
    refill = None
    if samples.rested and usual:
        refill = Refill(
            app=excess([row.cpu_app for row in usual], [row.cpu_app for row in samples.rested]),
            db=excess([row.cpu_db for row in usual], [row.cpu_db for row in samples.rested]),
        )
    requests: dict[Request, Demand] = dict(base.requests)
    for kind, rows in samples.requests.items():
        if not rows:
            continue
        waits = []
        for row in rows:
            cpu = row.cpu_app + row.cpu_db + 2 * fields["proxy_cpu"].mean
            known = quota_elapsed(cpu, samples.quota, samples.quota_period) if samples.quota else cpu
            known += round_trips(kind) * fields["statement_rtt"].mean
            known += 0.0 if kind == "health" else fields["local_commit"].mean
            waits.append(max(0.0, row.latency - known))
        requests[kind] = Demand(
            app_cpu=typical([row.cpu_app for row in rows], floor),
            db_cpu=typical([row.cpu_db for row in rows], floor),
            wait=estimate(waits),
        )
    # A lone message needs three rounds among three members; in each a member handles those of two others.
    known = 3 * fields["vpn_delay"].mean + fields["local_commit"].mean
    handling = [max(0.0, seconds - known) / 6 for seconds in samples.ordering]
    start = {
        name: estimate(samples.start[name], 0.1) if samples.start.get(name) else getattr(base.start, name)
        for name in StartTimes.model_fields
    }
    return Calibration(
        source=samples.source,
        machine=Machine(
            cores=samples.cores,
            quota_period=samples.quota_period,
            tcp_syn_linear_timeouts=samples.tcp_syn_linear_timeouts,
            pace=statistics.median(samples.pace) if samples.pace else None,
            facts=dict(samples.facts),
        ),
        requests=requests,
        refill=refill,
        group_message=typical(handling, 0.1) if handling else None,
        start=StartTimes(**start),
        **fields,
    )

"""Lab health: whether the machine or the instruments disturbed what was measured.

The lab shares one machine with what it measures. When that machine is short of CPU, when the relay
delivers packets late or the generators send late, the measured numbers say more about the
lab than about the service. Beyond the documented limits a run is `inconclusive`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What is still undisturbed.

    Attributes:
        busy: mean share of all CPUs in use. Above about 85 % queueing for the CPU adds
            milliseconds to everything (M/M/c at two cores: waiting exceeds service time).
        steal: mean share of CPU time that the hypervisor took away.
        relay_late: one packet in a hundred may be this much late, in seconds, in 19 of 20 seconds; the
            WAN's own delays are some tens of milliseconds, one-way. A single bad second moves no metric.
        relay_worst: no packet may be later than this, in seconds: one such packet already lengthens a
            commit visibly, and Galera's timers start at 0.3 s.
        prober_late: probes may be this much late, in seconds, 99 of 100; their period is 50 ms.
        load_share: share of one core that one generator process may use; it has one thread.
    """

    busy: float = 0.85
    steal: float = 0.05
    relay_late: float = 0.010
    relay_worst: float = 0.100
    prober_late: float = 0.025
    load_share: float = 0.80


@dataclass(frozen=True)
class Sample:
    """One second of the lab.

    Attributes:
        time: UNIX time at its end.
        seconds: its length.
        busy, steal: shares of all CPUs.
        cpu: control group -> cores used.
        throttled: site -> share of the second its quota held it back (all CPUs together).
        late_p99, late_max: lateness of the relay in seconds; None when it did not answer.
        pace: `chaos.measure.pace` in seconds; None where it was not measured.
    """

    time: float
    seconds: float
    busy: float
    steal: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    late_p99: float | None = None
    late_max: float | None = None
    pace: float | None = None

    def line(self) -> str:
        """As one JSON line."""
        return json.dumps(asdict(self))


def read_samples(path: Path, start: float = -math.inf, end: float = math.inf) -> list[Sample]:
    """The samples of a file that lie between two UNIX times; a torn last line is left out."""
    found = []
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            sample = Sample(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if start <= sample.time - sample.seconds and sample.time <= end:
            found.append(sample)
    return found


@dataclass(frozen=True)
class CpuTimes:
    """The machine's CPU time so far, in ticks: in use, taken by the hypervisor, altogether."""

    used: int
    steal: int
    total: int

    @classmethod
    def read(cls, text: str) -> CpuTimes:
        """From the text of /proc/stat (proc(5): user nice system idle iowait irq softirq steal ...)."""
        fields = [int(word) for word in text.split("\n", 1)[0].split()[1:9]]
        fields += [0] * (8 - len(fields))
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        return cls(user + nice + system + irq + softirq, steal, sum(fields))

    def shares_since(self, before: CpuTimes) -> tuple[float, float]:
        """Shares of all CPUs (in use, stolen) between ``before`` and now."""
        total = self.total - before.total
        if total <= 0:
            return 0.0, 0.0
        return (self.used - before.used) / total, (self.steal - before.steal) / total


@dataclass(frozen=True)
class Health:
    """The lab over one run, for the run record.

    Attributes:
        seconds: how many seconds were sampled.
        busy, busy_worst: mean and worst share of all CPUs in use.
        steal: mean share stolen.
        relay_late: 95th percentile over the seconds of the relay's lateness (99th percentile over a
            second's packets), in seconds.
        relay_worst: latest packet of all, in seconds.
        relay_silent: seconds in which the relay did not answer.
        prober_late, prober_worst: lateness of probes (99th percentile, worst), in seconds; None
            without probes.
        load_share: cores used by the busiest load generator's group.
        cpu: control group -> mean cores used.
        throttled: site -> mean share of time its quota held it back.
        pace: mean CPU seconds of a fixed piece of work (`chaos.measure.pace`).
    """

    seconds: int
    busy: float
    busy_worst: float
    steal: float
    relay_late: float | None
    relay_worst: float | None
    relay_silent: int
    prober_late: float | None
    prober_worst: float | None
    load_share: float
    cpu: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    pace: float | None = None

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def summarise(samples: Sequence[Sample], prober_lateness: Sequence[float], *, relayed: bool = True) -> Health:
    """The health over ``samples`` and the lateness of all probes, in seconds.

    Args:
        samples: of the run.
        prober_lateness: of each probe.
        relayed: whether there is a relay, whose silence would mean something.
    """
    count = len(samples)
    late = sorted(sample.late_p99 for sample in samples if sample.late_p99 is not None)
    worst = [sample.late_max for sample in samples if sample.late_max is not None]
    groups = sorted({group for sample in samples for group in sample.cpu})
    sites = sorted({site for sample in samples for site in sample.throttled})
    cpu = {group: _mean([sample.cpu.get(group, 0.0) for sample in samples]) for group in groups}
    probes = sorted(prober_lateness)
    paces = [sample.pace for sample in samples if sample.pace is not None]
    return Health(
        seconds=count,
        busy=_mean([sample.busy for sample in samples]),
        busy_worst=max((sample.busy for sample in samples), default=0.0),
        steal=_mean([sample.steal for sample in samples]),
        relay_late=quantile(late, 0.95) if late else None,
        relay_worst=max(worst) if worst else None,
        relay_silent=sum(sample.late_max is None for sample in samples) if relayed else 0,
        prober_late=quantile(probes, 0.99) if probes else None,
        prober_worst=probes[-1] if probes else None,
        load_share=max((share for group, share in cpu.items() if group.startswith("load/")), default=0.0),
        cpu=cpu,
        throttled={site: _mean([sample.throttled.get(site, 0.0) for sample in samples]) for site in sites},
        pace=_mean(paces) if paces else None,
    )


@dataclass(frozen=True)
class Finding:
    """Whether the lab was disturbed, and by what."""

    disturbed: bool
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.disturbed:
            return "the lab was undisturbed"
        return "the lab was disturbed: " + "; ".join(self.reasons)


def verdict(health: Health, limits: Limits | None = None) -> Finding:
    """Compare a run's health with the limits; a run that was not watched counts as disturbed."""
    limits = limits or Limits()
    reasons = []
    if health.seconds == 0:
        reasons.append("nothing was sampled")
    if health.busy > limits.busy:
        reasons.append(f"machine {health.busy:.0%} busy (limit {limits.busy:.0%})")
    if health.steal > limits.steal:
        reasons.append(f"{health.steal:.0%} of the CPU stolen by the hypervisor (limit {limits.steal:.0%})")
    if health.relay_late is not None and health.relay_late > limits.relay_late:
        reasons.append(
            f"relay {_ms(health.relay_late)} late in one second of twenty (limit {_ms(limits.relay_late)})"
        )
    if health.relay_worst is not None and health.relay_worst > limits.relay_worst:
        reasons.append(f"relay up to {_ms(health.relay_worst)} late (limit {_ms(limits.relay_worst)})")
    if health.relay_silent > 1:
        reasons.append(f"relay did not answer for {health.relay_silent} s")
    if health.prober_late is not None and health.prober_late > limits.prober_late:
        reasons.append(
            f"one probe in a hundred {_ms(health.prober_late)} late (limit {_ms(limits.prober_late)})"
        )
    if health.load_share > limits.load_share:
        reasons.append(
            f"a load generator used {health.load_share:.0%} of its core (limit {limits.load_share:.0%})"
        )
    return Finding(bool(reasons), tuple(reasons))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value with at least ``share`` of the (ordered, not empty) values at or below it."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"

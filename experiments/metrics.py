"""One observation in, all its numbers out: the only place where metrics are computed.

Rules that hold for every metric (each metric's own definition stands in `experiments.catalogue`):

- A request belongs to the window in which it *started*, because that is when the client met the
  service; only throughput counts by completion, because it is a flow of answers.
- A request that is still open when the load ends is no sample at all: nobody knows its outcome.
- A window without samples has no value rather than a zero: the key is left out.
- Scopes: load metrics for the whole flow, per site and per request of the flow; probe metrics per
  probe flow, over all sites and per site.
- What never happened within the run is `censored`: the value is the time to the end of the load, the
  true one is larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from experiments.catalogue import (
    CATALOGUE,
    CLUSTER_EVENTS,
    ERROR_KINDS,
    EVENT_SOURCES,
    SCOPE_KEYS,
    STALL_TAIL,
    WINDOWS,
    WRITES,
    Metric,
    MetricKey,
    Unit,
    Window,
)
from experiments.isolation import isolated_sites
from experiments.observation import KUBERNETES, OUTCOMES, Observation
from experiments.recovery import longest_gap, longest_outage
from experiments.workload import STEPS, Workload
from topologies.model import Topology

__all__ = [
    "CATALOGUE",
    "SCOPE_KEYS",
    "WINDOWS",
    "Metric",
    "MetricKey",
    "MetricValue",
    "observed_windows",
    "reduce",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
KeyMaker = Callable[..., MetricKey]

PERCENTS = (50, 80, 95, 99)
TIMESTAMP = 1e-3
"""Resolution in seconds of a request's latency."""


@dataclass(frozen=True)
class MetricValue:
    """A number with what is needed to judge it.

    Attributes:
        value: in `unit`.
        n: samples behind it.
        unit: seconds, a ratio, per second, or a count.
        resolution: the smallest difference this observation can show (half-open error bar), such as
            the probe period of a recovery time or one request of a ratio.
        censored: the true value is at least `value`: the run ended first.
    """

    value: float
    n: int
    unit: Unit
    resolution: float = 0.0
    censored: bool = False


Values = dict[MetricKey, MetricValue]


def observed_windows(observation: Observation) -> dict[Window, tuple[float, float]]:
    """The windows of ``observation`` as (from, to) in seconds since the load started.

    Without a fault there is only `whole`. Windows of no length are left out.
    """
    start, end = observation.warmup, observation.duration
    windows: dict[Window, tuple[float, float]] = {"whole": (start, end)}
    if observation.windows:
        inject = min(max(min(a for a, _ in observation.windows), start), end)
        undo = min(max(max(b for _, b in observation.windows), inject), end)
        windows |= {"before": (start, inject), "fault": (inject, undo), "after": (undo, end)}
    return {name: (a, b) for name, (a, b) in windows.items() if b > a}


def reduce(observation: Observation, topology: Topology, workload: Workload) -> dict[str, MetricValue]:
    """Compute every metric of the catalogue that ``observation`` has samples for.

    Returns:
        Text form of the metric's key -> value, in a fixed order.
    """
    windows = observed_windows(observation)
    table = _Table.of(observation)
    sites = sorted({clients.site for clients in topology.clients.values()})
    values: Values = {}
    values |= _load(table, windows, workload, sites)
    for stream in workload.probes:
        # probes stand next to every site, also where no users are
        values |= _probes(table, windows, stream.flow, 1 / stream.rate, list(topology.sites), observation)
    values |= _write_stall(table, observation, topology)
    values |= _audit(observation)
    values |= _events(observation, topology)
    return {str(key): value for key, value in values.items()}


@dataclass(frozen=True)
class _Table:
    """The requests whose outcome is known, as arrays ordered by start.

    `outcome` indexes OUTCOMES; the other texts are small integers with their meaning in `names`.
    """

    start: Floats
    end: Floats
    latency: Floats
    probe: Mask
    outcome: Codes
    site: Codes
    flow: Codes
    request: Codes
    front_end: Codes
    names: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, observation: Observation) -> _Table:
        requests = observation.table
        start, latency = requests.start, requests.latency
        end = start + latency
        # also by end, so that the order of rows that start together cannot matter
        order = np.lexsort((end, start))
        order = order[end[order] <= observation.duration]
        codes = {name: code[order].astype(np.intp) for name, code in requests.codes.items()}
        names = {
            column: {name: index for index, name in enumerate(found)}
            for column, found in requests.names.items()
        }
        known = {name: index for index, name in enumerate(OUTCOMES)}
        # an outcome nobody has a name for is still a failure
        remap = np.array([known.get(name, known["other"]) for name in names["outcome"]] or [0], dtype=np.intp)
        outcome = remap[codes["outcome"]] if len(order) else codes["outcome"]
        return cls(
            start[order],
            end[order],
            latency[order],
            codes["source"] == names["source"].get("probe", -1),
            outcome,
            codes["site"],
            codes["flow"],
            codes["request"],
            codes["front_end"],
            names,
        )

    def where(self, column: str, name: str) -> Mask:
        codes: Codes = getattr(self, column)
        found: Mask = codes == self.names[column].get(name, -1)
        return found

    def slice(self, window: tuple[float, float]) -> slice:
        first, last = np.searchsorted(self.start, window, side="left")
        return slice(int(first), int(last))


def _load(
    table: _Table, windows: Mapping[Window, tuple[float, float]], workload: Workload, sites: list[str]
) -> Values:
    flow = workload.flow
    load = ~table.probe & table.where("flow", flow)
    scopes: list[tuple[dict[str, str], Mask]] = [({}, load)]
    scopes += [({"site": site}, load & table.where("site", site)) for site in sites]
    scopes += [({"request": step}, load & table.where("request", step)) for step in STEPS[flow]]
    values: Values = {}
    for window, span in windows.items():
        inside = table.slice(span)
        outcome, latency = table.outcome[inside], table.latency[inside]
        for scope, mask in scopes:
            here = mask[inside]
            ok = mask & (table.outcome == 0) & (table.end >= span[0]) & (table.end < span[1])
            length = span[1] - span[0]
            counts = np.bincount(outcome[here], minlength=len(OUTCOMES))
            total = int(counts.sum())
            done = int(np.count_nonzero(ok))
            if total == 0 and done == 0:
                continue
            key: KeyMaker = partial(MetricKey, window=window, flow=flow, **scope)
            values[key("throughput")] = MetricValue(done / length, done, "/s", 1 / length)
            if counts[0]:
                answered = latency[here & (outcome == 0)]
                mean = math.fsum(answered) / len(answered)
                values[key("latency_mean")] = MetricValue(mean, int(counts[0]), "s", TIMESTAMP)
                found = np.percentile(answered, PERCENTS)
                for percent, value in zip(PERCENTS, found, strict=True):
                    name = key(f"latency_p{percent}")
                    values[name] = MetricValue(float(value), int(counts[0]), "s", TIMESTAMP)
            if total:
                values |= _ratios(counts, total, window, {**scope, "flow": flow})
    return values


def _ratios(counts: Codes, total: int, window: Window, scope: dict[str, str]) -> Values:
    def share(outcome: str) -> MetricValue:
        return MetricValue(float(counts[OUTCOMES.index(outcome)]) / total, total, "ratio", 1 / total)

    key: KeyMaker = partial(MetricKey, window=window, **scope)
    values: Values = {key("success_ratio"): share("ok"), key("stale_reads"): share("stale")}
    if "request" not in scope:
        for kind in ERROR_KINDS:
            values[key("error_ratio", kind=kind)] = share(kind)
    return values


def _probes(
    table: _Table,
    windows: Mapping[Window, tuple[float, float]],
    flow: str,
    period: float,
    sites: list[str],
    observation: Observation,
) -> Values:
    probes = table.probe & table.where("flow", flow)
    by_site = {site: probes & table.where("site", site) for site in sites}
    values: Values = {}
    for window, span in windows.items():
        inside = table.slice(span)
        ok = table.outcome[inside] == 0
        key: KeyMaker = partial(MetricKey, window=window, flow=flow)
        seen: list[tuple[int, int]] = []
        for site, mask in by_site.items():
            here = mask[inside]
            total, good = int(np.count_nonzero(here)), int(np.count_nonzero(here & ok))
            if total:
                seen.append((total, good))
                values[key("availability", site=site)] = MetricValue(good / total, total, "ratio", 1 / total)
                values[key("unavailability", site=site)] = MetricValue(
                    (total - good) * period, total, "s", period
                )
        if seen:
            total, good = sum(n for n, _ in seen), sum(n for _, n in seen)
            down = max(n - answered for n, answered in seen) * period
            values[key("availability")] = MetricValue(good / total, total, "ratio", 1 / total)
            values[key("unavailability")] = MetricValue(down, total, "s", period)
    since = _first_injection(observation)
    since = observation.warmup if since is None else since
    worst: MetricValue | None = None
    for site, mask in by_site.items():
        here = mask & (table.end >= since)  # what was under way at the injection may be its first victim
        n = int(np.count_nonzero(here))
        if n == 0:
            continue
        length, censored = longest_outage(table.start[here], table.outcome[here] == 0, observation.duration)
        value = MetricValue(length, n, "s", period, censored)
        values[MetricKey("recovery_time", site=site, flow=flow)] = value
        if worst is None or (value.value, value.censored) > (worst.value, worst.censored):
            worst = value
    if worst is not None:
        values[MetricKey("recovery_time", flow=flow)] = worst
    return values


def _write_stall(table: _Table, observation: Observation, topology: Topology) -> Values:
    since = _first_injection(observation)
    if since is None or since >= observation.duration:
        return {}
    until = min(max(undo for _, undo in observation.windows) + STALL_TAIL, observation.duration)
    write = np.zeros(len(table.start), dtype=np.bool_)
    for request in WRITES:
        write |= table.where("request", request)
    for site in isolated_sites(observation.events, topology, since, until):
        write &= ~table.where("front_end", site)
    done = np.sort(table.end[write & (table.outcome == 0)])
    if len(done) == 0:
        return {}
    gap, censored = longest_gap(done, since, until, observation.duration)
    calm = done[done < since]
    usual = float(np.diff(calm).mean()) if len(calm) > 1 else 0.0
    return {MetricKey("write_stall"): MetricValue(gap, len(done), "s", usual, censored)}


def _audit(observation: Observation) -> Values:
    audit = observation.audit
    if not (audit.acknowledged or audit.in_doubt or audit.lookups):
        return {}  # nobody looked
    return {
        MetricKey("lost_commits"): MetricValue(float(audit.lost), audit.acknowledged, "count"),
        MetricKey("in_doubt_commits"): MetricValue(float(audit.in_doubt_committed), audit.in_doubt, "count"),
    }


def _events(observation: Observation, topology: Topology) -> Values:
    since = _first_injection(observation)
    if since is None or since >= observation.duration:
        return {}
    resolution = float(observation.extra.get("event_resolution", 0.0))
    values: Values = {}
    kinds = [kind for kind, service in EVENT_SOURCES.items() if topology.services_of(service)]
    if observation.extra.get("platform") == KUBERNETES:
        kinds += CLUSTER_EVENTS
    unseen = observation.extra.get("unseen_events", ())  # nobody looked: that none came means nothing
    for kind in kinds:
        if kind in unseen:
            continue
        times = [e.at for e in observation.events if e.kind == kind and since <= e.at <= observation.duration]
        first = min(times, default=observation.duration)
        values[MetricKey("time_to", event=kind)] = MetricValue(
            first - since, len(times), "s", resolution, censored=not times
        )
    return values


def _first_injection(observation: Observation) -> float | None:
    return min((inject for inject, _ in observation.windows), default=None)

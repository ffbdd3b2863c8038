"""What drives a prediction: parameters moved one at a time, and all at once (Sobol).

Calibrated parameters move over their own uncertainty, configured ones by a tenth. All points are simulated
under the same random numbers, so that a difference is the parameter's; chance itself is a row of
its own. Nothing here knows the engine: a point is a scenario with a calibration, as in `sim.predict`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.special import ndtri

from experiments.catalogue import MetricKey
from experiments.faults import Kill
from experiments.workload import STEPS
from sim.calibration import Calibration, Estimate
from sim.engine.choice import engine_for, prepare
from sim.predict import Scenario, spec_maker
from sim.program import compile_program
from sim.random import lognormal
from sim.replication import Outcome, Spec, run
from sim.workers import uninterrupted, worker_pool

Place = Literal["calibration", "topology", "workload"]
Progress = Callable[[int, int], None]
Values = Mapping["Parameter", float]

CONFIGURED_STEP = 0.1
"""Configured parameters are moved by this share, up and down."""

QUANTILE = 1.645
"""5 % and 95 % of a calibrated parameter's uncertainty: the ends of a 90 % interval."""

LEVEL = 0.9
COSTS = ("proxy_cpu", "apply_cpu", "local_commit", "statement_rtt", "vpn_delay", "public_delay")


@dataclass(frozen=True)
class Parameter:
    """Something that can be moved.

    Attributes:
        place: what it is part of.
        path: where it stands in the plain data of that.
        value: as it is.
        low, high: ends between which it is moved.
        sem: standard error of a calibrated one, 0 for a configured one.
    """

    name: str
    place: Place
    path: tuple[str | int, ...]
    unit: str
    value: float
    low: float
    high: float
    sem: float = 0.0

    def at(self, share: float) -> float:
        """The value below which it is with probability ``share``."""
        if self.sem:
            return self.value * lognormal(float(ndtri(share)), self.sem / self.value)
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class Effect:
    """What moving one parameter from its low to its high end does to one metric.

    Attributes:
        low, base, high: means of the metric over the replications, at the ends and in the middle.
        difference: high less low.
        interval: of the difference, 90 %, from paired replications.
        share: of the sum of all squared differences; chance is a row like the others.
    """

    parameter: str
    kind: str
    low: float
    base: float
    high: float
    difference: float
    interval: tuple[float, float]
    share: float = 0.0


@dataclass(frozen=True)
class Index:
    """Sobol indices of one parameter for one metric, with the half width of their 90 % intervals.

    Attributes:
        first: share of the variance that the parameter explains alone.
        total: share in which it has a part.
    """

    parameter: str
    first: float
    first_half: float
    total: float
    total_half: float


@dataclass(frozen=True)
class Explanation:
    """What was found.

    Attributes:
        metrics: by key.
        effects: by metric, the largest first.
        sobol: by metric, the largest first; empty when not asked for.
        runs: simulated.
    """

    metrics: dict[str, str]
    parameters: tuple[Parameter, ...]
    effects: dict[str, list[Effect]]
    sobol: dict[str, list[Index]]
    replications: int
    runs: int
    seed: int

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


CHANCE = "chance (the run itself)"


def parameters(scenario: Scenario, calibration: Calibration) -> list[Parameter]:
    """What can be moved: the calibrated parameters that the scenario uses, and the main configured ones."""
    workload = scenario.workload
    kinds = list(dict.fromkeys([*STEPS[workload.flow], *(probe.flow for probe in workload.probes)]))
    found: list[Parameter] = []

    def calibrated(path: tuple[str, ...], estimate: Estimate) -> None:
        if not (estimate.mean and estimate.sem):
            return
        ends = [
            estimate.mean * lognormal(normal, estimate.sem / estimate.mean)
            for normal in (-QUANTILE, QUANTILE)
        ]
        name = " ".join(part.replace("_", " ") for part in path if part != "requests")
        found.append(Parameter(name, "calibration", path, "s", estimate.mean, ends[0], ends[1], estimate.sem))

    for kind in kinds:
        demand = calibration.requests[kind]
        for part in ("app_cpu", "db_cpu", "wait"):
            calibrated(("requests", kind, part), getattr(demand, part))
    for cost in COSTS:
        calibrated((cost,), getattr(calibration, cost))
    if calibration.refill is not None:
        calibrated(("refill", "app"), calibration.refill.app)
        calibrated(("refill", "db"), calibration.refill.db)
    if calibration.group_message is not None:
        calibrated(("group_message",), calibration.group_message)
    if any(isinstance(scheduled.fault, Kill) for scheduled in scenario.timeline):
        for name in type(calibration.start).model_fields:
            calibrated(("start", name), getattr(calibration.start, name))

    def configured(name: str, place: Place, path: tuple[str | int, ...], unit: str, value: float) -> None:
        if value > 0 and math.isfinite(value):
            low, high = value * (1 - CONFIGURED_STEP), value * (1 + CONFIGURED_STEP)
            found.append(Parameter(name, place, path, unit, value, low, high))

    for number, link in enumerate(scenario.topology.links):
        configured(f"rtt {'-'.join(link.between)}", "topology", ("links", number, "rtt"), "s", link.rtt)
    for site_name, site in scenario.topology.sites.items():
        configured(f"cpu {site_name}", "topology", ("sites", site_name, "cpu"), "cores", site.cpu)
    if workload.users * CONFIGURED_STEP >= 0.5:
        configured("users", "workload", ("users",), "", float(workload.users))
    configured("think", "workload", ("think",), "s", workload.think)
    if scenario.timeline:
        for service_name, service in scenario.topology.services.items():
            for timer in ("suspect_timeout", "down_after", "keepalive_period"):
                value = getattr(service, timer, None)
                if isinstance(value, float):
                    label = f"{service_name} {timer.replace('_', ' ')}"
                    configured(label, "topology", ("services", service_name, timer), "s", value)
    return found


def moved(scenario: Scenario, calibration: Calibration, values: Values) -> tuple[Scenario, Calibration]:
    """Scenario and calibration with parameters set to ``values``; nothing else is uncertain any more."""
    data: dict[str, Any] = {
        "calibration": certain(calibration).model_dump(),
        "topology": scenario.topology.model_dump(),
        "workload": scenario.workload.model_dump(),
    }
    for parameter, value in values.items():
        here = data[parameter.place]
        for step in parameter.path[:-1]:
            here = here[step]
        last = parameter.path[-1]
        if parameter.place == "calibration":
            here[last] = {**here[last], "mean": value}
        else:
            here[last] = round(value) if parameter.name == "users" else value
    topology = type(scenario.topology).model_validate(data["topology"])
    workload = type(scenario.workload).model_validate(data["workload"])
    return (
        replace(scenario, topology=topology, workload=workload),
        Calibration.model_validate(data["calibration"]),
    )


def certain(calibration: Calibration) -> Calibration:
    """``calibration`` without uncertainty: replications differ by chance only."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"mean", "cv", "sem"}:
                return {**value, "sem": 0.0}
            return {key: strip(part) for key, part in value.items()}
        return value

    data = calibration.model_dump()
    profile = data.pop("profile", None)
    stripped = strip(copy.deepcopy(data))
    return Calibration.model_validate({**stripped, "profile": profile})


def default_metrics(scenario: Scenario) -> list[str]:
    """Throughput and latency of the users, and what the hypotheses claim."""
    flow = scenario.workload.flow
    names = ["throughput", "latency_p50", "latency_p95", "success_ratio"]
    found = [f"{name}{{flow={flow}}}@whole" for name in names]
    if scenario.timeline:
        found.append("write_stall@whole")
    found += [str(claim.completed(scenario.workload).key) for claim in scenario.hypotheses]
    return list(dict.fromkeys(str(MetricKey.parse(key)) for key in found))


def explain(
    scenario: Scenario,
    calibration: Calibration,
    seed: int = 0,
    *,
    metrics: Sequence[str] = (),
    replications: int = 2,
    sobol: int = 0,
    top: int = 4,
    workers: int = 2,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Explanation:
    """Say which parameters drive the metrics of ``scenario``.

    Args:
        scenario: what is predicted.
        calibration: demands, with their uncertainty.
        seed: of all random numbers.
        metrics: keys; the users' and the hypotheses' by default.
        replications: of every point, under common random numbers.
        sobol: base samples N of Saltelli's design, a power of two; N * (top + 3) runs. 0 leaves it out.
        top: calibrated parameters in the Sobol analysis, those with the largest effects on the metrics.
        workers: processes.
        progress: told after every run.
        note: told what takes long besides runs: compiling the engine, once per installation.

    Raises:
        ValueError: something named is no metric, or fewer than two replications.
    """
    if replications < 2:
        raise ValueError("differences need at least two replications: there is no interval from one")
    keys = [str(MetricKey.parse(key)) for key in metrics] or default_metrics(scenario)
    moves = parameters(scenario, calibration)
    program = compile_program(
        scenario.topology,
        scenario.workload,
        scenario.timeline,
        calibration,
        size=scenario.size,
        platform=scenario.platform,
    )
    if engine_for(program) == "compiled":
        prepare(note)
    points: list[Values] = [{}]
    for parameter in moves:
        points += [{parameter: parameter.low}, {parameter: parameter.high}]
    calibrated = sum(parameter.sem > 0 for parameter in moves)
    later = sobol * (min(top, calibrated) + 3) if sobol else 0
    count = len(points) * replications + later
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, count)

    specs = [
        spec
        for values in points
        for spec in _specs(*moved(scenario, calibration, values), seed, range(replications))
    ]
    outcomes = list(_carry_out(specs, workers, tell))
    grouped = [outcomes[n : n + replications] for n in range(0, len(outcomes), replications)]
    effects = {key: _effects(key, moves, grouped) for key in keys}
    found: dict[str, list[Index]] = {}
    if sobol:
        chosen = _chosen([p for p in moves if p.sem], effects, top)
        found = _sobol(scenario, calibration, seed, keys, chosen, sobol, workers, tell)
    units = {
        key: next((o.metrics[key][2] for o in outcomes if key in o.metrics), "")
        for key in keys
        if effects[key]
    }
    return Explanation(
        units,
        tuple(moves),
        {key: rows for key, rows in effects.items() if rows},
        found,
        replications,
        done,
        seed,
    )


def _specs(scenario: Scenario, calibration: Calibration, seed: int, numbers: Sequence[int]) -> list[Spec]:
    make = spec_maker(scenario, calibration, seed)
    return [make(number) for number in numbers]


def _carry_out(specs: Sequence[Spec], workers: int, tell: Callable[[], None]) -> Iterator[Outcome]:
    """Outcomes in the order of ``specs``."""
    if workers <= 1:
        for spec in specs:
            yield run(spec)
            tell()
        return
    with worker_pool(min(workers, len(specs))) as pool:
        with uninterrupted():
            futures = [pool.submit(run, spec) for spec in specs]
        for future in futures:
            yield future.result()
            tell()


def _values(outcomes: Sequence[Outcome], key: str) -> list[float]:
    return [outcome.metrics[key][0] for outcome in outcomes if key in outcome.metrics]


def _effects(key: str, moves: Sequence[Parameter], grouped: Sequence[Sequence[Outcome]]) -> list[Effect]:
    base = _values(grouped[0], key)
    if len(base) < len(grouped[0]):
        return []  # a metric that some runs do not have has no differences
    middle = math.fsum(base) / len(base)
    spread = float(np.std(base, ddof=1))
    found = [_chance(middle, spread, len(base))]
    for number, parameter in enumerate(moves):
        low, high = (_values(grouped[1 + 2 * number + end], key) for end in (0, 1))
        if len(low) != len(base) or len(high) != len(base):
            continue
        differences = [b - a for a, b in zip(low, high, strict=True)]
        mean = math.fsum(differences) / len(differences)
        half = _half(differences)
        found.append(
            Effect(
                parameter.name,
                "calibrated" if parameter.sem else "configured",
                math.fsum(low) / len(low),
                middle,
                math.fsum(high) / len(high),
                mean,
                (mean - half, mean + half),
            )
        )
    total = math.fsum(effect.difference**2 for effect in found if effect.kind != "configured")
    shared = [
        replace(effect, share=effect.difference**2 / total if total and effect.kind != "configured" else 0.0)
        for effect in found
    ]
    return sorted(shared, key=lambda effect: -abs(effect.difference))


def _chance(middle: float, spread: float, count: int) -> Effect:
    """Runs of one length under the same parameters: where 90 % of them fall."""
    width = 2 * QUANTILE * spread
    ends = [
        width * math.sqrt((count - 1) / float(stats.chi2.ppf(share, count - 1)))
        for share in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    ]
    return Effect(CHANCE, "chance", middle - width / 2, middle, middle + width / 2, width, (ends[0], ends[1]))


def _half(values: Sequence[float]) -> float:
    count = len(values)
    return float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.std(values, ddof=1) / math.sqrt(count))


def _chosen(
    calibrated: Sequence[Parameter], effects: Mapping[str, Sequence[Effect]], top: int
) -> list[Parameter]:
    """The parameters with the largest shares over all metrics, in their own order."""
    weight = {parameter.name: 0.0 for parameter in calibrated}
    for rows in effects.values():
        for effect in rows:
            if effect.parameter in weight:
                weight[effect.parameter] += effect.share
    first = sorted(calibrated, key=lambda parameter: -weight[parameter.name])[:top]
    return [parameter for parameter in calibrated if parameter in first]


def _sobol(
    scenario: Scenario,
    calibration: Calibration,
    seed: int,
    keys: Sequence[str],
    chosen: Sequence[Parameter],
    samples: int,
    workers: int,
    tell: Callable[[], None],
) -> dict[str, list[Index]]:
    from SALib.analyze import sobol as analysis
    from SALib.sample import sobol as design

    names = [*(parameter.name for parameter in chosen), CHANCE]
    problem = {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}
    rows = design.sample(problem, samples, calc_second_order=False, seed=seed % 2**32)
    specs: list[Spec] = []
    for row in np.clip(rows, 1e-6, 1 - 1e-6):
        values = {
            parameter: parameter.at(float(share)) for parameter, share in zip(chosen, row, strict=False)
        }
        # The last column names the run: another number, another run.
        specs += _specs(*moved(scenario, calibration, values), seed, [int(row[-1] * 2**31)])
    outcomes = list(_carry_out(specs, workers, tell))
    found: dict[str, list[Index]] = {}
    for key in keys:
        measured = _values(outcomes, key)
        if len(measured) < len(outcomes) or np.ptp(measured) == 0:
            continue
        result = analysis.analyze(
            problem, np.array(measured), calc_second_order=False, conf_level=LEVEL, seed=seed % 2**32
        )
        indices = [
            Index(name, *(float(result[part][n]) for part in ("S1", "S1_conf", "ST", "ST_conf")))
            for n, name in enumerate(names)
        ]
        found[key] = sorted(indices, key=lambda index: -index.total)
    return found

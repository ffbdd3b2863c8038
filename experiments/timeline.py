"""An experiment's method as faults over time: what the simulation is told.

The clock starts with the load. The method begins when the warm-up is over (the lab's control waits
for it, so that nothing is broken before the steady state was seen), and its steps follow one
another: a pause moves the clock by its length, `wait` and an action's `at` move it to a moment. A
fault does not hold the method up: it is taken back `duration` later while the next steps go on.
Probes and activities marked `x-faultline: {predict: ignore}` take no time here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaoslib import substitute

from experiments.activity import (
    ACTIONS_MODULE,
    PROBES_MODULE,
    Activity,
    HealAllAction,
    WaitAction,
    fault_of,
    read_action,
)
from experiments.faults import Degrade, Fault, Kill, Partition, Pause, ScheduledFault
from experiments.kubernetes_checks import both_hold
from experiments.kubernetes_faults import KubernetesFault, takes_clusters
from experiments.model import Experiment
from experiments.names import overlap
from topologies.errors import Misfit, MisfitError, Path, suggestion

IGNORE = "mark it with `x-faultline: {predict: ignore}` if the service does not notice it"


@dataclass(frozen=True)
class _Step:
    """A step of the method with the place it was written at."""

    path: Path
    activity: Activity


def compile_timeline(experiment: Experiment) -> tuple[ScheduledFault, ...]:
    """The faults of ``experiment`` in the order of their injection.

    Where one fault ends at the very moment another begins, the end comes first.

    Raises:
        InputError: an action cannot be read or predicted, comes at an impossible time, or two
            faults contradict each other.
    """
    faults, misfits = _compile(experiment)
    if not misfits:
        misfits = list(contradictions(faults))
    if misfits:
        raise experiment.document.error(*misfits)
    return tuple(fault for _, fault in faults)


def scheduled_with_places(experiment: Experiment) -> list[tuple[Path, ScheduledFault]]:
    """The faults with the path of the action in the document, for errors about them.

    Raises:
        InputError: as `compile_timeline`.
    """
    compile_timeline(experiment)
    return _compile(experiment)[0]


def needs_clusters(experiment: Experiment) -> bool:
    """Whether ``experiment`` has a fault that only a Kubernetes cluster can suffer.

    Raises:
        InputError: as `compile_timeline`.
    """
    return takes_clusters(scheduled.fault for scheduled in compile_timeline(experiment))


def windows(timeline: Sequence[ScheduledFault], duration: float) -> tuple[tuple[float, float], ...]:
    """Fault windows as (inject, undo), in seconds since the load started, cut off at ``duration``."""
    return tuple(
        (fault.at, duration if fault.duration is None else min(fault.at + fault.duration, duration))
        for fault in timeline
    )


def _compile(experiment: Experiment) -> tuple[list[tuple[Path, ScheduledFault]], list[Misfit]]:
    now = experiment.workload.warmup
    end = experiment.workload.duration
    found: list[tuple[Path, ScheduledFault]] = []
    misfits: list[Misfit] = []
    for step in _steps(experiment):
        before, after = (_pause(step, key, experiment.configuration, misfits) for key in ("before", "after"))
        start = now + before
        try:
            action = _action(step, experiment.configuration)
        except MisfitError as error:
            misfits += [
                Misfit((*step.path, *part.path), part.message, part.expected, part.hint, part.on_key)
                for part in error.misfits
            ]
            continue
        if isinstance(action, WaitAction):
            start = max(start, action.until)
        elif isinstance(action, HealAllAction):
            found = [(path, _ended(fault, start)) for path, fault in found]
        elif action is not None:
            at = (*step.path, "provider", "arguments", "at")
            moment = start if action.at is None else action.at
            if moment < experiment.workload.warmup:
                misfits.append(
                    Misfit(
                        at, f"{moment:g}s is within the warm-up", f"{experiment.workload.warmup:g}s or later"
                    )
                )
            elif moment < start:
                hint = "write the actions in the order of their times"
                misfits.append(
                    Misfit(at, f"the steps before it end only at {start:g}s", f"{start:g}s or later", hint)
                )
            elif moment >= end:
                hint = "bring it forward or make the workload's duration longer"
                misfits.append(Misfit(at, f"the load is over at {end:g}s", f"less than {end:g}s", hint))
            start = max(start, moment)
            scheduled = ScheduledFault(
                name=step.activity.name, fault=fault_of(action), at=start, duration=action.duration
            )
            found.append((step.path, scheduled))
        if not step.activity.background:
            now = start + after
    found.sort(key=lambda item: item[1].at)
    return found, misfits


def _ended(fault: ScheduledFault, at: float) -> ScheduledFault:
    if fault.duration is not None and fault.at + fault.duration <= at:
        return fault
    return fault.model_copy(update={"duration": at - fault.at})


def _steps(experiment: Experiment) -> Iterator[_Step]:
    """The method with references followed, as Chaos Toolkit follows them: to the last of that name."""
    named: dict[str, _Step] = {}
    method = [_Step(("method", index), activity) for index, activity in enumerate(experiment.method)]
    steady = experiment.steady_state
    probes = [
        _Step(("steady-state-hypothesis", "probes", index), activity)
        for index, activity in enumerate(steady.probes if steady is not None else ())
    ]
    for step in [*method, *probes]:
        if step.activity.ref is None:
            named[step.activity.name] = step
    for step in method:
        ref = step.activity.ref
        if ref is None:
            yield step
        elif ref in named:
            yield _Step(step.path, named[ref].activity)
        else:
            hint = suggestion(ref, named)
            raise experiment.document.error(
                Misfit((*step.path, "ref"), f"no activity is named {ref!r}", hint=hint)
            )


def _pause(step: _Step, key: str, configuration: Mapping[str, Any], misfits: list[Misfit]) -> float:
    pauses = step.activity.pauses
    value = substitute(getattr(pauses, key), configuration, None) if pauses is not None else None
    path = (*step.path, "pauses", key)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        misfits.append(
            Misfit(path, f"the pause is {value!r}", "a number of seconds, or ${name} of the configuration")
        )
        return 0.0
    if not 0 <= value < float("inf"):
        misfits.append(Misfit(path, f"the pause is {value:g}", "zero or more seconds"))
        return 0.0
    return float(value)


def _action(step: _Step, configuration: Mapping[str, Any]) -> Any:
    """What the step does to the system; None when that is nothing.

    Raises:
        MisfitError: it cannot be read or predicted.
    """
    activity = step.activity
    if activity.type == "probe" or (activity.marks is not None and not activity.is_ours()):
        return None
    provider = activity.provider
    assert provider is not None  # checked when the file was read
    if not activity.is_ours():
        if activity.is_ours(PROBES_MODULE):
            raise MisfitError([Misfit(("type",), f"{provider.func!r} is a probe", "type: probe")])
        who = provider.module or provider.type
        raise MisfitError(
            [
                Misfit(
                    ("provider",),
                    f"the effect of an action of {who!r} cannot be predicted",
                    ACTIONS_MODULE,
                    IGNORE,
                )
            ]
        )
    if activity.marks is not None:
        raise MisfitError(
            [Misfit(("x-faultline",), "a fault cannot be ignored by the prediction", hint="remove it")]
        )
    if activity.background:
        hint = "remove it: a fault with a `duration` does not hold up the method"
        raise MisfitError(
            [Misfit(("background",), f"{provider.func} cannot run in the background", hint=hint)]
        )
    arguments = provider.arguments if provider.arguments is not None else {}
    if not isinstance(arguments, dict):
        raise MisfitError(
            [Misfit(("provider", "arguments"), "the arguments have no names", "keys and values")]
        )
    try:
        return read_action(provider.func, substitute(arguments, configuration, None))
    except MisfitError as error:
        raise MisfitError(
            [
                Misfit(("provider", *part.path), part.message, part.expected, part.hint, part.on_key)
                for part in error.misfits
            ]
        ) from None


def contradictions(
    faults: Sequence[tuple[Path, ScheduledFault]], held: Callable[[Fault, Fault], str | None] | None = None
) -> Iterator[Misfit]:
    """Faults that hold the same thing at the same time: taking one back would end the other.

    Args:
        faults: ordered by time, each with the path of its action.
        held: names what two faults would both hold; `held_by_both` when not given.
    """
    held = held_by_both if held is None else held
    for number, (path, later) in enumerate(faults):
        for _, earlier in faults[:number]:
            over = float("inf") if earlier.duration is None else earlier.at + earlier.duration
            what = held(earlier.fault, later.fault)
            if what is not None and later.at < over:
                until = "the end of the load" if earlier.duration is None else f"{over:g}s"
                start = f"{later.name!r} starts at {later.at:g}s"
                yield Misfit(
                    path,
                    f"{start} while {earlier.name!r} still holds {what} (until {until})",
                    hint="let one end before the other starts, or make them one fault",
                )


def held_by_both(a: Fault, b: Fault) -> str | None:
    """What two faults, the earlier first, would both hold; None when they do not get in each other's way."""
    if isinstance(a, KubernetesFault) or isinstance(b, KubernetesFault):
        return both_hold(a, b)
    if isinstance(a, Kill | Pause) and isinstance(b, Kill | Pause):
        return max(a.target, b.target, key=len) if overlap(a.target, b.target) else None
    if isinstance(a, Degrade) and isinstance(b, Degrade):
        return "-".join(a.between) if set(a.between) == set(b.between) else None
    if isinstance(a, Partition) and isinstance(b, Partition):
        # which pairs `isolate` parts depends on the topology; two of the same site surely collide
        if a.isolate is not None and b.isolate is not None:
            both = set(a.isolate) & set(b.isolate)
            return ", ".join(sorted(both)) if both else None
        if a.between is not None and b.between is not None:
            return "-".join(a.between) if set(a.between) == set(b.between) else None
        if a.grudge is not None and b.grudge is not None:
            pairs = [
                f"{who}<-{whom}"
                for who in a.grudge
                for whom in set(a.grudge[who]) & set(b.grudge.get(who, []))
            ]
            return ", ".join(sorted(pairs)) or None
    return None

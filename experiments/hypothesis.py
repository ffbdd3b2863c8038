"""What an experimenter claims about a run: a metric, where, when, and the value it should have."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

from pydantic import field_validator, model_validator

from experiments.catalogue import (
    CATALOGUE,
    ERROR_KINDS,
    EVENT_SOURCES,
    EVENTS,
    UNIT_SPELLING,
    Metric,
    MetricKey,
    Unit,
    Window,
    spell_value,
)
from experiments.workload import STEPS, Workload
from topologies.errors import Misfit, MisfitError, nearest, suggestion
from topologies.model import Model, Topology
from topologies.quantities import parse

Comparator = Literal[">=", "<=", ">", "<"]

COMPARE: Mapping[Comparator, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Scope(Model):
    """Where a metric is looked at; what is not given is not restricted.

    Attributes:
        site: the site next to which the client is.
        flow: the users' flow, or a probe's.
        request: one step of the users' flow.
        kind: way of failing, for `error_ratio`.
        event: kind of event, for `time_to`.
    """

    site: str | None = None
    flow: str | None = None
    request: str | None = None
    kind: str | None = None
    event: str | None = None


def read_expectation(text: str, unit: Unit) -> tuple[Comparator, float]:
    """Read ``text`` such as ``>= 99%`` in ``unit``; return the comparator and the value in base units.

    Raises:
        ValueError: no comparator, no number, or a unit that is not the metric's.
    """
    spellings, kind, example = UNIT_SPELLING[unit]
    match = re.fullmatch(r"\s*(?P<sign>>=|<=|[<>](?!=))\s*(?P<quantity>[^\s].*?)\s*", text)
    if match is None:
        raise ValueError(
            f"cannot read {text!r}: write a comparison (>=, <=, > or <) and {kind}, as in '<= {example}'"
        )
    sign: Comparator = match["sign"]  # type: ignore[assignment]  # the expression matches nothing else
    quantity = match["quantity"]
    if re.fullmatch(r"[+-]?0+(\.0*)?", quantity):  # zero is zero in every unit
        return sign, 0.0
    try:
        value = parse(quantity, spellings, f"'{sign} {example}'")
    except ValueError:
        units = ", ".join(spellings) if unit != "count" else "no unit"
        raise ValueError(
            f"{quantity!r} is not {kind}: this metric is {kind} ({units}), write it as in '{sign} {example}'"
        ) from None
    return sign, value


class Hypothesis(Model):
    """A claim about one metric of a run.

    Attributes:
        metric: a name of the catalogue.
        scope: where.
        during: which part of the run (`experiments.catalogue.WINDOWS`).
        expect: comparison and value with the metric's unit, such as `>= 99%`.
    """

    metric: str
    scope: Scope = Scope()
    during: Window = "whole"
    expect: str

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CATALOGUE:
            near = nearest(name, CATALOGUE)
            known = f"did you mean {near!r}?" if near else f"write one of {', '.join(CATALOGUE)}"
            raise ValueError(f"unknown metric {name!r}: {known}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Hypothesis:
        metric, keys = self.catalogued, set(self._scope())
        misfits: list[Misfit] = []
        usable = {key for scope in metric.scopes for key in scope}
        for key in keys - usable:
            allowed = (
                f"{metric.name} knows {', '.join(sorted(usable))}"
                if usable
                else f"{metric.name} has no scope"
            )
            misfits.append(
                Misfit(("scope", key), f"{metric.name} is not computed per {key}", hint=allowed, on_key=True)
            )
        needed = set.intersection(*(set(scope) for scope in metric.scopes))
        if metric.population == "load":
            needed -= {"flow"}  # a workload has one flow: the loader fills it in
        for key in sorted(needed - keys):
            misfits.append(Misfit(("scope",), f"{metric.name} needs {key!r} in its scope", _values_of(key)))
        if not misfits and not metric.allows(
            frozenset(keys | ({"flow"} if metric.population == "load" else set()))
        ):
            ways = "; ".join("+".join(scope) for scope in metric.scopes)
            misfits.append(
                Misfit(("scope",), f"{metric.name} is not computed for {' with '.join(sorted(keys))}", ways)
            )
        misfits += self._unknown_words()
        if self.during not in metric.windows:
            misfits.append(
                Misfit(
                    ("during",),
                    f"{metric.name} is computed for the whole run only",
                    hint="write `during: whole`",
                )
            )
        try:
            read_expectation(self.expect, metric.unit)
        except ValueError as error:
            misfits.append(Misfit(("expect",), str(error)))
        if misfits:
            raise MisfitError(misfits)
        return self

    def _unknown_words(self) -> list[Misfit]:
        misfits = []
        kind, event = self.scope.kind, self.scope.event
        if self.metric == "error_ratio" and kind == "stale":
            misfits.append(
                Misfit(("scope", "kind"), "stale answers are not in error_ratio", hint="use stale_reads")
            )
        elif self.metric == "error_ratio" and kind is not None and kind not in ERROR_KINDS:
            hint = suggestion(kind, ERROR_KINDS)
            misfits.append(Misfit(("scope", "kind"), f"unknown way of failing {kind!r}", hint=hint))
        if self.metric == "time_to" and event is not None and event not in EVENTS:
            hint = suggestion(event, EVENTS)
            misfits.append(Misfit(("scope", "event"), f"unknown kind of event {event!r}", hint=hint))
        return misfits

    def _scope(self) -> dict[str, str]:
        return {key: value for key, value in self.scope if value is not None}

    @property
    def catalogued(self) -> Metric:
        """The catalogue's entry of the metric."""
        return CATALOGUE[self.metric]

    @property
    def comparator(self) -> Comparator:
        """How the metric is compared with `value`."""
        return self._expectation[0]

    @property
    def value(self) -> float:
        """What the metric is compared with, in the metric's base unit."""
        return self._expectation[1]

    @cached_property
    def _expectation(self) -> tuple[Comparator, float]:
        return read_expectation(self.expect, self.catalogued.unit)

    @property
    def key(self) -> MetricKey:
        """Address of the claimed number among those of `experiments.metrics.reduce`."""
        return MetricKey(self.metric, self.during, **self._scope())

    def holds(self, value: float) -> bool:
        """Whether ``value``, in the metric's base unit, is as claimed."""
        return not math.isnan(value) and COMPARE[self.comparator](value, self.value)

    def __str__(self) -> str:
        """One line: the key and the claim."""
        return f"{self.key} {self.comparator} {spell_value(self.value, self.catalogued.unit)}"

    def completed(self, workload: Workload) -> Hypothesis:
        """The same claim with the workload's flow filled in where it was left out."""
        if self.catalogued.population != "load" or self.scope.flow is not None:
            return self
        return self.model_copy(update={"scope": self.scope.model_copy(update={"flow": workload.flow})})

    def misfits(self, workload: Workload, topology: Topology | None = None) -> list[Misfit]:
        """What does not fit the workload (and topology): flows, requests, sites, events not in them."""
        misfits: list[Misfit] = []
        flow, request, site = self.scope.flow, self.scope.request, self.scope.site
        probes = [stream.flow for stream in workload.probes]
        if self.catalogued.population == "load" and flow is not None and flow != workload.flow:
            hint = f"write {workload.flow!r}"
            if flow in probes:
                hint = f"{flow!r} is a probe: use availability, or write {workload.flow!r}"
            misfits.append(
                Misfit(("scope", "flow"), f"the workload has no users of flow {flow!r}", hint=hint)
            )
        if self.catalogued.population == "probe" and flow not in probes:
            known = (
                f"the workload's probes: {', '.join(probes)}"
                if probes
                else "add it to the workload's `probes`"
            )
            misfits.append(
                Misfit(("scope", "flow"), f"the workload has no probe of flow {flow!r}", hint=known)
            )
        if request is not None and request not in STEPS[workload.flow]:
            hint = suggestion(request, STEPS[workload.flow])
            misfits.append(
                Misfit(("scope", "request"), f"flow {workload.flow!r} has no request {request!r}", hint=hint)
            )
        if topology is not None:
            users = {clients.site for clients in topology.clients.values()}
            sites = set(topology.sites) if self.catalogued.population == "probe" else users
            if site is not None and site not in sites:
                what = "with users" if site in topology.sites else "of the topology"
                hint = suggestion(site, sorted(sites))
                misfits.append(Misfit(("scope", "site"), f"{site!r} is not a site {what}", hint=hint))
            event = self.scope.event
            source = EVENT_SOURCES.get(event) if event is not None else None
            if source is not None and not topology.services_of(source):
                kind = source.__name__
                misfits.append(
                    Misfit(("scope", "event"), f"the topology has no {kind} service that makes {event!r}")
                )
        return misfits


def _values_of(key: str) -> str:
    if key == "flow":
        return "the flow of a probe: health or access-token"
    return f"one of {', '.join(ERROR_KINDS if key == 'kind' else EVENTS)}"

"""Chaos Toolkit probes: how the service does right now, and what a run's metrics are."""

from __future__ import annotations

from chaoslib.exceptions import ActivityFailed

from chaos.errors import LabError
from chaos.toolkit.session import Session, current
from experiments.catalogue import WINDOWS
from experiments.hypothesis import Hypothesis, Scope
from topologies.quantities import DURATION_UNITS, parse

__all__ = ["all_components_up", "metric", "success_ratio"]


def success_ratio(window: str = "5s", flow: str | None = None, site: str | None = None) -> float:
    """Share of requests answered ok, of those that ended within the last ``window`` (0 to 1).

    Args:
        window: how far to look back from now, or from the end of the load when that is over.
        flow: a probe's flow, or the users'; all probes when not given.
        site: only of clients next to this site.

    Raises:
        ActivityFailed: no request ended in that time, or the lab cannot tell.
    """
    session = _session()
    try:
        length = parse(window, DURATION_UNITS, "5s")
        now = min(session.now(), session.workload.duration)
        requests = session.lab.samples(now - length)
    except (LabError, ValueError) as error:
        raise ActivityFailed(str(error)) from error
    probes = [stream.flow for stream in session.workload.probes]
    chosen = requests["start"] + requests["latency"] <= now
    if flow is None or flow in probes:
        chosen &= requests["source"] == "probe"
    if flow is not None:
        chosen &= requests["flow"] == flow
    if site is not None:
        chosen &= requests["site"] == site
    outcomes = requests.loc[chosen, "outcome"]
    if len(outcomes) == 0:
        where = "".join(f" {what}" for what in (flow, f"at {site}" if site else None) if what)
        raise ActivityFailed(f"no request{where} ended in the last {window}: nothing can be said")
    return float((outcomes == "ok").mean())


def all_components_up() -> bool:
    """Whether every component is up.

    Raises:
        ActivityFailed: the lab cannot tell.
    """
    try:
        states = _session().lab.status()
    except LabError as error:
        raise ActivityFailed(str(error)) from error
    if not states:
        raise ActivityFailed("the lab knows no component")
    return all(status.state == "up" for status in states)


def metric(
    name: str,
    site: str | None = None,
    flow: str | None = None,
    request: str | None = None,
    kind: str | None = None,
    event: str | None = None,
    during: str = "whole",
) -> float:
    """Value of a metric of the whole run, in its base unit; waits for the end of the load.

    Args:
        name: of the catalogue.
        site: next to which the client is.
        flow: the users' or a probe's.
        request: step of the users' flow.
        kind: way of failing, for `error_ratio`.
        event: kind of event, for `time_to`.
        during: whole, before, fault or after.

    Raises:
        ActivityFailed: there is no such metric or no sample of it, or the method has not begun.
    """
    session = _session()
    if not session.method_started:
        raise ActivityFailed("a metric is known after the load: use this probe in the method, not before it")
    try:
        window = next((known for known in WINDOWS if known == during), None)
        if window is None:
            raise ValueError(f"unknown window {during!r}: one of {', '.join(WINDOWS)}")
        scope = Scope(site=site, flow=flow, request=request, kind=kind, event=event)
        claim = Hypothesis(metric=name, scope=scope, during=window, expect=">= 0").completed(session.workload)
        session.finish_load()
        values = session.metrics()
    except (LabError, ValueError) as error:
        raise ActivityFailed(str(error)) from error
    if str(claim.key) not in values:
        raise ActivityFailed(f"the run has no sample of {claim.key}")
    return values[str(claim.key)].value


def _session() -> Session:
    try:
        return current()
    except LabError as error:
        raise ActivityFailed(str(error)) from error

"""Chaos Toolkit actions: put a fault in force, take all back, wait.

A fault takes its own fields plus `at` (when, since the load started; at once when not given) and
`duration` (until it is taken back; the end of the load when not given). All quantities are texts
with their unit, as in the files. The action returns when the fault is in force; taking it back is
the session's business and does not hold the method up. Faults that only a Kubernetes cluster can
have are in `chaos.toolkit.actions_kubernetes`; experiments name them here.
"""

from __future__ import annotations

from typing import Any

from chaoslib.exceptions import ActivityFailed

from chaos.toolkit import injection
from chaos.toolkit.actions_kubernetes import (
    api_server_down,
    cluster_stop,
    container_kill,
    coredns_down,
    gateway_kill,
    kubelet_stop,
    network_isolation,
    node_cordon,
    node_drain,
    node_pause,
    node_stop,
    pod_delete,
    rolling_restart,
    scale_to_zero,
)
from experiments.activity import WaitAction

__all__ = [
    "api_server_down",
    "cluster_stop",
    "container_kill",
    "coredns_down",
    "degrade",
    "gateway_kill",
    "heal_all",
    "kill",
    "kubelet_stop",
    "network_isolation",
    "node_cordon",
    "node_drain",
    "node_pause",
    "node_stop",
    "partition",
    "pause",
    "pod_delete",
    "rolling_restart",
    "scale_to_zero",
    "wait",
]


def kill(
    target: str, signal: str = "KILL", at: str | None = None, duration: str | None = None
) -> dict[str, Any]:
    """End a component's processes; undone by starting them again.

    Args:
        target: `service@site` or `service@site/index`.
        signal: `KILL` (a crash) or `TERM` (a graceful stop).
        at: when, since the load started.
        duration: until the component is started again.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return injection.inject("kill", {"target": target, "signal": signal, "at": at, "duration": duration})


def pause(target: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Stop a component's processes from running (SIGSTOP); undone by SIGCONT.

    Args:
        target: `service@site` or `service@site/index`.
        at: when, since the load started.
        duration: until the component runs on.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return injection.inject("pause", {"target": target, "at": at, "duration": duration})


def partition(
    isolate: list[str] | None = None,
    between: list[str] | None = None,
    grudge: dict[str, list[str]] | None = None,
    path: str = "vpn",
    at: str | None = None,
    duration: str | None = None,
) -> dict[str, Any]:
    """Part sites from one another; exactly one of isolate, between and grudge says which.

    Args:
        isolate: these sites lose the links to all others.
        between: only the links between these two.
        grudge: site -> sites it no longer hears.
        path: `vpn` (service to service) or `all` (the public network too).
        at: when, since the load started.
        duration: until the links are back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    given = {"isolate": isolate, "between": between, "grudge": grudge}
    return injection.inject("partition", {**given, "path": path, "at": at, "duration": duration})


def degrade(
    between: list[str],
    rtt: str | None = None,
    jitter: str | None = None,
    loss: str | None = None,
    bandwidth: str | None = None,
    at: str | None = None,
    duration: str | None = None,
) -> dict[str, Any]:
    """Make a link slow, jittery, lossy or narrow; what is not given stays as it was.

    Args:
        between: the two sites.
        rtt: round-trip time.
        jitter: half width of the one-way variation.
        loss: packet loss per direction.
        bandwidth: per direction.
        at: when, since the load started.
        duration: until the link is as before.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    given = {"between": between, "rtt": rtt, "jitter": jitter, "loss": loss, "bandwidth": bandwidth}
    return injection.inject("degrade", {**given, "at": at, "duration": duration})


def heal_all() -> list[str]:
    """Take back every fault in force; return their names.

    Raises:
        ActivityFailed: one of them could not be taken back.
    """
    session = injection.session()
    failed = len(session.failures)
    healed = session.heal_all()
    if len(session.failures) > failed:
        raise ActivityFailed("; ".join(map(str, session.failures[failed:])))
    return [applied.name for applied in healed]


def wait(until: str) -> float:
    """Wait on the lab's clock; return the time reached.

    Args:
        until: time since the load started.
    """
    session = injection.session()
    action = injection.read("wait", {"until": until})
    assert isinstance(action, WaitAction)
    injection.interruptible(session, lambda: session.sleep_until(action.until))
    return session.now()

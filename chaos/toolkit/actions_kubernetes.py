"""Chaos Toolkit actions for what only a Kubernetes cluster can suffer.

They are named in experiments as functions of `chaos.toolkit.actions`. On a lab without clusters
each of them fails with an error that says so.
"""

from __future__ import annotations

from typing import Any

from chaos.toolkit.injection import inject


def pod_delete(
    target: str, grace: str | None = None, at: str | None = None, duration: str | None = None
) -> dict[str, Any]:
    """Delete pods; their controller makes new ones.

    Args:
        target: `service@site` (every pod there) or `service@site/index`.
        grace: until SIGKILL; the pod's own when not given, `0s` kills without asking.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("pod_delete", {"target": target, "grace": grace, "at": at, "duration": duration})


def container_kill(target: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """SIGKILL to the pods' containers (exit 137); the kubelet restarts them in their pods.

    Args:
        target: `service@site` or `service@site/index`.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("container_kill", {"target": target, "at": at, "duration": duration})


def scale_to_zero(target: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Scale a workload to no pods; undone by the number it had.

    Args:
        target: `service@site`.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("scale_to_zero", {"target": target, "at": at, "duration": duration})


def rolling_restart(target: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Replace a workload's pods one after another, by its own update strategy.

    Args:
        target: `service@site`.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("rolling_restart", {"target": target, "at": at, "duration": duration})


def node_cordon(node: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Mark a node unschedulable; undone by uncordoning it.

    Args:
        node: `site/index`, counted from 0.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("node_cordon", {"node": node, "at": at, "duration": duration})


def node_drain(
    node: str, grace: str | None = None, at: str | None = None, duration: str | None = None
) -> dict[str, Any]:
    """Cordon a node and evict its pods; undone by uncordoning it.

    Args:
        node: `site/index`, counted from 0.
        grace: until SIGKILL; the pod's own when not given, `0s` kills without asking.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("node_drain", {"node": node, "grace": grace, "at": at, "duration": duration})


def node_stop(node: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Stop a node as if its power went; undone by starting it again.

    Args:
        node: `site/index`, counted from 0.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("node_stop", {"node": node, "at": at, "duration": duration})


def node_pause(node: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Freeze every process of a node; undone by letting them go on.

    Args:
        node: `site/index`, counted from 0.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("node_pause", {"node": node, "at": at, "duration": duration})


def kubelet_stop(node: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Stop a node's kubelet; its pods go on. Undone by starting it again.

    Args:
        node: `site/index`, counted from 0.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("kubelet_stop", {"node": node, "at": at, "duration": duration})


def cluster_stop(site: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Stop all nodes of a site at once; undone by starting them again.

    Args:
        site: whose cluster.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("cluster_stop", {"site": site, "at": at, "duration": duration})


def api_server_down(site: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Take a site's API server away; its pods go on. Undone by putting it back.

    Args:
        site: whose API server.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("api_server_down", {"site": site, "at": at, "duration": duration})


def gateway_kill(site: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Delete a site's VPN gateway pod without grace; its controller makes a new one.

    Args:
        site: whose gateway.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("gateway_kill", {"site": site, "at": at, "duration": duration})


def network_isolation(target: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Let nothing in to pods and nothing out, by a NetworkPolicy; undone by lifting it.

    Args:
        target: `service@site` or `service@site/index`.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("network_isolation", {"target": target, "at": at, "duration": duration})


def coredns_down(site: str, at: str | None = None, duration: str | None = None) -> dict[str, Any]:
    """Scale a site's CoreDNS to no pods; undone by the number it had.

    Args:
        site: whose CoreDNS.
        at: when, since the load started.
        duration: how long the fault's window is, until it is taken back.

    Raises:
        ActivityFailed: the fault could not be injected.
    """
    return inject("coredns_down", {"site": site, "at": at, "duration": duration})

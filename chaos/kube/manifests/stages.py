"""The order in which a lab is brought up, and what has to be ready before the next step.

As in the lab without Kubernetes replicas of the identity service fill their connection pools at their
start, so they come after the database, and what checks others' health comes after these: a sentinel that
is there before its primary would fail over to whoever comes up first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chaos.kube.manifests.objects import ROLE_LABEL, Object

RUNNING = ("Deployment", "StatefulSet", "DaemonSet")

_ORDER = (
    ("databases and caches", ("db", "redis", "nginx")),
    ("sentinels and identity service", ("sentinel", "iam")),
    ("front ends", ("haproxy",)),
)


@dataclass(frozen=True)
class Stage:
    """A step of the start.

    Attributes:
        name: for people.
        objects: by site, to be applied in this order.
        awaited: by site, the (kind, name) of workloads whose pods have to be ready before the next
            stage; `ready` is what the readiness probes say, see docs/kubernetes.md.
    """

    name: str
    objects: Mapping[str, Sequence[Object]]
    awaited: Mapping[str, Sequence[tuple[str, str]]]


def stages(rendered: Mapping[str, Sequence[Object]]) -> list[Stage]:
    """The stages of what `render` returned.

    The first one has everything that is no workload; the second one workloads of no role of the
    topology, such as the gateways; each later one may start at all sites at once.
    """
    known = {role for _, roles in _ORDER for role in roles}
    found = [
        _stage("foundation", rendered, lambda kind, role: kind not in RUNNING),
        _stage("network", rendered, lambda kind, role: kind in RUNNING and role not in known),
        *(_stage(name, rendered, _runs(roles)) for name, roles in _ORDER),
    ]
    return [stage for stage in found if any(stage.objects.values())]


def _runs(roles: Sequence[str]) -> Callable[[str, str], bool]:
    return lambda kind, role: kind in RUNNING and role in roles


def _stage(name: str, rendered: Mapping[str, Sequence[Object]], belongs: Callable[[str, str], bool]) -> Stage:
    objects = {
        site: [one for one in every if belongs(one["kind"], _role(one))] for site, every in rendered.items()
    }
    return Stage(
        name,
        objects,
        {
            site: [(one["kind"], one["metadata"]["name"]) for one in own if one["kind"] in RUNNING]
            for site, own in objects.items()
        },
    )


def _role(one: Object) -> str:
    return str(one["metadata"].get("labels", {}).get(ROLE_LABEL, ""))

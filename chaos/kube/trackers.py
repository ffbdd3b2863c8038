"""What a cluster's objects tell over time, as events of the shared vocabulary.

Each tracker is fed with objects as the API server sends them (whole, or as changes) and tells what is
new about them. It knows no network: after an outage it is fed with everything again, and tells the
difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from chaos.kube.api import Object, condition
from chaos.measure.collectors import Seen

Name = Callable[[Object], str | None]
"""The component that an object belongs to; None when it is none of ours."""


class Tracker(Protocol):
    """Follows the objects of one kind in one cluster."""

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of an object, seen at UNIX time ``now``, tells."""

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """What the state of all objects tells; those that were known and are missing are gone."""


class _Keyed:
    """Feeds all objects, and tells of those that went away while nobody looked."""

    def __init__(self) -> None:
        self._known: dict[str, Object] = {}

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        raise NotImplementedError

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """What the state of all objects tells; those that were known and are missing are gone."""
        present = {_uid(one) for one in everything}
        for uid, found in list(self._known.items()):
            if uid not in present:
                yield from self.feed(found, now, gone=True)
        for found in everything:
            yield from self.feed(found, now)

    def _remember(self, found: Object, gone: bool) -> None:
        if gone:
            self._known.pop(_uid(found), None)
        else:
            self._known[_uid(found)] = found


@dataclass
class _PodState:
    ready: bool = False
    deleting: bool = False
    restarts: int = 0
    trouble: str = ""


class PodTracker(_Keyed):
    """Pods: made, ready or not, asked to end, restarted, in trouble."""

    def __init__(self, name: Name) -> None:
        super().__init__()
        self._name = name
        self._states: dict[str, _PodState] = {}
        self._begun = False

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """As `Tracker.renew`; pods that are there at the first look are no news."""
        yield from super().renew(everything, now)
        self._begun = True

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of a pod tells."""
        name = self._name(found)
        if name is None:
            return
        self._remember(found, gone)
        pod = str(found["metadata"]["name"])
        was = self._states.get(_uid(found))
        if gone:
            if was is not None:
                del self._states[_uid(found)]
                if not was.deleting:
                    yield Seen(now, name, "pod.deleted", pod)
            return
        states = found.get("status", {}).get("containerStatuses") or []
        new = _PodState(
            condition(found, "Ready"),
            "deletionTimestamp" in found["metadata"],
            sum(int(one.get("restartCount", 0)) for one in states),
            next((text for one in states if (text := _trouble(one))), ""),
        )
        self._states[_uid(found)] = new
        if was is None:
            if not self._begun:
                return
            yield Seen(now, name, "pod.created", pod)
            was = _PodState()
        if new.deleting and not was.deleting:
            yield Seen(now, name, "pod.deleted", pod)
        if new.restarts > was.restarts:
            yield Seen(now, name, "container.restart", f"{pod}: {_ended(states)}")
        if new.trouble and new.trouble != was.trouble:
            yield Seen(now, name, "pod.trouble", f"{pod}: {new.trouble}")
        if new.ready != was.ready:
            yield Seen(now, name, "pod.ready" if new.ready else "pod.not-ready", pod)


def _trouble(state: Mapping[str, Any]) -> str:
    waiting = (state.get("state") or {}).get("waiting") or {}
    reason = str(waiting.get("reason", ""))
    return "" if reason in ("ContainerCreating", "PodInitializing") else reason


def _ended(states: Sequence[Mapping[str, Any]]) -> str:
    for one in states:
        ended = (one.get("lastState") or {}).get("terminated")
        if ended:
            return f"exit code {ended.get('exitCode')} ({ended.get('reason', 'no reason')})"
    return "no exit code"


class EndpointTracker(_Keyed):
    """EndpointSlices: addresses that a Service sends to, and no longer sends to."""

    def __init__(self, name: Name) -> None:
        super().__init__()
        self._name = name
        self._ready: dict[str, dict[str, frozenset[str]]] = {}
        self._begun = False

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """As `Tracker.renew`; addresses that are there at the first look are no news."""
        yield from super().renew(everything, now)
        self._begun = True

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of a slice tells about its Service as a whole."""
        name = self._name(found)
        if name is None:
            return
        self._remember(found, gone)
        service = str((found["metadata"].get("labels") or {}).get("kubernetes.io/service-name", ""))
        slices = self._ready.setdefault(service, {})
        before = frozenset[str]().union(*slices.values())
        if gone:
            slices.pop(_uid(found), None)
        else:
            slices[_uid(found)] = frozenset(_ready_addresses(found))
        after = frozenset[str]().union(*slices.values())
        if not self._begun:
            return
        for address in sorted(before - after):
            yield Seen(now, name, "endpoint.removed", f"{service}: {address}")
        for address in sorted(after - before):
            yield Seen(now, name, "endpoint.added", f"{service}: {address}")


def _ready_addresses(found: Object) -> Iterator[str]:
    for endpoint in found.get("endpoints") or []:
        # Not said means ready (discovery/v1 EndpointConditions).
        if (endpoint.get("conditions") or {}).get("ready", True) is not False:
            yield from endpoint.get("addresses") or []


class NodeTracker(_Keyed):
    """Nodes: ready or not, cordoned or not."""

    def __init__(self, name: Name) -> None:
        super().__init__()
        self._name = name
        self._states: dict[str, tuple[bool, bool]] = {}

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of a node tells; the first one of each node tells nothing."""
        name = self._name(found)
        if name is None:
            return
        self._remember(found, gone)
        was = self._states.get(name)
        if gone:
            self._states.pop(name, None)
            if was is not None and was[0]:
                yield Seen(now, name, "node.not-ready", "removed from the cluster")
            return
        new = condition(found, "Ready"), bool(found.get("spec", {}).get("unschedulable", False))
        self._states[name] = new
        if was is None:
            return
        if new[0] != was[0]:
            yield Seen(now, name, "node.ready" if new[0] else "node.not-ready", _why(found))
        if new[1] != was[1]:
            yield Seen(now, name, "node.cordoned" if new[1] else "node.uncordoned")


def _why(found: Object) -> str:
    for one in found.get("status", {}).get("conditions") or []:
        if one["type"] == "Ready":
            return str(one.get("reason", ""))
    return ""


@dataclass
class _Lease:
    renewed: str = ""
    seen: float = 0.0
    length: float = 40.0
    expired: bool = False


@dataclass
class LeaseTracker:
    """Leases of nodes: a kubelet that gives no sign of life for as long as its lease lasts.

    Judged by this machine's clock, from when a renewal was seen: clocks of nodes do not matter.
    """

    name: Name
    _leases: dict[str, _Lease] = field(default_factory=dict)

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of a lease tells."""
        name = self.name(found)
        if name is None:
            return
        if gone:
            self._leases.pop(name, None)
            return
        spec = found.get("spec", {})
        lease = self._leases.setdefault(name, _Lease(seen=now))
        if spec.get("renewTime", "") != lease.renewed:
            lease.renewed, lease.seen = str(spec.get("renewTime", "")), now
            lease.length = float(spec.get("leaseDurationSeconds", lease.length))
            if lease.expired:
                lease.expired = False
                yield Seen(now, name, "node.lease-renewed")

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """What the state of all leases tells."""
        for found in everything:
            yield from self.feed(found, now)

    def look(self, now: float) -> Iterator[Seen]:
        """Leases that have run out by ``now``; to be asked only while the API server answers."""
        for name, lease in self._leases.items():
            if not lease.expired and now - lease.seen > lease.length:
                lease.expired = True
                yield Seen(now, name, "node.lease-expired", f"not renewed for {lease.length:g} s")

    def pardon(self, now: float) -> None:
        """Nothing could be renewed until ``now``: every lease gets its full length again."""
        for lease in self._leases.values():
            lease.seen = max(lease.seen, now)


class WarningTracker:
    """The cluster's own Events: only warnings, and what was there before is no news."""

    def __init__(self, name: Name) -> None:
        self._name = name
        self._counts: dict[str, int] = {}
        self._begun = False

    def feed(self, found: Object, now: float, *, gone: bool = False) -> Iterator[Seen]:
        """What a new state of an Event tells: that it happened, once more."""
        if gone or found.get("type") != "Warning":
            return
        name = self._name(found)
        if name is None:
            return
        count = int(found.get("count") or (found.get("series") or {}).get("count") or 1)
        known, self._counts[_uid(found)] = self._counts.get(_uid(found), 0), count
        if count > known and self._begun:
            about = (found.get("involvedObject") or {}).get("name", "")
            message = " ".join(str(found.get("message", "")).split())[:160]
            yield Seen(now, name, "kubernetes.event", f"{found.get('reason', '')} {about}: {message}")

    def renew(self, everything: Sequence[Object], now: float) -> Iterator[Seen]:
        """What the state of all Events tells."""
        for found in everything:
            yield from self.feed(found, now)
        self._begun = True


def _uid(found: Object) -> str:
    metadata = found["metadata"]
    return str(metadata.get("uid") or metadata["name"])


def unix_time(text: str) -> float:
    """UNIX time of an RFC 3339 text, as containers' logs and objects have it, to the microsecond.

    Raises:
        ValueError: it is none.
    """
    whole, dot, rest = text.partition(".")
    if dot:  # nanoseconds, which Python does not read
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

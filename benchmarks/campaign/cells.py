"""What the campaign runs: one cell per deployment, load and fault, in order of importance.

Plain cells vary members, round trip, who writes, users and flow; fault cells break one thing each. The
order spreads the factors, so that the beginning of the list is a smaller campaign of the same kind.

Two cores carry all of it: pauses between iterations keep most cells below 70 % of the machine, and the
cells marked `saturated` use up the CPU quota of a site on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from experiments.faults import Degrade, Fault, Kill, Partition, Pause, ScheduledFault
from experiments.observation import Observation
from experiments.workload import Flow, ProbeStream, Workload
from sim.predict import Scenario
from topologies.model import Topology

SITES = ("ral", "cam", "edi", "gla", "man")
QUOTA = 0.5
"""Cores per site, as in the lab size of the library."""

SESSIONS = 3
"""Redis and Sentinel stand at this many sites at most: more of them only take CPU from the rest."""

REPEATS = 3
"""How often every cell is measured."""

WARMUP = {"plain": 5.0, "fault": 3.0}
"""Seconds cut off the beginning of a load at least, by kind of cell."""

PAUSES = 2.5
"""Mean pauses that the warm-up lasts at least: users who all begin at once ask less once they are spread."""

WINDOW = 11.0
"""Seconds measured at a time of a plain cell: its repeats are windows of one load, one after the other."""

CALM = 4.0
"""Seconds between the warm-up and the first fault."""

PROBES = (ProbeStream(flow="health", rate=10.0), ProbeStream(flow="access-token", rate=2.0))
"""Of fault cells; plain cells have none, so that their users have the machine for themselves."""

Writers = Literal["one", "all"]


@dataclass(frozen=True)
class Strike:
    """A fault, in seconds after the calm."""

    fault: Fault
    duration: float
    after: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One deployment under one load, with or without faults.

    Attributes:
        name: unique; name of its data file.
        members: Galera members, one per site.
        rtt: round trip between any two sites, seconds.
        forward: share of the round trip that packets take away from the site that comes first.
        writers: `one`: a single front end asks its own member; `all`: one at every site.
        users: of the closed loop, spread over the sites that have a front end.
        think: mean pause between two iterations, seconds.
        strikes: what breaks.
        tail: seconds between the end of the last fault and the end of the load.
        fresh: the fault leaves the deployment in another state, so that each repeat takes a new lab.
        saturated: meant to use up a CPU quota.
        overrides: `path=value` texts for the topology.
    """

    name: str
    members: int
    rtt: float
    writers: Writers
    users: int
    think: float
    flow: Flow
    forward: float = 0.5
    strikes: tuple[Strike, ...] = ()
    tail: float = 11.0
    fresh: bool = False
    saturated: bool = False
    overrides: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> Literal["plain", "fault"]:
        """Whether something breaks."""
        return "fault" if self.strikes else "plain"

    @property
    def sites(self) -> tuple[str, ...]:
        """Where members are."""
        return SITES[: self.members]

    @property
    def deployment(self) -> tuple[object, ...]:
        """Cells with equal values run in the same lab: links change while it is up."""
        return (self.members, self.writers, self.overrides)

    @cached_property
    def topology(self) -> Topology:
        """The deployment, in lab size."""
        return build(self)

    @property
    def warmup(self) -> float:
        """Seconds until users are spread over their pauses."""
        return max(WARMUP[self.kind], PAUSES * self.think)

    @cached_property
    def workload(self) -> Workload:
        """One repeat: a load with its faults, or the first window of one without."""
        end = max((strike.after + strike.duration for strike in self.strikes), default=0.0)
        warmup = self.warmup
        return Workload(
            flow=self.flow,
            users=self.users,
            ramp=40.0,
            think=self.think,
            warmup=warmup,
            duration=warmup + (CALM + end + self.tail if self.strikes else WINDOW),
            timeout=10.0,
            probes=PROBES if self.strikes else (),
        )

    @property
    def load(self) -> Workload:
        """What runs at a time: one repeat, or one window after the other."""
        if self.strikes:
            return self.workload
        return self.workload.model_copy(update={"duration": self.workload.warmup + REPEATS * WINDOW})

    def repeats(self, observation: Observation) -> list[Observation]:
        """The repeats that a load held; each window as if its load had ended with it."""
        if self.strikes:
            return [observation]
        begin = self.workload.warmup
        edges = [(begin + n * WINDOW, begin + (n + 1) * WINDOW) for n in range(REPEATS)]
        return [replace(observation, warmup=start, duration=end) for start, end in edges]

    @property
    def timeline(self) -> tuple[ScheduledFault, ...]:
        """The faults, in order."""
        return tuple(
            ScheduledFault(
                name=f"{self.name} {number}",
                fault=strike.fault,
                at=self.warmup + CALM + strike.after,
                duration=strike.duration,
            )
            for number, strike in enumerate(self.strikes, start=1)
        )

    @property
    def scenario(self) -> Scenario:
        """What the simulator is asked."""
        return Scenario(self.topology, self.workload, self.timeline, (), "lab")

    @property
    def factors(self) -> dict[str, Any]:
        """What distinguishes the cell, as plain data."""
        return {
            "kind": self.kind,
            "members": self.members,
            "rtt": self.rtt,
            "forward": self.forward,
            "writers": self.writers,
            "users": self.users,
            "think": self.think,
            "flow": self.flow,
            "saturated": self.saturated,
        }


def build(cell: Cell) -> Topology:
    """The topology of ``cell``: like those of the library, with as many sites as it has members."""
    sites = list(cell.sites)
    asked = sites if cell.writers == "all" else sites[:1]
    stores = sites[:SESSIONS]
    link = {"rtt": cell.rtt, "bandwidth": "1Gbit", "vpn": "wireguard"}
    if cell.forward != 0.5:
        link["forward"] = cell.forward
    topology = Topology.model_validate(
        {
            "topology": f"campaign-{cell.members}-{cell.writers}",
            "sites": {site: {"nodes": 1, "cpu": QUOTA, "memory": "2GiB"} for site in sites},
            "links": [
                {"between": [one, other], **link}
                for place, one in enumerate(sites)
                for other in sites[place + 1 :]
            ],
            "services": {
                "iam": {
                    "kind": "indigo-iam",
                    "replicas": dict.fromkeys(asked, 1),
                    "database": "db",
                    "sessions": "cache",
                },
                "db": {"kind": "galera", "members": dict.fromkeys(sites, 1)},
                "cache": {
                    "kind": "redis-sentinel",
                    "primary": stores[0],
                    "replicas": stores[1:],
                    "sentinels": stores,
                    "down_after": "5s",
                    "failover_timeout": "20s",
                },
                "web": {"kind": "nginx", "sites": asked, "upstream": "iam"},
                "frontend": {
                    "kind": "haproxy",
                    "sites": asked,
                    "backend": "web",
                    "reach": "local-first",
                    "check": {"kind": "http", "inter": "2s", "fall": 3, "rise": 2},
                },
                "dns": {
                    "kind": "dns-balancer",
                    "targets": "frontend",
                    "ttl": "5s",
                    "check": {"interval": "2s", "down": 3, "ok": 3, "up": 2},
                },
            },
            "clients": {
                f"{site}-users": {"site": site, "share": 1, "resolver_cache": "5s"} for site in asked
            },
        }
    )
    return topology.with_(*cell.overrides) if cell.overrides else topology


def _plain(
    members: int,
    rtt: float,
    writers: Writers,
    users: int,
    think: float,
    flow: Flow,
    *,
    forward: float = 0.5,
    saturated: bool = False,
) -> Cell:
    distance = "" if members == 1 else f"-{1000 * rtt:.0f}ms" + ("" if forward == 0.5 else "-skewed")
    name = f"m{members}-{writers}{distance}-u{users}-{flow}"
    return Cell(name, members, rtt, writers, users, think, flow, forward, saturated=saturated)


def _fault(name: str, *strikes: Strike, **more: Any) -> Cell:
    usual: dict[str, Any] = {
        "members": 3,
        "rtt": 0.030,
        "writers": "all",
        "users": 8,
        "think": 1.0,
        "flow": "workflow",
    }
    return Cell(name, strikes=strikes, **(usual | more))


def _cut(seconds: float) -> Cell:
    return _fault(f"cut-{seconds:g}s", Strike(Partition(isolate=["edi"]), seconds))


def _flaps(times: int, down: float, up: float) -> tuple[Strike, ...]:
    return tuple(Strike(Partition(isolate=["edi"]), down, number * (down + up)) for number in range(times))


CELLS: tuple[Cell, ...] = (
    _plain(3, 0.030, "all", 16, 0.5, "access-token"),
    _plain(2, 0.100, "one", 4, 0.5, "workflow"),
    _cut(10),
    _plain(1, 0.0, "one", 4, 0.8, "workflow"),
    _plain(5, 0.030, "all", 16, 1.0, "access-token"),
    _fault("kill", Strike(Kill(target="db@edi"), 12)),
    _plain(3, 0.200, "one", 16, 0.5, "refresh"),
    _plain(2, 0.002, "all", 4, 0.1, "refresh"),
    _fault("pause", Strike(Pause(target="db@edi"), 10)),
    _plain(3, 0.030, "all", 40, 5.0, "workflow"),
    _plain(3, 0.100, "all", 1, 0.0, "access-token"),
    _fault("primary-kill", Strike(Kill(target="cache@ral"), 15), fresh=True, tail=7.0),
    _plain(2, 0.030, "one", 40, 0.0, "access-token", saturated=True),
    _plain(3, 0.100, "one", 4, 0.0, "access-token", forward=0.8),
    _fault("one-way-cut", Strike(Partition(grudge={"edi": ["ral", "cam"]}), 10)),
    _plain(5, 0.200, "one", 4, 0.1, "workflow"),
    _plain(1, 0.0, "one", 40, 0.0, "access-token", saturated=True),
    _cut(2.5),
    _plain(2, 0.200, "all", 16, 1.0, "workflow"),
    _plain(3, 0.002, "all", 16, 1.5, "workflow"),
    _fault("one-link", Strike(Partition(between=("ral", "edi")), 10)),
    _plain(3, 0.100, "all", 16, 1.0, "refresh"),
    _plain(2, 0.100, "all", 40, 2.0, "access-token"),
    _fault("frontend-hang", Strike(Pause(target="iam@edi"), 10)),
    _plain(5, 0.100, "all", 16, 2.0, "workflow"),
    _plain(3, 0.030, "one", 1, 0.0, "refresh"),
    _fault(
        "degrade",
        Strike(Degrade(between=("ral", "edi"), rtt=0.200), 10),
        Strike(Degrade(between=("cam", "edi"), rtt=0.200), 10),
        tail=6.0,
    ),
    _plain(2, 0.030, "all", 16, 2.0, "refresh"),
    _plain(1, 0.0, "one", 1, 0.2, "refresh"),
    _fault("leave", Strike(Kill(target="db@edi", signal="TERM"), 12)),
    _plain(3, 0.200, "all", 40, 3.0, "access-token"),
    _plain(5, 0.002, "one", 16, 0.7, "access-token"),
    _cut(1),
    _plain(2, 0.100, "all", 16, 1.0, "workflow", forward=0.8),
    _plain(3, 0.002, "one", 40, 8.0, "workflow"),
    _fault("flap", *_flaps(3, 2.0, 3.0)),
    _plain(3, 0.100, "all", 16, 1.0, "access-token", forward=0.8),
    _plain(1, 0.0, "one", 16, 4.0, "refresh"),
    _cut(30),
    _fault(
        "sentinel-split",
        Strike(Kill(target="cache@ral"), 22),
        rtt=0.100,
        fresh=True,
        tail=5.0,
        overrides=("services.cache.down_after=1s", "services.cache.failover_timeout=4s"),
    ),
    _fault("two-cut", Strike(Partition(isolate=["cam"]), 10), members=2),
    _plain(5, 0.030, "all", 4, 0.5, "refresh"),
    _fault("kill-of-five", Strike(Kill(target="db@man"), 10), members=5, users=4),
)
"""All cells, the most important first."""


def named(names: Sequence[str]) -> tuple[Cell, ...]:
    """The cells called ``names``, in order of importance.

    Raises:
        KeyError: there is no such cell.
    """
    known = {cell.name for cell in CELLS}
    for name in names:
        if name not in known:
            raise KeyError(name)
    return tuple(cell for cell in CELLS if cell.name in names)

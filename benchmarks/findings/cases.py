"""All that is simulated beside the study's own set-ups: what-ifs, ordinary days, losses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from benchmarks.findings.setups import SETUPS, SetUp, rig
from benchmarks.findings.study import BUSY, CALM, Case, Everyday, Loss, grid
from experiments.faults import Kill, Partition
from experiments.workload import Flow

FAR = "two-galera-5-30"
"""The set-up that most questions are about: two clusters 30 ms apart, a member on every node."""


@dataclass(frozen=True)
class WhatIf:
    """A set-up with something changed.

    Attributes:
        question: of a reviewer.
        base: name of the set-up.
        change: short name of the change.
        overrides: `--set` texts.
        loads: flow and load of each comparison.
        remark: what the answer rests on.
    """

    question: str
    base: str
    change: str
    overrides: tuple[str, ...]
    loads: tuple[tuple[Flow, str], ...]
    remark: str = ""

    @property
    def name(self) -> str:
        """Of the changed set-up."""
        return f"{self.base}+{self.change}"

    @property
    def setup(self) -> SetUp:
        """The changed set-up."""
        return SETUPS[self.base].but(self.name, *self.overrides)


def _sticky() -> tuple[str, ...]:
    """A front end of its own for every node; a user's whole iteration goes to one of them."""
    local, remote = ("l1", "l2", "l3"), ("r1", "r2")
    node = {"nodes": 1, "cpu": 8, "memory": "30GiB"}
    sites = {"lb": node, **dict.fromkeys((*local, *remote), node)}
    links = []
    for a, b in combinations(sites, 2):
        far = (a in remote) != (b in remote)
        near = "0.2ms" if "lb" in (a, b) else "0.05ms"
        tunnel = far and a != "lb"
        links.append(
            {"between": [a, b], "rtt": "30ms" if far else near, "vpn": "wireguard" if tunnel else "none"}
        )
    nodes = [*local, *remote]
    services = {
        "iam": {"kind": "indigo-iam", "replicas": dict.fromkeys(nodes, 1), "database": "db"},
        "db": {"kind": "galera", "members": dict.fromkeys(nodes, 1)},
        "frontend": {"kind": "haproxy", "sites": nodes, "backend": "iam", "reach": "local"},
    }
    given = {"sites": sites, "links": links, "services": services}
    return tuple(f"{name}={json.dumps(value)}" for name, value in given.items())


_BOTH: tuple[tuple[Flow, str], ...] = (("workflow", BUSY), ("workflow", CALM))

WHATIFS = (
    WhatIf("causal reads", FAR, "sync-wait", ("services.db.sync_wait=1",), _BOTH),
    WhatIf(
        "retry of autocommitted statements",
        FAR,
        "retry",
        ("services.db.retry_autocommit=4",),
        (("workflow", CALM),),
        "The server retries statements that are transactions of their own. What conflicts here are explicit "
        "transactions, which it cannot repeat: nothing changes, by the rule of the component, not by luck.",
    ),
    WhatIf("READ COMMITTED", FAR, "read-committed", ("services.db.isolation=read-committed",), _BOTH),
    WhatIf(
        "clear-access-tokens off",
        FAR,
        "no-clear",
        ("services.iam.clear_access_tokens_on_refresh=false",),
        _BOTH,
    ),
    WhatIf(
        "access tokens not stored",
        FAR,
        "unstored",
        ("services.iam.store_access_tokens=false",),
        _BOTH,
        "Statements of a service that stores its tokens, less those that write one: what a version that "
        "has the switch costs was not measured.",
    ),
    WhatIf(
        "a user stays with one node",
        FAR,
        "sticky",
        _sticky(),
        _BOTH,
        "An entry at every node that passes to its own front end only, users take one at random per "
        "iteration (as with DNS): what was written is read at the member that wrote it.",
    ),
    *(
        WhatIf(
            "eight applier threads",
            base,
            "appliers",
            ("services.db.slave_threads=8",),
            (("access-token", BUSY),),
        )
        for base in ("one-galera-3", "two-galera-5-0")
    ),
    *(
        WhatIf(
            "clear-access-tokens off",
            base,
            "no-clear",
            ("services.iam.clear_access_tokens_on_refresh=false",),
            (("workflow", BUSY),),
        )
        for base in ("docker-external", "one-external", "two-external-0", "two-replication-local-30")
    ),
    WhatIf(
        "health checks that ask the service",
        "docker-external",
        "http-check",
        ("services.frontend.check.kind=http",),
        (("workflow", BUSY),),
        "HAProxy asks `/actuator/health` and not only whether the port is open: a saturated service has no "
        "connection left for the answer and is taken out.",
    ),
    *(
        WhatIf(
            "no tunnel", base, "bare", ("links[0].vpn=none",), (("access-token", CALM), ("workflow", CALM))
        )
        for base in (FAR, "two-galera-5-0", "two-replication-local-0", "two-replication-local-30")
    ),
)

DAILY = {"IRIS": (15.0, 25.0, 3.0), "SKA": (1500.0, 1500.0, 0.5)}
"""Tokens per hour, logins per hour (the middles of what was stated), hours simulated per trial."""

DAY_SETUPS = (
    "docker-external",
    "two-external-30",
    "two-replication-local-30",
    "two-galera-3-30",
    FAR,
)


def days() -> Iterator[Everyday]:
    """Ordinary days.

    The profile has no login page. A password grant and a look at the user's information stand in for what a
    login asks of the token endpoint and behind it; with a refresh, for a session that goes on.
    """
    for service, (tokens, logins, hours) in DAILY.items():
        for name in DAY_SETUPS:
            flows: tuple[tuple[Flow, float], ...] = (
                ("access-token", tokens),
                ("userinfo", logins),
                ("refresh", logins),
            )
            for flow, rate in flows:
                yield Everyday(SETUPS[name], flow, f"{service} day", per_hour=rate, hours=hours)


def _node(cluster: str, index: int) -> tuple[Kill, ...]:
    return tuple(Kill(target=f"{service}@{cluster}/{index}") for service in ("iam", "db"))


THIRD = ("sites.scd.nodes=1", "services.db.members={local: 2, remote: 2, scd: 1}")
"""A fifth member at a third place instead of the third one at the local cluster."""

LOSSES: tuple[tuple[str, str, Loss], ...] = (
    (
        "its only node",
        "no front end is left",
        Loss(SETUPS["docker-external"], "access-token", "loses its node", (Kill(target="iam@local"),)),
    ),
    (
        "one node of five, front end and member",
        "HAProxy takes it out after its checks, Galera after suspect_timeout",
        Loss(SETUPS[FAR], "access-token", "loses a node", _node("local", 0)),
    ),
    (
        "the smaller cluster",
        "three of five members go on",
        Loss(
            SETUPS[FAR],
            "access-token",
            "loses the remote cluster",
            (Partition(isolate=["remote"], path="all"),),
        ),
    ),
    (
        "the larger cluster",
        "two of five members are no majority: they refuse",
        Loss(
            SETUPS[FAR],
            "access-token",
            "loses the local cluster",
            (Partition(isolate=["local"], path="all"),),
        ),
    ),
    (
        "the larger cluster, with a member at a third place",
        "three of five members go on",
        Loss(
            SETUPS[FAR].but(f"{FAR}+third", *THIRD),
            "access-token",
            "loses the local cluster",
            (Partition(isolate=["local"], path="all"),),
        ),
    ),
)
"""What is lost, why it ends as it does, and the case."""


def everything() -> list[Case]:
    """All cases, those of the study first, each once."""
    found: dict[tuple[str, str, str], Case] = {case.key: case for case in grid()}
    for question in WHATIFS:
        for flow, load in question.loads:
            case = Case(question.setup, flow, load)
            found.setdefault(case.key, case)
    for one in [*days(), *(loss for _, _, loss in LOSSES)]:
        found.setdefault(one.key, one)
    return list(found.values())


def reproduced(setup: SetUp) -> str:
    """The `--set` options that make a set-up of the rig."""
    assert rig()  # the options are of this file
    return " ".join(f"--set '{text}'" for text in setup.overrides)

"""The study's set-ups, each as overrides of one topology, in the study's own order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.calibration import Calibration, Estimate
from sim.profile import load as load_profile
from topologies.loader import load
from topologies.model import Topology

RIG = Path(__file__).with_name("rig.yaml")
PROFILE = "indigo-iam"

WITHIN = "0.2ms"
"""Round trip between clusters of one data centre: assumed, as is that of the rest of the rig."""

TUNNEL = Estimate(mean=0.25e-3, sem=0.1e-3)
"""What a tunnel adds to a packet, one way, in seconds: wireguard-go as measured (components.md 7.1). That
of the kernel, Liqo's default, is cheaper: an upper bound."""


@dataclass(frozen=True)
class SetUp:
    """One deployment of the study.

    Attributes:
        name: short, unique.
        clusters: what the front ends run on, in the study's words.
        database: what the database is.
        rtt: between the clusters, in milliseconds; None with one of them.
        front_ends: how many.
        overrides: `--set` texts that make it of `rig.yaml`.
    """

    name: str
    clusters: str
    database: str
    rtt: float | None
    front_ends: int
    overrides: tuple[str, ...]

    @property
    def title(self) -> str:
        """For tables."""
        apart = "" if self.rtt is None else f", {self.rtt:g} ms"
        return f"{self.clusters}{apart}: {self.database}"

    def topology(self) -> Topology:
        """The deployment."""
        return rig().with_(*self.overrides)

    def but(self, name: str, *overrides: str) -> SetUp:
        """The same with something changed."""
        return SetUp(
            name, self.clusters, self.database, self.rtt, self.front_ends, (*self.overrides, *overrides)
        )


@cache
def rig() -> Topology:
    """The rig with everything in it."""
    return load(RIG)


def demands(topology: Topology) -> Calibration:
    """What requests cost on ``topology``: the real service's demands, and no lab's relay between sites."""
    base = Calibration.default().model_copy(update={"public_delay": Estimate(mean=0.0), "vpn_delay": TUNNEL})
    return load_profile(PROFILE).calibrated(base, topology)


EXTERNAL = "services.db.members={scd: 3}"
ONE_CLUSTER = ("services.iam.replicas={local: 3}",)
ONE_NODE = ("sites.local.nodes=1", "services.iam.replicas={local: 1}")


def _replication(primary: str, replica: str | None) -> str:
    replicas = "[]" if replica is None else f"[{replica}]"
    return f"services.db={{kind: mariadb-replication, primary: {primary}, replicas: {replicas}}}"


def _galera(**members: int) -> str:
    return "services.db.members={" + ", ".join(f"{site}: {count}" for site, count in members.items()) + "}"


def _apart(rtt: float) -> tuple[str, ...]:
    """The round trip of every link of the remote cluster."""
    value = WITHIN if rtt == 0 else f"{rtt:g}ms"
    return tuple(f"links[{number}].rtt={value}" for number in (0, 2, 4))


def _all() -> Iterator[SetUp]:
    docker, one, two = "Docker", "one cluster", "two clusters"
    yield SetUp("docker-external", docker, "external Galera", None, 1, (*ONE_NODE, EXTERNAL))
    yield SetUp("docker-own", docker, "MariaDB on the same node", None, 1, (*ONE_NODE, _galera(local=1)))
    yield SetUp("one-external", one, "external Galera", None, 3, (*ONE_CLUSTER, EXTERNAL))
    yield SetUp("one-replication", one, "replication", None, 3, (*ONE_CLUSTER, _replication("local", None)))
    yield SetUp("one-galera-2", one, "Galera, 2 members", None, 3, (*ONE_CLUSTER, _galera(local=2)))
    yield SetUp("one-galera-3", one, "Galera, 3 members", None, 3, (*ONE_CLUSTER, _galera(local=3)))
    for rtt in (0.0, 30.0):
        end, apart = f"{rtt:g}", _apart(rtt)
        yield SetUp(f"two-external-{end}", two, "external Galera", rtt, 5, (*apart, EXTERNAL))
        yield SetUp(
            f"two-replication-local-{end}",
            two,
            "replication, primary at the local cluster",
            rtt,
            5,
            (*apart, _replication("local", "remote")),
        )
        yield SetUp(
            f"two-replication-remote-{end}",
            two,
            "replication, primary at the remote cluster",
            rtt,
            5,
            (*apart, _replication("remote", "local")),
        )
        for members in ((1, 1), (2, 1), (3, 2)):
            yield SetUp(
                f"two-galera-{sum(members)}-{end}",
                two,
                f"Galera, {sum(members)} members",
                rtt,
                5,
                (*apart, _galera(local=members[0], remote=members[1])),
            )


SETUPS: dict[str, SetUp] = {one.name: one for one in _all()}
"""By name, in the study's order: Docker, one cluster, two clusters without and with latency."""

"""What the simulation has no request for, computed: sessions in Redis, reads at a replica."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.findings.setups import SetUp
from topologies.model import IndigoIam

READ_COMMANDS, SAVE_COMMANDS = 1, 6
"""Commands, one after the other, of a page with a session: to read it, and to save it (facts/iam.md
section 5, inferred from the session library)."""

AUTOCOMMITTED = {"access-token": 0, "password": 21, "refresh": 34, "token-exchange": 37}
"""SELECTs outside transactions per request: all that a read/write-splitting proxy can send to a replica
(facts/iam.md 1.2)."""

STATEMENTS = {"access-token": 92, "password": 151, "refresh": 156, "token-exchange": 154}
"""All statements of a request (facts/iam.md 1.2)."""


@dataclass(frozen=True)
class Distance:
    """Round trips to one site, seen from the front ends.

    Attributes:
        mean: over the front ends, seconds.
        far: share of the front ends at another site.
    """

    mean: float
    far: float


def distance(setup: SetUp, site: str) -> Distance:
    """How far ``site`` is from the front ends of ``setup``."""
    topology = setup.topology()
    iam = next(service for service in topology.services.values() if isinstance(service, IndigoIam))
    total = sum(iam.replicas.values())
    links = {frozenset(link.between): link.rtt for link in topology.links}
    away = {place: count for place, count in iam.replicas.items() if place != site}
    mean = sum(count * links[frozenset((place, site))] for place, count in away.items()) / total
    return Distance(mean, sum(away.values()) / total)


def session_delay(setup: SetUp, primary: str) -> tuple[float, float]:
    """Seconds that the session store adds to a page, mean over front ends: reading only, and saving too.

    Args:
        setup: the deployment.
        primary: site of the Redis primary, which the client library asks for reads too.
    """
    rtt = distance(setup, primary).mean
    return READ_COMMANDS * rtt, (READ_COMMANDS + SAVE_COMMANDS) * rtt


def replica_reads_save(request: str, rtt: float) -> tuple[float, float]:
    """Seconds of round trips of a far front end's ``request``: all at the primary, and with reads apart."""
    return STATEMENTS[request] * rtt, (STATEMENTS[request] - AUTOCOMMITTED[request]) * rtt

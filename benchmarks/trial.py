"""Whole replications by the default engine: the source talk's full trial, and a day of SKA's load."""

from __future__ import annotations

import time
from typing import Any

from experiments.faults import Kill, Partition, ScheduledFault
from experiments.workload import ProbeStream, Workload
from sim import profile as profiles
from sim.calibration import Calibration
from sim.predict import Scenario, spec_maker
from sim.replication import run
from topologies.loader import load
from topologies.model import Topology

TALK_LIMIT, DAY_LIMIT = 5.0, 10.0
"""Seconds on one core that are promised."""


def talk(quick: bool) -> dict[str, Any]:
    """500 users for 10 minutes on five front ends and three Galera members, with faults, once."""
    topology = deployment({"ral": 2, "cam": 2, "edi": 1})
    seconds = 30.0 if quick else 600.0
    workload = Workload(
        flow="workflow",
        users=50 if quick else 500,
        ramp=50.0,
        think=1.0,
        duration=seconds,
        warmup=seconds / 10,
    )
    faults = (
        ScheduledFault(
            name="cut", fault=Partition(isolate=["edi"]), at=seconds * 0.3, duration=seconds * 0.1
        ),
        ScheduledFault(name="kill", fault=Kill(target="db@cam"), at=seconds * 0.6, duration=seconds * 0.1),
    )
    return _once(Scenario(topology, workload, faults, size="production"), None if quick else TALK_LIMIT)


def day(quick: bool) -> dict[str, Any]:
    """2000 tokens and 2000 logins per hour for a day, with the real service's background jobs.

    A password grant and a refresh stand in for a login in the browser, whose cost no profile holds yet.
    """
    topology = deployment({"ral": 3, "cam": 2, "edi": 1})
    sites = len(topology.sites)
    workload = Workload(
        flow="refresh",
        users=100,
        ramp=100.0,
        think=100 / (2000 / 3600),
        duration=600.0 if quick else 86_400.0,
        warmup=60.0,
        probes=(ProbeStream(flow="access-token", rate=2000 / 3600 / sites),),
    )
    scenario = Scenario(topology, workload, size="production")
    return _once(scenario, None if quick else DAY_LIMIT, "indigo-iam")


def deployment(replicas: dict[str, int]) -> Topology:
    """The library's three sites with so many front ends at each."""
    return load("iris-3site-galera").with_(
        *(f"services.iam.replicas.{site}={n}" for site, n in replicas.items())
    )


def _once(scenario: Scenario, limit: float | None, profile: str = profiles.DEFAULT) -> dict[str, Any]:
    demands = profiles.load(profile).calibrated(Calibration.default(), scenario.topology)
    make = spec_maker(scenario, demands, 1)
    # Compiled code and caches are warm, as they are for every replication but a machine's first.
    brief = scenario.workload.model_copy(update={"duration": 5.0, "warmup": 1.0, "users": 2})
    run(spec_maker(Scenario(scenario.topology, brief, size=scenario.size), demands, 1)(0))
    start = time.process_time()
    found = run(make(0))
    seconds = time.process_time() - start
    return {
        "seconds": round(seconds, 2),
        "simulated seconds": scenario.workload.duration,
        "requests": found.requests,
        "requests per second": round(found.requests / seconds),
        "held": {} if limit is None else {f"<= {limit:g} s on one core": seconds <= limit},
    }

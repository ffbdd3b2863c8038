"""The load generators of the local lab: their plans, their start, and the samples they write."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from chaos.errors import LabError
from chaos.host import processes
from chaos.host.cgroups import Cgroups
from chaos.host.processes import Process
from chaos.iam.schema import LOADTEST, PASSWORD, Seed
from chaos.lab.layout import DNS_ADDRESS, DNS_PORT, HTTP_PORT, SERVICE_NAME, Layout
from chaos.load.plan import COLUMNS, Credentials, LoadPlan
from experiments.observation import REQUEST_COLUMNS
from experiments.workload import Workload, users_per_population
from topologies.model import Haproxy, Topology

GROUP = "load"
WEIGHT = 4.0
"""CPU weight against the sites: a generator that is late measures itself."""

ACCOUNTS = tuple(f"test{number}" for number in range(1, Seed.users + 1))

SCOPES = {
    "access-token": "scim:read scim:write",
    "password": "openid profile email offline_access",
    "token-exchange": "profile email",
}
"""Two scopes for access tokens and exchanges, four for the password grant (facts/iam.md 1.2)."""

# Importing Locust takes about a second of CPU, and all generators start at once.
_START_TIME = 3.0
_START_TIME_EACH = 0.6


@dataclass(frozen=True)
class Generator:
    """One generator process to be; with no namespace it runs on this machine's own network."""

    name: str
    module: str
    namespace: str
    plan: LoadPlan

    @property
    def group(self) -> str:
        """Its control group."""
        return f"{GROUP}/{self.name}"


def credentials() -> Credentials:
    """Who the users are: accounts and client of the seed data."""
    return Credentials(
        client_id=LOADTEST.client_id,
        client_secret=LOADTEST.secret,
        accounts=list(ACCOUNTS),
        password=PASSWORD,
        scopes=dict(SCOPES),
    )


def generators(
    topology: Topology, layout: Layout, workload: Workload, seed: int, t0: float, directory: Path
) -> list[Generator]:
    """One generator of users per population that has any, one prober per site.

    Args:
        t0: UNIX time at which the load starts.
        directory: for the samples.
    """
    front_ends = {
        layout.public(site): site
        for service in topology.services_of(Haproxy).values()
        for site in service.sites
    }
    shares = {name: population.share for name, population in topology.clients.items()}
    counts = users_per_population(workload.users, shares)
    common = {
        "t0": t0,
        "duration": workload.duration,
        "resolver": DNS_ADDRESS,
        "resolver_port": DNS_PORT,
        "name": SERVICE_NAME,
        "port": HTTP_PORT,
        "front_ends": front_ends,
        "flow": workload.flow,
        "credentials": credentials(),
    }
    found = []
    for name, population in topology.clients.items():
        if counts[name] == 0:
            continue
        plan = LoadPlan.model_validate(
            {
                **common,
                "site": population.site,
                "resolver_cache": population.resolver_cache,
                "users": counts[name],
                "ramp": workload.ramp * counts[name] / workload.users,
                "think": workload.think,
                "timeout": workload.timeout,
                "seed": _seed(seed, name),
                "out": str(directory / f"users-{name}.csv"),
            }
        )
        namespace = layout.users_namespace(population.site)
        found.append(Generator(f"users-{name}", "chaos.load.users", namespace, plan))
    if not workload.probes:
        return found
    for site in layout.sites:
        plan = LoadPlan.model_validate(
            {
                **common,
                "site": site,
                "resolver_cache": _probe_cache(topology, site),
                "probes": [probe.model_dump() for probe in workload.probes],
                "seed": _seed(seed, f"prober {site}"),
                "out": str(directory / f"prober-{site}.csv"),
            }
        )
        namespace = layout.users_namespace(site)
        found.append(Generator(f"prober-{site}", "chaos.load.prober", namespace, plan))
    return found


def _probe_cache(topology: Topology, site: str) -> float:
    """A prober resolves as the users of its site do; without users there, as the first population."""
    here = [population for population in topology.clients.values() if population.site == site]
    chosen = here[0] if here else next(iter(topology.clients.values()))
    return chosen.resolver_cache


def _seed(seed: int, name: str) -> int:
    """A generator's own seed, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "big")


def lead(count: int) -> float:
    """Seconds from the start of ``count`` generators until all of them are ready."""
    return _START_TIME + _START_TIME_EACH * count


def start(found: Sequence[Generator], directory: Path, cgroups: Cgroups) -> list[Process]:
    """Start the generators; they wait for their t0 by themselves."""
    directory.mkdir(parents=True, exist_ok=True)
    cgroups.create(GROUP, weight=WEIGHT)
    started = []
    for generator in found:
        path = directory / f"{generator.name}.json"
        generator.plan.write(path)
        Path(generator.plan.out).unlink(missing_ok=True)
        cgroups.create(generator.group)
        started.append(
            processes.start(
                [sys.executable, "-m", generator.module, "--plan", str(path)],
                group=generator.group,
                cgroups=cgroups,
                log=directory / f"{generator.name}.log",
                namespace=generator.namespace or None,
            )
        )
    return started


def await_ready(found: Sequence[Generator], started: Sequence[Process], t0: float) -> None:
    """Wait until every generator is ready (it opens its file then), at the latest until ``t0``.

    Raises:
        LabError: one has ended, or is not ready in time.
    """
    while True:
        missing = [one for one in found if not Path(one.plan.out).exists()]
        for one, process in zip(found, started, strict=True):
            if not processes.is_alive(process):
                log = Path(one.plan.out).with_suffix(".log")
                said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
                raise LabError(f"load generator {one.name} ended: {said[-1] if said else f'see {log}'}")
        if not missing:
            return
        if time.time() >= t0:
            names = ", ".join(one.name for one in missing)
            raise LabError(f"the machine is too busy: {names} not ready in time")
        time.sleep(0.05)


def read_samples(paths: Sequence[Path]) -> pd.DataFrame:
    """All samples of a load so far, ordered by start; columns as `chaos.load.plan.COLUMNS`.

    A row that is being written at this moment is left out.
    """
    frames = [frame for path in paths if (frame := _read_one(path)) is not None and not frame.empty]
    if not frames:
        frame = pd.DataFrame({column: pd.Series(dtype="object") for column in COLUMNS})
    else:
        frame = pd.concat(frames, ignore_index=True)
    types = {**REQUEST_COLUMNS, "token": "str", "request_id": "str", "lateness": "float64"}
    frame = frame.astype({column: types[column] for column in COLUMNS})
    return frame.sort_values(["start", "site", "source"], kind="stable", ignore_index=True)


def _read_one(path: Path) -> pd.DataFrame | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    complete = text[: text.rfind(b"\n") + 1]
    if not complete:
        return None
    strings = ("source", "site", "flow", "request", "outcome", "front_end", "token", "request_id")
    return pd.read_csv(
        io.BytesIO(complete), dtype=dict.fromkeys(strings, "str"), keep_default_na=False, on_bad_lines="skip"
    )

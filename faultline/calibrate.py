"""`faultline calibrate`: fit this machine's service demands from small measurements at rest.

Two labs, one after the other: a single site for requests, statements and commits; three sites for what
links and replication add and for how long components take to start again. Neither is under load, and no
run that is predicted later contributes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from faultline import facts
from faultline.display import Display
from faultline.home import Home, write_atomically
from faultline.inputs import find_calibration
from sim.calibration import Calibration, PodTimes
from sim.fitting import Samples, fit, with_pod_times
from topologies.errors import InputError
from topologies.loader import load as load_topology
from topologies.model import Topology

REQUESTS = 30
"""Requests of each kind: their standard error falls below that between two sittings."""

STEADY = 1.15
"""Times its fastest that a machine may take for the same work while it is calibrated."""


def _syn_linear_timeouts() -> int:
    """How many SYNs the kernel repeats at 1 s before it backs off; older kernels back off at once."""
    setting = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
    return int(setting.read_text()) if setting.exists() else 0


def run_calibration(home: Home, shown: Display) -> tuple[Calibration, Path]:
    """Measure, fit, and write the calibration to ``home``.

    Returns:
        The calibration and its file.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: the lab did not come up, or a request failed.
    """
    from chaos.host.capabilities import require

    require()
    from chaos.host.cgroups import PERIOD
    from chaos.lab.local import LocalLab
    from chaos.lab.state import LabState
    from chaos.measure import pace
    from faultline import baseline

    home.create()
    found = baseline.Baseline()
    cores = os.cpu_count() or 1
    # Without a quota: what is asked for is the demand, not how long a quota stretches it.
    alone = load_topology("iris-1site", size="lab", overrides=[f"sites.ral.cpu={cores}"])
    trio = load_topology("iris-3site-galera", size="lab")

    def phase(name: str, text: str = "", seconds: float | None = None) -> None:
        shown.phase(name, text, seconds)
        found.pace.append(pace.measure())

    @contextmanager
    def lab_of(topology: Topology, text: str) -> Iterator[tuple[LocalLab, LabState]]:
        phase("lab", text, 25.0)
        lab = LocalLab(progress=shown.note)
        try:
            lab.up(topology)
            yield lab, LabState.read(lab.directory)
        finally:
            lab.down()

    with lab_of(alone, "one site") as (lab, state):
        phase("requests", f"{REQUESTS} of each kind, one user, and after pauses")
        baseline.requests(lab, state, "ral", REQUESTS, found)
        phase("statements", "round trips and commits at the database")
        baseline.statements(state, "ral", 300, found)
        baseline.commits(state, "ral", 50, found)
        phase("load", "what the load generator costs")
        baseline.load(lab, state, 14.0, found)
    one, other = list(trio.sites)[:2]
    with lab_of(trio, "three sites") as (lab, state):
        phase("links", "what the VPN and the relay add")
        link = next(link for link in trio.links if set(link.between) == {one, other})
        baseline.delays(state, one, other, link.rtt, 40, found)
        phase("ordering", "what handling messages of the group adds")
        baseline.ordering(state, one, link.rtt, 20, found)
        phase("replication", "what another member's write sets cost")
        baseline.applying(lab, state, one, other, 40, found)
        phase("starts", "how long components take to serve again", 30.0)
        found.start = lab.start_times(rounds=2)

    phase("fit")
    calibration = fit(
        Samples(
            requests=found.requests,
            statement_rtt=found.statement_rtt,
            proxy_cpu=found.proxy_cpu,
            apply_cpu=found.apply_cpu,
            local_commit=found.local_commit,
            vpn_extra=found.vpn_extra,
            public_extra=found.public_extra,
            load_cpu=found.load_cpu,
            rested=found.rested,
            ordering=found.ordering,
            start=found.start,
            cores=cores,
            quota=None,
            quota_period=PERIOD,
            tcp_syn_linear_timeouts=_syn_linear_timeouts(),
            pace=found.pace,
            facts={name: str(value) for name, value in (facts.machine() | facts.versions()).items()},
            source=f"measured on this machine, one user at one site, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    slowest, fastest = max(found.pace), min(found.pace)
    if slowest > STEADY * fastest:
        shown.note(
            f"the machine's pace changed by {slowest / fastest - 1:.0%} meanwhile: "
            "run `faultline calibrate` again when nothing disturbs it"
        )
    return _written(calibration.model_copy(update={"pods": _known_pods(home)}), home)


def _known_pods(home: Home) -> PodTimes | None:
    """Times of a cluster that were measured before: measuring the rest anew does not lose them."""
    try:
        return find_calibration(home)[0].pods
    except InputError:
        return None  # what cannot be read is about to be replaced


def run_pod_calibration(home: Home, shown: Display) -> tuple[Calibration, Path]:
    """Measure what a cluster takes to replace pods, and add it to this machine's calibration.

    One small cluster at rest; the rest of the calibration stays as it is (the shipped one if there is
    none).

    Returns:
        The calibration and its file.

    Raises:
        chaos.errors.MissingCapability: this machine cannot run the lab.
        chaos.errors.LabError: the lab did not come up, or a pod did not come back.
    """
    from chaos.lab.kind import KindLab
    from chaos.lab.kind import require as require_kind

    require_kind()
    home.create()
    base, _ = find_calibration(home)
    topology = load_topology("iris-1site", size="lab")
    shown.phase("lab", "one cluster", 120.0)
    lab = KindLab(progress=shown.note)
    try:
        lab.up(topology)
        shown.phase("pods", "how long they take to be replaced", 60.0)
        samples = lab.pod_times({"stateless": "web@ral", "database": "db@ral"}, rounds=3)
    finally:
        lab.down()
    shown.phase("fit")
    source = f"measured on kind on this machine, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return _written(with_pod_times(base, samples, source), home)


def _written(calibration: Calibration, home: Home) -> tuple[Calibration, Path]:
    """Put a calibration where predictions find it.

    Raises:
        InputError: it cannot be written there.
    """
    path = home.calibration
    draft = path.with_name(f".{path.name}.draft")
    try:
        calibration.save(draft)
        write_atomically(path, draft.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from None
    finally:
        draft.unlink(missing_ok=True)
    return calibration, path

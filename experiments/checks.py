"""Whether an experiment fits a topology: every target, site and link it names is there."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.activity import PROBES_MODULE
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from experiments.kubernetes_checks import node_misfits
from experiments.kubernetes_faults import (
    KubernetesFault,
    NodeFault,
    RollingRestart,
    ScaleToZero,
    SiteFault,
    TargetFault,
)
from experiments.model import Experiment
from experiments.targets import grudge, placement
from experiments.timeline import contradictions, scheduled_with_places
from topologies.errors import Misfit, MisfitError, Path, suggestion
from topologies.grudge import cut_pairs
from topologies.model import DnsBalancer, Topology


def check(experiment: Experiment, topology: Topology) -> None:
    """Check that ``experiment`` can be carried out on ``topology``.

    Raises:
        InputError: every fault on something that is not there, every hypothesis about it, and
            faults that hold the same links at once; each with file, line and what to write instead.
    """
    faults = scheduled_with_places(experiment)
    misfits: list[Misfit] = []
    for path, scheduled in faults:
        misfits += _fault(scheduled.fault, (*path, "provider", "arguments"), topology)
    for index, hypothesis in enumerate(experiment.hypotheses):
        place: Path = (*experiment.place, "hypotheses", index)
        misfits += [
            Misfit((*place, *part.path), part.message, part.expected, part.hint, part.on_key)
            for part in hypothesis.misfits(experiment.workload, topology)
        ]
    misfits += _probes(experiment, topology)
    if not misfits:

        def held(a: Fault, b: Fault) -> str | None:
            return _links_held_by_both(a, b, topology)

        misfits += contradictions(faults, held)
    if misfits:
        raise experiment.document.error(*misfits)


def _probes(experiment: Experiment, topology: Topology) -> Iterator[Misfit]:
    """Sites that our probes look at and that are not there."""
    steady = experiment.steady_state
    for place, probes in (
        (("steady-state-hypothesis", "probes"), steady.probes if steady is not None else ()),
        (("method",), experiment.method),
    ):
        for index, probe in enumerate(probes):
            if probe.provider is not None and probe.is_ours(PROBES_MODULE):
                site = (probe.provider.arguments or {}).get("site")
                if isinstance(site, str) and not site.startswith("${"):
                    yield from _unknown_sites(
                        [site], (*place, index, "provider", "arguments", "site"), topology
                    )


def _fault(fault: Fault, path: Path, topology: Topology) -> Iterator[Misfit]:
    if isinstance(fault, Kill | Pause):
        yield from _target(fault.target, (*path, "target"), topology)
    elif isinstance(fault, Degrade):
        yield from _pair(fault.between, (*path, "between"), topology)
    elif isinstance(fault, KubernetesFault):
        yield from _kubernetes(fault, path, topology)
    else:
        yield from _partition(fault, path, topology)


def _kubernetes(fault: KubernetesFault, path: Path, topology: Topology) -> Iterator[Misfit]:
    if isinstance(fault, TargetFault | ScaleToZero | RollingRestart):
        yield from _target(fault.target, (*path, "target"), topology)
    elif isinstance(fault, NodeFault):
        yield from node_misfits(fault.node, (*path, "node"), topology)
    elif isinstance(fault, SiteFault):
        yield from _unknown_sites([fault.site], (*path, "site"), topology)


def _target(target: str, path: Path, topology: Topology) -> Iterator[Misfit]:
    service, _, rest = target.partition("@")
    site, _, index = rest.partition("/")
    places = placement(topology)
    if service not in places:
        if isinstance(topology.services.get(service), DnsBalancer):
            yield Misfit(
                path, f"{service!r} stands at no site and cannot be a target", f"one of {', '.join(places)}"
            )
        else:
            hint = suggestion(service, places, what="services")
            yield Misfit(path, f"there is no service {service!r}", "service@site", hint)
    elif site not in places[service]:
        where = places[service]
        if site in topology.sites:
            yield Misfit(path, f"{service!r} has nothing at {site!r}", f"one of {', '.join(where)}")
        else:
            yield Misfit(
                path, f"unknown site {site!r}", hint=suggestion(site, where, what=f"{service} is at")
            )
    elif index and int(index) >= places[service][site]:
        count = places[service][site]
        known = "only one" if count == 1 else f"{count} (0 to {count - 1})"
        yield Misfit(
            path, f"{service}@{site} has no number {index}: there is {known}", hint=f"write {service}@{site}"
        )


def _unknown_sites(names: list[str], path: Path, topology: Topology) -> Iterator[Misfit]:
    for name in names:
        if name not in topology.sites:
            yield Misfit(path, f"unknown site {name!r}", hint=suggestion(name, topology.sites, what="sites"))


def _pair(between: tuple[str, str], path: Path, topology: Topology) -> Iterator[Misfit]:
    yield from (unknown := list(_unknown_sites(list(between), path, topology)))
    links = [set(link.between) for link in topology.links]
    if not unknown and set(between) not in links:
        known = ", ".join("-".join(link.between) for link in topology.links)
        yield Misfit(
            path, f"no link joins {between[0]} and {between[1]}", hint=f"links: {known}" if known else ""
        )


def _partition(fault: Partition, path: Path, topology: Topology) -> Iterator[Misfit]:
    try:
        grudge(fault, topology)
    except MisfitError as error:
        for part in error.misfits:
            yield Misfit((*path, *part.path), part.message, part.expected, part.hint, part.on_key)


def _links_held_by_both(a: Fault, b: Fault, topology: Topology) -> str | None:
    if isinstance(a, Partition) and isinstance(b, Partition):
        pairs = cut_pairs(grudge(a, topology)) & cut_pairs(grudge(b, topology))
        both = sorted({"-".join(sorted(pair)) for pair in pairs})
        return f"the cut of {', '.join(both)}" if both else None
    return None

"""Sites that no longer hear each other: the grudge (who snubs whom) becomes cuts of the WAN.

A cut is per direction, and packets vanish silently, as when a router dies: no reset, no ICMP.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations

from chaos.errors import InjectionError
from chaos.faults.context import FaultContext, Inverse, Network, Pair, PathClass
from experiments.faults import Partition

KIND = "heal"


def grudge_of(fault: Partition, sites: Sequence[str], places: Sequence[str]) -> dict[str, set[str]]:
    """Who no longer receives from whom: place -> places it snubs.

    `isolate` sets the listed sites apart from everybody else, the DNS balancer included (it can
    only be reached over the public network, so a cut of the VPN does not touch it); they still
    hear one another.

    Args:
        fault: the partition.
        sites: sites of the topology.
        places: sites and the other places of the public network.

    Raises:
        InjectionError: it names an unknown site, a site twice, or nothing to cut.
    """
    if sum(way is not None for way in (fault.isolate, fault.between, fault.grudge)) != 1:
        raise InjectionError("a partition says who with exactly one of `isolate`, `between` and `grudge`")
    grudge: dict[str, set[str]] = {}
    if fault.isolate is not None:
        _ensure_known(fault.isolate, sites)
        inside = set(fault.isolate)
        for place in places:
            for other in places:
                if (place in inside) != (other in inside):
                    grudge.setdefault(place, set()).add(other)
    elif fault.between is not None:
        a, b = fault.between
        _ensure_known((a, b), sites)
        if a == b:
            raise InjectionError(f"cannot cut {a} from itself: `between` takes two different sites")
        grudge = {a: {b}, b: {a}}
    elif fault.grudge is not None:
        for site, snubbed in fault.grudge.items():
            _ensure_known((site, *snubbed), sites)
            if site in snubbed:
                raise InjectionError(f"{site} cannot snub itself")
            if snubbed:
                grudge[site] = set(snubbed)
    if not grudge:
        raise InjectionError("the partition cuts nothing: name at least one site, and leave one outside")
    return grudge


def _ensure_known(named: Sequence[str], sites: Sequence[str]) -> None:
    unknown = [site for site in named if site not in sites]
    if unknown:
        raise InjectionError(f"there is no site {unknown[0]}; the topology has {', '.join(sites)}")


def cuts_of(grudge: dict[str, set[str]]) -> list[Pair]:
    """Directions (source, target) in which packets are dropped, sorted."""
    return sorted((snubbed, place) for place, many in grudge.items() for snubbed in many)


def _paths_of(fault: Partition) -> PathClass:
    return "vpn" if fault.path == "vpn" else "all"


def _pairs_of(fault: Partition, wan: Network) -> list[Pair]:
    cuts = cuts_of(grudge_of(fault, wan.sites(), wan.places()))
    sites = wan.sites()
    # Between sites without a link VPN packets travel through others, encrypted: only a cut of
    # one of those links can stop them, and which one is the experimenter's choice.
    unlinked = [(a, b) for a, b in cuts if a in sites and b in sites and not wan.has_link(a, b)]
    if unlinked and fault.isolate is None:
        a, b = unlinked[0]
        raise InjectionError(
            f"{a} and {b} have no link of their own: cut a link of {'-'.join(wan.route(a, b))}"
        )
    # Routes are fixed: what runs over a cut link does not arrive either.
    refused = set(cuts)
    blocked = {
        (a, b) for a, b in permutations(sites, 2) if any(hop in refused for hop in pairwise(wan.route(a, b)))
    }
    return sorted(refused | blocked)


class PartitionDriver:
    """Cuts under the fault's name; partitions that overlap keep their own cuts."""

    def plan(self, context: FaultContext, fault: Partition, name: str) -> Inverse:
        """Heal the cut of that name."""
        _pairs_of(fault, context.wan)
        return Inverse(KIND, {"name": name})

    def inject(self, context: FaultContext, fault: Partition, name: str) -> None:
        """Cut all directions at once."""
        context.wan.cut(name, _pairs_of(fault, context.wan), _paths_of(fault))

    def undo(self, context: FaultContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Take the cut back; directions that another partition cuts too stay cut."""
        context.wan.heal(inverse.args["name"])

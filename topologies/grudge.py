"""Partition algebra: who refuses to hear whom, as pure functions over site names.

A *grudge* maps a site to the sites whose packets it no longer receives: one direction each, so
`{"ral": {"edi"}}` lets edi still hear ral. Sites that hear everybody are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import networkx as nx

from topologies.errors import Misfit, MisfitError, suggestion

Grudge = Mapping[str, frozenset[str]]


def complete_grudge(groups: Iterable[Collection[str]]) -> dict[str, frozenset[str]]:
    """Nobody hears anybody of another group.

    >>> complete_grudge([["a", "b"], ["c"]]) == {"a": {"c"}, "b": {"c"}, "c": {"a", "b"}}
    True
    """
    parts = [frozenset(group) for group in groups]
    everyone = frozenset().union(*parts)
    return _tidy({site: everyone - part for part in parts for site in part})


def isolate(sites: Collection[str], away: Collection[str]) -> dict[str, frozenset[str]]:
    """The sites ``away`` and all others no longer hear one another; those away still hear each other."""
    return complete_grudge([away, [site for site in sites if site not in set(away)]])


def between(one: str, other: str) -> dict[str, frozenset[str]]:
    """Only these two do not hear each other."""
    return complete_grudge([[one], [other]])


def bridge(sites: Sequence[str], middle: str) -> dict[str, frozenset[str]]:
    """Two halves that hear each other only through ``middle``, which hears everybody.

    The first half, in the order of ``sites``, takes the odd one.
    """
    rest = [site for site in sites if site != middle]
    half = (len(rest) + 1) // 2
    return complete_grudge([rest[:half], rest[half:]])


def majorities_ring(sites: Sequence[str]) -> dict[str, frozenset[str]]:
    """Every site hears a majority (itself and its neighbours on a ring), no two the same one.

    With fewer than four sites every neighbourhood is everybody: nothing is cut.
    """
    count = len(sites)
    reach = (count // 2 + 1) // 2
    heard = {
        site: {sites[(place + step) % count] for step in range(-reach, reach + 1)}
        for place, site in enumerate(sites)
    }
    return _tidy({site: frozenset(sites) - heard[site] for site in sites})


def join(grudges: Iterable[Grudge]) -> dict[str, frozenset[str]]:
    """All of ``grudges`` in force together."""
    joined: dict[str, frozenset[str]] = {}
    for grudge in grudges:
        for site, refused in grudge.items():
            joined[site] = joined.get(site, frozenset()) | refused
    return _tidy(joined)


def grudge_of(
    sites: Collection[str],
    *,
    isolate: Collection[str] | None = None,
    between: tuple[str, str] | None = None,
    grudge: Mapping[str, Collection[str]] | None = None,
) -> dict[str, frozenset[str]]:
    """Give the grudge that a partition fault's fields mean.

    Args:
        sites: all sites of the topology.
        isolate: these lose all the others.
        between: only these two lose each other.
        grudge: site -> sites it no longer hears.

    Raises:
        MisfitError: not exactly one of the three is given, a site is unknown, or nothing would be
            cut; its paths start at the field.
    """
    given = [
        name
        for name, value in (("isolate", isolate), ("between", between), ("grudge", grudge))
        if value is not None
    ]
    if len(given) != 1:
        has = " and ".join(given) or "none of them"
        raise MisfitError([Misfit((), f"this has {has}", "exactly one of isolate, between and grudge")])
    misfits: list[Misfit] = []
    if isolate is not None:
        misfits += [
            _unknown(name, ("isolate", place), sites)
            for place, name in enumerate(isolate)
            if name not in sites
        ]
        if not misfits and not 0 < len(set(isolate)) < len(sites):
            message = "isolating no site cuts nothing" if not isolate else "isolating every site cuts nothing"
            misfits.append(Misfit(("isolate",), message, "at least one site, and one that stays"))
        result = complete_grudge([isolate, [site for site in sites if site not in isolate]])
    elif between is not None:
        misfits += [
            _unknown(name, ("between", place), sites)
            for place, name in enumerate(between)
            if name not in sites
        ]
        if not misfits and len(set(between)) != 2:
            misfits.append(Misfit(("between",), f"both are {between[0]!r}", "two different sites"))
        result = complete_grudge([[name] for name in between])
    else:
        assert grudge is not None
        for name, refused in grudge.items():
            if name not in sites:
                misfits.append(_unknown(name, ("grudge", name), sites, on_key=True))
            for place, other in enumerate(refused):
                if other not in sites:
                    misfits.append(_unknown(other, ("grudge", name, place), sites))
                elif other == name:
                    misfits.append(Misfit(("grudge", name, place), f"{name!r} always hears itself"))
        result = _tidy({name: frozenset(refused) for name, refused in grudge.items()})
        if not misfits and not result:
            misfits.append(Misfit(("grudge",), "an empty grudge cuts nothing", "site: [sites it refuses]"))
    if misfits:
        raise MisfitError(misfits)
    return result


def hears(grudge: Grudge, receiver: str, sender: str) -> bool:
    """Whether packets from ``sender`` to ``receiver`` are let through."""
    return sender not in grudge.get(receiver, ())


def cut_pairs(grudge: Grudge) -> frozenset[tuple[str, str]]:
    """All (sender, receiver) whose packets are dropped."""
    return frozenset((sender, receiver) for receiver, refused in grudge.items() for sender in refused)


def is_symmetric(grudge: Grudge) -> bool:
    """Whether everybody who is not heard does not hear either."""
    cut = cut_pairs(grudge)
    return all((receiver, sender) in cut for sender, receiver in cut)


def components(sites: Collection[str], grudge: Grudge) -> list[frozenset[str]]:
    """Groups within which everybody reaches everybody, over others if need be.

    A message may pass a site only in the direction that is heard, so the groups are the strongly
    connected components of who hears whom. They are given largest first, then by name.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(sites)
    graph.add_edges_from((a, b) for a in sites for b in sites if a != b and hears(grudge, b, a))
    found = [frozenset(part) for part in nx.strongly_connected_components(graph)]
    return sorted(found, key=lambda part: (-len(part), sorted(part)))


def _tidy(grudge: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {site: refused - {site} for site, refused in grudge.items() if refused - {site}}


def _unknown(
    name: str, path: tuple[str | int, ...], sites: Collection[str], *, on_key: bool = False
) -> Misfit:
    return Misfit(path, f"unknown site {name!r}", hint=suggestion(name, sites, what="sites"), on_key=on_key)

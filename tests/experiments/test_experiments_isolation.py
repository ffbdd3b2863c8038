"""Which sites were cut off, from the events of cut and healed links."""

from __future__ import annotations

from experiments.isolation import isolated_sites
from experiments.observation import Event
from topologies.loader import load

THREE = load("iris-3site-galera")
TWO = load("iris-2site-galera")


def cut(at: float, *links: str) -> list[Event]:
    """Links cut at once."""
    return [Event(at, link, "link.cut") for link in links]


def healed(at: float, *links: str) -> list[Event]:
    """Links healed at once."""
    return [Event(at, link, "link.healed") for link in links]


def test_a_site_without_links_is_isolated() -> None:
    """Both links of edi are cut, in whichever order their ends are named."""
    assert isolated_sites(cut(5.0, "edi-ral", "cam-edi"), THREE, 0.0, 10.0) == {"edi"}


def test_a_site_with_one_link_left_is_not() -> None:
    """Traffic may go round."""
    assert isolated_sites(cut(5.0, "ral-edi"), THREE, 0.0, 10.0) == set()


def test_only_the_time_asked_for_counts() -> None:
    """A cut that was healed before, or comes after, isolates nobody."""
    events = [*cut(5.0, "ral-edi", "cam-edi"), *healed(8.0, "ral-edi", "cam-edi")]
    assert isolated_sites(events, THREE, 9.0, 20.0) == set()
    assert isolated_sites(events, THREE, 0.0, 4.0) == set()
    assert isolated_sites(events, THREE, 7.0, 20.0) == {"edi"}


def test_links_cut_one_after_the_other_add_up() -> None:
    """The second cut isolates."""
    assert isolated_sites([*cut(5.0, "ral-edi"), *cut(6.0, "cam-edi")], THREE, 0.0, 10.0) == {"edi"}


def test_of_two_halves_neither_is_isolated() -> None:
    """With two sites nobody can say which is the rest."""
    link = "-".join(TWO.links[0].between)
    assert isolated_sites(cut(5.0, link), TWO, 0.0, 10.0) == set()


def test_events_about_other_things_are_ignored() -> None:
    """A link that is not in the topology, or another kind of event, changes nothing."""
    assert (
        isolated_sites([*cut(5.0, "ral-moon"), Event(5.0, "ral-edi", "fault.inject")], THREE, 0, 10) == set()
    )

"""Partition algebra: laws that hold for any sites."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.errors import MisfitError
from topologies.grudge import (
    between,
    bridge,
    complete_grudge,
    components,
    cut_pairs,
    grudge_of,
    hears,
    is_symmetric,
    isolate,
    join,
    majorities_ring,
)

SITES = ["ral", "cam", "edi", "man", "dur"]
site_lists = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)
grudges = site_lists.flatmap(
    lambda sites: st.tuples(
        st.just(sites),
        st.dictionaries(st.sampled_from(sites), st.frozensets(st.sampled_from(sites)), max_size=len(sites)),
    )
)


class TestAlgebra:
    """What the builders give."""

    @given(site_lists, st.data())
    def test_isolation_is_the_complete_grudge_of_two_groups(
        self, sites: list[str], data: st.DataObject
    ) -> None:
        """Isolating some sites is symmetric and the same as splitting them from the rest."""
        away = data.draw(st.lists(st.sampled_from(sites), unique=True))
        rest = [site for site in sites if site not in away]
        assert isolate(sites, away) == complete_grudge([away, rest])
        assert is_symmetric(isolate(sites, away))

    @given(site_lists, st.data())
    def test_a_complete_grudge_makes_its_groups_the_components(
        self, sites: list[str], data: st.DataObject
    ) -> None:
        """The groups that were asked for are the groups that remain connected."""
        marks = data.draw(st.lists(st.integers(0, 2), min_size=len(sites), max_size=len(sites)))
        groups = [
            frozenset(site for site, mark in zip(sites, marks, strict=True) if mark == number)
            for number in range(3)
        ]
        wanted = {group for group in groups if group}
        assert set(components(sites, complete_grudge(groups))) == wanted

    @given(grudges)
    def test_components_partition_the_sites(self, case: tuple[list[str], dict[str, frozenset[str]]]) -> None:
        """Whatever is cut, every site is in exactly one component."""
        sites, grudge = case
        parts = components(sites, grudge)
        assert sorted(site for part in parts for site in part) == sorted(sites)

    @given(grudges)
    def test_joining_drops_what_either_drops(self, case: tuple[list[str], dict[str, frozenset[str]]]) -> None:
        """Two faults in force together cut the union of their pairs, and joining is idempotent."""
        sites, grudge = case
        other = isolate(sites, sites[:1])
        clean = {site: refused - {site} for site, refused in grudge.items()}
        assert cut_pairs(join([clean, other])) == cut_pairs(clean) | cut_pairs(other)
        assert cut_pairs(join([clean, clean])) == cut_pairs(clean)

    def test_a_bridge_keeps_both_halves_connected_through_the_middle(self) -> None:
        """Neither half hears the other, everybody hears the middle, and there is one component."""
        grudge = bridge(SITES, "edi")
        assert grudge == {
            "ral": {"man", "dur"},
            "cam": {"man", "dur"},
            "man": {"ral", "cam"},
            "dur": {"ral", "cam"},
        }
        assert components(SITES, grudge) == [frozenset(SITES)]

    @pytest.mark.parametrize("count", range(1, 9))
    def test_every_site_of_a_ring_hears_a_majority(self, count: int) -> None:
        """Each hears more than half; from four sites on no two hear the same ones."""
        sites = [f"s{number}" for number in range(count)]
        grudge = majorities_ring(sites)
        heard = [frozenset(b for b in sites if hears(grudge, a, b)) for a in sites]
        assert all(2 * len(group) > count for group in heard)
        if count >= 4:
            assert len(set(heard)) == count or all(len(group) == count for group in heard)

    def test_one_direction_cut_splits_the_component(self) -> None:
        """A site that hears but is not heard is on its own: an answer never arrives."""
        deaf = {"ral": frozenset({"edi"}), "cam": frozenset({"edi"})}
        assert components(["ral", "cam", "edi"], deaf) == [frozenset({"ral", "cam"}), frozenset({"edi"})]
        assert hears(deaf, "edi", "ral") and not hears(deaf, "ral", "edi")
        assert not is_symmetric(deaf)

    def test_a_detour_keeps_two_sites_together(self) -> None:
        """Two sites cut from each other stay one component when a third hears both."""
        assert components(["ral", "cam", "edi"], between("ral", "edi")) == [frozenset({"ral", "cam", "edi"})]


class TestFaultFields:
    """The fields of a partition fault become a grudge."""

    def test_each_field_has_its_meaning(self) -> None:
        """Isolation cuts both ways to all others, between cuts one pair, a grudge is taken as written."""
        sites = ["ral", "cam", "edi"]
        assert grudge_of(sites, isolate=["edi"]) == {
            "ral": {"edi"},
            "cam": {"edi"},
            "edi": {"ral", "cam"},
        }
        assert grudge_of(sites, between=("ral", "edi")) == {"ral": {"edi"}, "edi": {"ral"}}
        assert grudge_of(sites, grudge={"ral": ["edi"], "cam": []}) == {"ral": {"edi"}}

    @pytest.mark.parametrize(
        ("fields", "path", "message", "hint"),
        [
            ({}, (), "none of them", ""),
            ({"isolate": ["ral"], "between": ("ral", "cam")}, (), "isolate and between", ""),
            ({"isolate": ["rall"]}, ("isolate", 0), "unknown site 'rall'", "did you mean 'ral'?"),
            ({"isolate": []}, ("isolate",), "isolating no site", ""),
            ({"isolate": ["ral", "cam", "edi"]}, ("isolate",), "isolating every site", ""),
            ({"between": ("ral", "ral")}, ("between",), "both are 'ral'", ""),
            ({"between": ("ral", "ede")}, ("between", 1), "unknown site 'ede'", "did you mean 'edi'?"),
            ({"grudge": {"rel": ["cam"]}}, ("grudge", "rel"), "unknown site 'rel'", "did you mean 'ral'?"),
            ({"grudge": {"ral": ["cm"]}}, ("grudge", "ral", 0), "unknown site 'cm'", "did you mean 'cam'?"),
            ({"grudge": {"ral": ["ral"]}}, ("grudge", "ral", 0), "always hears itself", ""),
            ({"grudge": {}}, ("grudge",), "cuts nothing", ""),
        ],
    )
    def test_wrong_fields_are_named(
        self, fields: dict[str, object], path: tuple[str | int, ...], message: str, hint: str
    ) -> None:
        """What is wrong carries the path inside the fault and the nearest right word."""
        with pytest.raises(MisfitError) as caught:
            grudge_of(["ral", "cam", "edi"], **fields)  # type: ignore[arg-type]
        misfit = caught.value.misfits[0]
        assert misfit.path == path
        assert message in misfit.message
        assert misfit.hint == hint

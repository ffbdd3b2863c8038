"""Which CPU of a lab's machine each site runs on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.cpus import placed
from topologies.loader import load


@pytest.mark.parametrize(("cpus", "places"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2]), (8, [0, 1, 2])])
def test_sites_go_where_least_is_granted(cpus: int, places: list[int]) -> None:
    """Three equal sites, in their order: each to the first CPU with the fewest of them."""
    topology = load("iris-3site-galera", size="lab")
    assert list(placed(topology, cpus).values()) == places


def test_a_site_with_more_than_a_core_unties_all() -> None:
    """One CPU cannot give 1.5 cores, and sites that are not tied run on every CPU."""
    assert placed(load("iris-3site-galera", size="lab").with_("sites.edi.cpu=1.5"), 2) == {}


@given(
    st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3),
    st.integers(1, 6),
)
def test_no_cpu_is_ahead_of_another_by_more_than_a_site(cores: list[float], cpus: int) -> None:
    """Every site has a CPU of the machine, and what they carry differs by no more than the largest site."""
    names = ("ral", "cam", "edi")
    changes = [f"sites.{name}.cpu={core:.3f}" for name, core in zip(names, cores, strict=True)]
    topology = load("iris-3site-galera", size="lab").with_(*changes)
    granted = [0.0] * cpus
    for name, place in placed(topology, cpus).items():
        granted[place] += topology.sites[name].cpu
    assert sum(granted) == pytest.approx(sum(topology.sites[name].cpu for name in names))
    assert max(granted) - min(granted) <= max(cores) + 1e-3

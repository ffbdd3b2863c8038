"""The picture of a topology: complete, self-contained and readable."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from topologies import Topology, library, load
from topologies.picture import picture

SVG = "{http://www.w3.org/2000/svg}"


def parsed(topology: Topology, **options: object) -> ElementTree.Element:
    """The picture as XML."""
    return ElementTree.fromstring(picture(topology, **options))  # type: ignore[arg-type]


def boxes(root: ElementTree.Element, style: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of the rectangles of a style."""
    found = [rect for rect in root.iter(f"{SVG}rect") if style in rect.attrib["class"].split()]
    numbers = [[float(rect.attrib[key]) for key in ("x", "y", "width", "height")] for rect in found]
    return [(x, y, x + width, y + height) for x, y, width, height in numbers]


def many_sites(count: int) -> Topology:
    """A full mesh of ``count`` sites."""
    sites = [f"site{number}" for number in range(count)]
    return Topology.model_validate(
        {
            "topology": "mesh",
            "sites": {site: {} for site in sites},
            "links": [{"between": pair, "rtt": 0.03} for pair in combinations(sites, 2)],
            "services": {
                "iam": {"kind": "indigo-iam", "replicas": dict.fromkeys(sites, 1), "database": "db"},
                "db": {"kind": "galera", "members": dict.fromkeys(sites, 1)},
            },
            "clients": {"users": {"site": sites[0]}},
        }
    )


@pytest.mark.parametrize("size", ["production", "lab"])
@pytest.mark.parametrize("name", library())
def test_everything_is_in_the_picture(name: str, size: str) -> None:
    """Every site, service, population and link is named, with the link's RTT and what carries it."""
    topology = load(name, size=size)  # type: ignore[arg-type]
    words = " ".join(parsed(topology).itertext())
    for part in (*topology.sites, *topology.services, *topology.clients):
        assert part in words
    assert words.count("30 ms RTT") >= len(topology.links)
    assert ("WireGuard" in words) == bool(topology.links)


@pytest.mark.parametrize("count", range(1, 9))
def test_cards_do_not_overlap_and_stay_inside(count: int) -> None:
    """From one site to eight, no card covers another and none leaves the picture."""
    root = parsed(many_sites(count))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    cards = boxes(root, "card")
    assert len(cards) == count
    for left, top, right, bottom in cards:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
    for one, other in combinations(cards, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("count", range(2, 6))
def test_labels_cover_neither_cards_nor_labels(count: int) -> None:
    """Up to five sites in a full mesh every link's label is free."""
    root = parsed(many_sites(count))
    labels, cards = boxes(root, "pill"), boxes(root, "card")
    assert len(labels) == count * (count - 1) // 2
    pairs = [*combinations(labels, 2), *((label, card) for label in labels for card in cards)]
    for one, other in pairs:
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_cut_is_shown() -> None:
    """The links that are cut are drawn so, and the site that lost all of them stands out."""
    root = parsed(load("iris-3site-galera"), cut=[("edi", "ral"), ("cam", "edi")])
    styles = [line.attrib["class"].split() for line in root.iter(f"{SVG}line")]
    assert sum("cut" in style for style in styles) == 2
    assert len(boxes(root, "lost")) == 1
    assert len(boxes(parsed(load("iris-3site-galera")), "lost")) == 0


def test_the_picture_is_self_contained() -> None:
    """No scripts, no references to anything outside, no ids that could clash on a page."""
    text = picture(load("iris-3site-galera")).replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in ("http", "href", "<script", "url(", " id=", "@import"):
        assert word not in text


def test_what_users_write_is_escaped() -> None:
    """A description cannot bring markup into a page."""
    topology = load("iris-1site").model_copy(update={"description": "<script>alert(1)</script> & more"})
    text = picture(topology)
    assert "<script" not in text
    assert "&lt;script&gt;" in text and "&amp; more" in text


def test_notebooks_show_the_picture_and_the_weak_points() -> None:
    """A topology at the end of a notebook cell is drawn, with what it cannot afford to lose."""
    assert load("iris-3site-galera")._repr_svg_().startswith("<svg")
    html = load("iris-2site-galera")._repr_html_()
    assert "<svg" in html and "db@ral" in html
    assert "Single points of failure" not in load("iris-3site-galera")._repr_html_()


def test_a_topology_plots_itself(tmp_path: Path) -> None:
    """`plot` gives the picture by itself, with cut links if asked, and saves it."""
    topology = load("iris-3site-galera")
    assert topology.plot().svg == topology._repr_svg_()
    cut = topology.plot(("ral", "edi"))
    assert cut.svg != topology.plot().svg
    cut.save(tmp_path / "cut.svg")
    assert (tmp_path / "cut.svg").read_text() == cut._repr_svg_()

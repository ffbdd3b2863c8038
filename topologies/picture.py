"""A topology as a picture: one self-contained SVG text, for reports and notebooks.

Site cards and link labels bring their own background, so the picture reads on light and on dark
pages; where the viewer prefers dark it turns dark itself. No ids, so that a page may hold several.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path

from topologies import model
from topologies.consistency import sites_of
from topologies.model import Link, Topology
from topologies.quantities import BANDWIDTH_UNITS, DURATION_UNITS, RATIO_UNITS, SIZE_UNITS, spell
from topologies.weakness import weaknesses

_PAD = 14.0
_ROW = 21.0
_HEAD = 46.0
_MARGIN = 16.0
_BAND = 34.0
_ORDER = ("haproxy", "nginx", "indigo-iam", "galera", "mariadb-replication", "redis-sentinel")
"""Kinds in the order of the request path, as a card lists them."""

_STYLE = """
.fl-topology{--card:#fff;--edge:#c3cad5;--ink:#1b2430;--soft:#5b6676;--line:#7d8898;--band:#f2f5f9;--cut:#c8362e;
font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12.5px}
@media (prefers-color-scheme:dark){.fl-topology{--card:#1d232c;--edge:#414b59;--ink:#e7ebf1;--soft:#a3aebd;
--line:#8893a3;--band:#262d38;--cut:#ff7b6e}}
.fl-topology .card{fill:var(--card);stroke:var(--edge);stroke-width:1.2}
.fl-topology .lost{stroke:var(--cut);stroke-width:2}
.fl-topology .band{fill:var(--band);stroke:none}
.fl-topology .pill{fill:var(--card);stroke:var(--edge)}
.fl-topology .rule{stroke:var(--edge)}
.fl-topology .link{stroke:var(--line);stroke-width:2.4;fill:none}
.fl-topology .plain{stroke-dasharray:2 5;stroke-linecap:round}
.fl-topology .cut{stroke:var(--cut);stroke-dasharray:7 6}
.fl-topology text{fill:var(--ink)}
.fl-topology .site{font-size:16px;font-weight:650}
.fl-topology .name{font-weight:600}
.fl-topology .soft{fill:var(--soft)}
.fl-topology .end{text-anchor:end}
.fl-topology .mid{text-anchor:middle}
.fl-topology .warn{fill:var(--cut);font-weight:600}
.fl-topology .haproxy{fill:#2f7bd6}.fl-topology .nginx{fill:#2f9e5b}.fl-topology .indigo-iam{fill:#7a5cd0}
.fl-topology .galera,.fl-topology .mariadb-replication{fill:#d08a1e}.fl-topology .redis-sentinel{fill:#cf4c4c}
.fl-topology .dns-balancer{fill:#1c97a3}.fl-topology .users{fill:var(--soft)}
"""


@dataclass
class _Card:
    """A site's box: what it lists and where it stands (centre)."""

    site: str
    head: str
    rows: list[tuple[str, str, str]]
    users: list[tuple[str, str]]
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        rows = [26 + _length(name) + 18 + _length(detail) for _, name, detail in self.rows]
        rows += [26 + _length(name) + 18 + _length(detail) for name, detail in self.users]
        return 2 * _PAD + max([_length(self.site, 16) + 22 + _length(self.head), *rows])

    @property
    def height(self) -> float:
        users = 10 + _ROW * len(self.users) if self.users else 0
        return _HEAD + _ROW * len(self.rows) + users + 8


@dataclass
class _Label:
    """What is written on a link, and where it stands (centre)."""

    lines: list[str]
    hover: str
    is_cut: bool
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max(_length(line) for line in self.lines) * 1.06 + 20  # the first line is bold

    @property
    def height(self) -> float:
        return 6.5 + 16.5 * len(self.lines)


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows by itself. `save` writes it to a file."""

    svg: str

    def _repr_svg_(self) -> str:
        """The picture."""
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture as an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def picture(topology: Topology, *, cut: Collection[tuple[str, str]] = ()) -> str:
    """Draw ``topology``.

    Args:
        topology: what to draw.
        cut: pairs of sites whose link is drawn as cut, in either direction.

    Returns:
        SVG text, without an XML declaration, ready to be put into HTML or a file.
    """
    pairs = {frozenset(pair) for pair in cut}
    cards = [_card(topology, site) for site in topology.sites]
    bands = _bands(topology)
    labels = [
        _label(link, is_cut=frozenset(link.between) in pairs, brief=len(cards) > 3) for link in topology.links
    ]
    _place(cards, labels, _MARGIN + _BAND * len(bands) + (8 if bands else 0))
    at = {card.site: card for card in cards}
    width = max(card.x + card.width / 2 for card in cards) + _MARGIN
    width = max(width, *(_length(name) + _length(text) + 90 for name, text in bands), 0)
    height = max(card.y + card.height / 2 for card in cards) + _MARGIN
    shift = (width - _MARGIN - max(card.x + card.width / 2 for card in cards)) / 2
    for card in cards:
        card.x += shift if width > _MARGIN else 0
    taken: list[_Label] = []
    for link, label in zip(topology.links, labels, strict=True):
        _settle(label, at[link.between[0]], at[link.between[1]], taken, cards)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fl-topology" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'style="max-width:100%;height:auto">',
        f"<title>{escape(topology.topology)}</title><desc>{escape(_in_words(topology))}</desc>",
        f"<style>{_STYLE}</style>",
    ]
    for place, (name, text) in enumerate(bands):
        parts.append(_band(name, text, width, _MARGIN + place * _BAND))
    parts += [_line(link, at, frozenset(link.between) in pairs) for link in topology.links]
    parts += [_box(card, lost=_is_lost(topology, card.site, pairs)) for card in cards]
    parts += map(_pill, labels)
    parts.append("</svg>")
    return "".join(parts)


def notebook_view(topology: Topology) -> str:
    """Give the picture as HTML, with what the topology cannot afford to lose listed below it."""
    found = weaknesses(topology)
    items = "".join(
        f"<li><b>{escape(item.component)}</b>: {escape(item.loses)} ({escape(item.remedy)})</li>"
        for item in found
    )
    below = f"<p>Single points of failure:</p><ul>{items}</ul>" if found else ""
    return f"<div>{picture(topology)}{below}</div>"


def _is_lost(topology: Topology, site: str, pairs: set[frozenset[str]]) -> bool:
    own = [frozenset(link.between) for link in topology.links if site in link.between]
    # Between two sites neither is more lost than the other.
    return len(topology.sites) > 2 and bool(own) and all(pair in pairs for pair in own)


def _human(value: float, units: Mapping[str, float]) -> str:
    """A quantity with a space before its unit."""
    return re.sub(r"(?<=\d)(?=[A-Za-z])", " ", spell(value, units), count=1)


def _time(seconds: float) -> str:
    return _human(seconds, DURATION_UNITS)


def _length(text: str, size: float = 12.5) -> float:
    """Rough width of ``text`` in pixels; generous, since fonts differ."""
    narrow = sum(text.count(letter) for letter in "iljtf.,:;'|()[] ·")
    return size * (0.60 * (len(text) - narrow) + 0.34 * narrow)


def _card(topology: Topology, site: str) -> _Card:
    facts = topology.sites[site]
    nodes = f"{facts.nodes} nodes" if facts.nodes != 1 else "1 node"
    each = f"{facts.cpu:g} cores, {_human(facts.memory, SIZE_UNITS)}"
    rows: list[tuple[str, str, str]] = [
        (service.kind, name if count <= 1 else f"{name} × {count}", detail)
        for name, service in topology.services.items()
        for count, detail in [_role(topology, name, site)]
        if detail
    ]
    rows.sort(key=lambda row: _ORDER.index(row[0]))
    total = sum(clients.share for clients in topology.clients.values())
    users = [
        (name, f"{clients.share / total:.0%} of users")
        for name, clients in topology.clients.items()
        if clients.site == site
    ]
    return _Card(site, f"{nodes} of {each}" if facts.nodes != 1 else f"{nodes}, {each}", rows, users)


def _role(topology: Topology, name: str, site: str) -> tuple[int, str]:
    """How many processes of a service a site has and what they are there; no text when it has none."""
    count = sites_of(topology, name)[site]
    match topology.services[name]:
        case model.RedisSentinel() as redis:
            data = "Redis primary" if redis.primary == site else "Redis replica" if count else ""
            both = [data, "sentinel" if site in redis.sentinels else ""]
            return count, " + ".join(part for part in both if part)
        case _ if not count:
            return 0, ""
        case model.IndigoIam():
            return count, "INDIGO IAM"
        case model.Galera():
            return count, "Galera member"
        case model.MariadbReplication(primary=primary):
            return count, "MariaDB primary" if primary == site else "MariaDB replica"
        case model.Nginx(upstream=upstream):
            return count, f"nginx → {upstream}"
        case model.Haproxy(backend=backend, reach=reach):
            return count, f"HAProxy → {backend}, {reach}"
    return 0, ""


def _bands(topology: Topology) -> list[tuple[str, str]]:
    """What stands outside the sites: the DNS balancers."""
    return [
        (
            name,
            f"DNS → {dns.targets}, TTL {_time(dns.ttl)}, checked every {_time(dns.check.interval)}, "
            f"out after {dns.check.down} failure{'s'[: dns.check.down != 1]}",
        )
        for name, dns in topology.services_of(model.DnsBalancer).items()
    ]


def _place(cards: list[_Card], labels: Sequence[_Label], top: float) -> None:
    """Put one card in the middle, two in a row, three in a triangle, more on an ellipse."""
    wide, high = max(card.width for card in cards), max(card.height for card in cards)
    gap = max((label.width for label in labels), default=0.0) + 64
    count = len(cards)
    if count <= 2:
        spots = [(place * (wide + gap), 0.0) for place in range(count)]
    elif count == 3:
        side = (wide + gap) / 2
        spots = [(0.0, 0.0), (-side, high + 88), (side, high + 88)]
    else:
        spots = _ellipse(count, wide + gap, high + 64)
    left = min(x - card.width / 2 for card, (x, _) in zip(cards, spots, strict=True))
    upper = min(y - card.height / 2 for card, (_, y) in zip(cards, spots, strict=True))
    for card, (x, y) in zip(cards, spots, strict=True):
        card.x, card.y = x - left + _MARGIN, y - upper + top


def _ellipse(count: int, wide: float, high: float) -> list[tuple[float, float]]:
    """Even angles on the smallest ellipse on which boxes of this size do not overlap."""
    angles = [2 * math.pi * place / count - math.pi / 2 for place in range(count)]
    scale = 0.5
    while True:
        spots = [(scale * wide * math.cos(angle), scale * high * math.sin(angle)) for angle in angles]
        if all(abs(x - u) >= wide or abs(y - v) >= high for (x, y), (u, v) in combinations(spots, 2)):
            return spots
        scale *= 1.05


def _settle(label: _Label, one: _Card, other: _Card, taken: list[_Label], cards: Sequence[_Card]) -> None:
    """Put ``label`` on its line where it covers no card and no other label, near the middle if it can."""
    (x1, y1), (x2, y2) = _edge(one, other), _edge(other, one)
    spots = [
        (x1 + (x2 - x1) * share, y1 + (y2 - y1) * share)
        for share in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)
    ]
    label.x, label.y = spots[0]
    for x, y in spots:
        boxes: list[_Card | _Label] = [*taken, *cards]
        if all(
            abs(x - box.x) >= (label.width + box.width) / 2 + 2
            or abs(y - box.y) >= (label.height + box.height) / 2 + 2
            for box in boxes
        ):
            label.x, label.y = x, y
            break
    taken.append(label)


def _band(name: str, text: str, width: float, top: float) -> str:
    middle = top + 13
    return (
        _rect("band", _MARGIN, top, width - 2 * _MARGIN, 26, 6)
        + _rect("dns-balancer", _MARGIN + 12, middle - 5, 10, 10, 2.5)
        + f'<text class="name" x="{_MARGIN + 30}" y="{middle + 4.5:.1f}">{escape(name)}'
        f'<tspan class="soft" font-weight="400" dx="10">{escape(text)}</tspan></text>'
    )


def _box(card: _Card, *, lost: bool) -> str:
    left, top = card.x - card.width / 2, card.y - card.height / 2
    right = left + card.width - _PAD
    parts = [
        _rect("card lost" if lost else "card", left, top, card.width, card.height, 10),
        _text("site", left + _PAD, top + 26, card.site),
        _text("soft end", right, top + 25, card.head),
    ]
    y = top + _HEAD + 6
    for kind, name, detail in card.rows:
        parts.append(_rect(kind, left + _PAD, y - 9, 10, 10, 2.5))
        parts.append(_pair_of_texts(left, right, y, name, detail))
        y += _ROW
    if card.users:
        parts.append(f'<path class="rule" d="M{left + _PAD:.1f} {y - 10:.1f}H{right:.1f}"/>')
        y += 9
    for name, detail in card.users:
        centre = left + _PAD + 5
        parts.append(
            f'<circle class="users" cx="{centre:.1f}" cy="{y - 8.5:.1f}" r="2.9"/>'
            f'<path class="users" d="M{centre - 5:.1f} {y + 1:.1f}a5 5.4 0 0 1 10 0z"/>'
            + _pair_of_texts(left, right, y, name, detail)
        )
        y += _ROW
    return "<g>" + "".join(parts) + "</g>"


def _pair_of_texts(left: float, right: float, y: float, name: str, detail: str) -> str:
    return _text("name", left + _PAD + 18, y, name) + _text("soft end", right, y, detail)


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _rect(style: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{radius:g}"/>'
    )


def _edge(card: _Card, towards: _Card) -> tuple[float, float]:
    """Where the line from the centre of ``card`` to that of ``towards`` leaves the box."""
    dx, dy = towards.x - card.x, towards.y - card.y
    reach = min(
        card.width / 2 / abs(dx) if dx else math.inf,
        card.height / 2 / abs(dy) if dy else math.inf,
    )
    return card.x + dx * reach, card.y + dy * reach


def _line(link: Link, at: dict[str, _Card], is_cut: bool) -> str:
    one, other = (at[site] for site in link.between)
    (x1, y1), (x2, y2) = _edge(one, other), _edge(other, one)
    style = "link" + (" plain" if link.vpn == "none" else "") + (" cut" if is_cut else "")
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(link: Link, *, is_cut: bool, brief: bool) -> _Label:
    first = _time(link.rtt) + " RTT"
    if link.jitter:
        first += f" ± {_time(link.jitter)}"
    second = [f"{_human(link.bandwidth, BANDWIDTH_UNITS)}/s"]
    if link.loss:
        second.append(f"{spell(link.loss, RATIO_UNITS)} loss")
    second.append({"wireguard": "WireGuard", "liqo": "Liqo", "none": "no VPN"}[link.vpn])
    lines = ["cut", first] if is_cut else [first, ", ".join(second)]
    return _Label(lines[:1] if brief else lines, ", ".join([first, *second]), is_cut)


def _pill(label: _Label) -> str:
    lines = [
        _text(
            ("mid warn" if label.is_cut else "mid name") if place == 0 else "mid soft",
            label.x,
            label.y - label.height / 2 + 15.5 + 16.5 * place,
            line,
        )
        for place, line in enumerate(label.lines)
    ]
    box = _rect("pill", label.x - label.width / 2, label.y - label.height / 2, label.width, label.height, 9)
    return f"<g><title>{escape(label.hover)}</title>{box}{''.join(lines)}</g>"


def _in_words(topology: Topology) -> str:
    """The picture for those who cannot see it."""
    links = "; ".join(
        f"{link.between[0]} to {link.between[1]} {_time(link.rtt)} round trip" for link in topology.links
    )
    sites, services = ", ".join(topology.sites), ", ".join(topology.services)
    text = f"Sites {sites}. Links: {links or 'none'}. Services {services}."
    return f"{topology.description}. {text}" if topology.description else text

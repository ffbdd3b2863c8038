"""The `lab:` overlay: what differs in the size that fits one machine.

The rule, key by key:

* mappings merge; a key that only one side has is kept;
* a `null` in the overlay removes the key, so that its default holds again;
* a mapping whose `kind` differs from the one below replaces it whole;
* `links` merge by their pair of sites in either order; an overlay link of a new pair is added, and
  one without `between` applies to every link;
* any other list or value replaces the one below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from topologies.document import Document, Position
from topologies.errors import Path

KEY = "lab"


def without_overlay(document: Document) -> Document:
    """Give a copy of ``document`` that keeps its overlay out of sight."""
    data = {key: value for key, value in document.data.items() if key != KEY}
    return replace(document, data=data)


def merge_overlay(document: Document) -> Document:
    """Give ``document`` with its overlay merged over the rest; values keep the line they were written on."""
    overlay = document.data.get(KEY)
    result = without_overlay(document.copy())
    if isinstance(overlay, dict):
        _Merge(document, result).mapping(result.data, overlay, (), (KEY,))
    return result


@dataclass(frozen=True)
class _Merge:
    """Merges data and positions from ``source`` into ``target``."""

    source: Document
    target: Document

    def mapping(self, base: dict[str, Any], overlay: Mapping[str, Any], at: Path, origin: Path) -> None:
        for key, value in overlay.items():
            here, there = (*at, key), (*origin, key)
            below = base.get(key)
            if value is None:
                base.pop(key, None)
            elif isinstance(value, dict) and isinstance(below, dict) and not _other_kind(below, value):
                self.mapping(below, value, here, there)
            elif here == ("links",) and isinstance(value, list) and isinstance(below, list):
                self._links(below, value, there)
            else:
                self._put(base, key, value, here, there)

    def _links(self, base: list[Any], overlay: list[Any], origin: Path) -> None:
        for place, link in enumerate(overlay):
            pair = _pair(link)
            matches = [
                number
                for number, other in enumerate(base)
                if isinstance(link, dict)
                and isinstance(other, dict)
                and (pair is None or _pair(other) == pair)
            ]
            if isinstance(link, dict) and "between" not in link:
                for number in matches:
                    self.mapping(base[number], link, ("links", number), (*origin, place))
            elif pair is not None and matches:
                rest = {key: value for key, value in link.items() if key != "between"}
                self.mapping(base[matches[0]], rest, ("links", matches[0]), (*origin, place))
            else:
                base.append(None)
                self._put(base, len(base) - 1, link, ("links", len(base) - 1), (*origin, place))

    def _put(self, base: Any, key: str | int, value: Any, at: Path, origin: Path) -> None:
        base[key] = value
        for table, source in (
            (self.target.positions, self.source.positions),
            (self.target.values, self.source.values),
        ):
            assert isinstance(table, dict)  # `Document.copy` made it
            for path in [path for path in table if path[: len(at)] == at]:
                del table[path]
            for path, position in source.items():
                if path[: len(origin)] == origin:
                    table[(*at, *path[len(origin) :])] = _labelled(position, path)


def _labelled(position: Position, path: Path) -> Position:
    return position if position.origin else replace(position, path=path)


def _other_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "kind" in above and above["kind"] != below.get("kind")


def _pair(link: Any) -> frozenset[str] | None:
    between = link.get("between") if isinstance(link, dict) else None
    if isinstance(between, list) and len(between) == 2 and all(isinstance(site, str) for site in between):
        return frozenset(between)
    return None

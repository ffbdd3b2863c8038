"""The overlay's merge rule, key by key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.document import parse
from topologies.overlay import merge_overlay

names = st.sampled_from(["a", "b", "c"])
trees = st.recursive(
    st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(names, trees, max_size=3)


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """``overlay`` merged over ``base``."""
    import json

    return merge_overlay(parse(json.dumps({**base, "lab": overlay}), "f")).data


class TestRule:
    """What the documented rule says."""

    @pytest.mark.parametrize(
        ("base", "overlay", "result"),
        [
            ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
            ({"a": {"x": 1}}, {"b": 2}, {"a": {"x": 1}, "b": 2}),
            ({"a": {"x": 1, "y": 2}}, {"a": {"y": None}}, {"a": {"x": 1}}),
            ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
            ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
            ({"a": {"kind": "p", "x": 1}}, {"a": {"kind": "q", "y": 2}}, {"a": {"kind": "q", "y": 2}}),
            (
                {"a": {"kind": "p", "x": 1}},
                {"a": {"kind": "p", "y": 2}},
                {"a": {"kind": "p", "x": 1, "y": 2}},
            ),
        ],
    )
    def test_mappings_merge_and_the_rest_is_replaced(
        self, base: dict[str, Any], overlay: dict[str, Any], result: dict[str, Any]
    ) -> None:
        """Keys merge, null removes, another kind and any list replace."""
        assert merged(base, overlay) == result

    def test_links_merge_by_their_pair(self) -> None:
        """The same pair in either order is the same link; a new pair is added."""
        base = {"links": [{"between": ["a", "b"], "rtt": 1, "loss": 2}, {"between": ["b", "c"], "rtt": 1}]}
        overlay = {"links": [{"between": ["b", "a"], "rtt": 9}, {"between": ["a", "c"], "rtt": 5}]}
        assert merged(base, overlay)["links"] == [
            {"between": ["a", "b"], "rtt": 9, "loss": 2},
            {"between": ["b", "c"], "rtt": 1},
            {"between": ["a", "c"], "rtt": 5},
        ]

    def test_a_link_without_its_pair_applies_to_all(self) -> None:
        """One entry changes every link, a later one a single link again."""
        base = {"links": [{"between": ["a", "b"], "rtt": 1, "jitter": 3}, {"between": ["b", "c"], "rtt": 2}]}
        overlay = {"links": [{"jitter": None, "rtt": 7}, {"between": ["c", "b"], "rtt": 8}]}
        assert merged(base, overlay)["links"] == [
            {"between": ["a", "b"], "rtt": 7},
            {"between": ["b", "c"], "rtt": 8},
        ]

    @given(mappings)
    def test_nothing_merged_changes_nothing(self, base: dict[str, Any]) -> None:
        """The empty overlay is neutral."""
        assert merged(base, {}) == base

    @given(mappings, mappings)
    def test_merging_twice_is_merging_once(self, base: dict[str, Any], overlay: dict[str, Any]) -> None:
        """An overlay that has been merged changes nothing any more."""
        once = merged(base, overlay)
        assert merged(once, overlay) == once

    @given(mappings, mappings)
    def test_the_overlay_has_the_last_word(self, base: dict[str, Any], overlay: dict[str, Any]) -> None:
        """Every value of the overlay is in the result, and every key of the base."""
        result = merged(base, overlay)

        def within(part: Any, whole: Any) -> bool:
            if isinstance(part, dict) and part:
                return isinstance(whole, dict) and all(
                    key in whole and within(value, whole[key]) for key, value in part.items()
                )
            return isinstance(whole, dict) if part == {} else bool(part == whole)

        assert within(overlay, result)
        assert set(base) <= set(result)

    @given(mappings, mappings)
    def test_the_document_itself_is_untouched(self, base: dict[str, Any], overlay: dict[str, Any]) -> None:
        """Merging gives a new document."""
        import json

        document = parse(json.dumps({**base, "lab": overlay}), "f")
        merge_overlay(document)
        assert document.data == {**base, "lab": overlay}


def test_merged_values_keep_the_line_they_were_written_on() -> None:
    """A value from the overlay is found at the overlay's line, the others at theirs."""
    document = merge_overlay(parse("a:\n  x: 1\n  y: 2\nlab:\n  a:\n    y: {z: 3}\n", "f"))
    assert document.positions["a", "x"].line == 2
    assert document.positions["a", "y"].line == 6
    assert document.positions["a", "y", "z"].path == ("lab", "a", "y", "z")

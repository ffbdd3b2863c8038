"""The JSON Schema that editors use: current, and of one mind with the loader."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from topologies import library
from topologies.document import parse, read
from topologies.model import Topology
from topologies.schema import FILE, text, topology_schema

SCHEMA = topology_schema()
KNOWN_WORDS = {
    "$ref", "$defs", "$schema", "additionalProperties", "anyOf", "const", "default", "description",
    "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "items", "maxItems", "maximum",
    "minItems", "minProperties", "minimum", "oneOf", "pattern", "patternProperties", "prefixItems",
    "properties", "required", "title", "type",
}  # fmt: skip
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip


def complaints(value: Any, schema: dict[str, Any], at: str = "") -> list[str]:
    """What JSON Schema has against ``value``; knows every word that the schema uses, and no others."""
    assert set(schema) <= KNOWN_WORDS, set(schema) - KNOWN_WORDS
    found: list[str] = []
    if "$ref" in schema:
        found += complaints(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], at)
    if "anyOf" in schema and all(complaints(value, one, at) for one in schema["anyOf"]):
        found.append(f"{at}: fits none of anyOf")
    if "oneOf" in schema and sum(not complaints(value, one, at) for one in schema["oneOf"]) != 1:
        found.append(f"{at}: does not fit exactly one")
    if "type" in schema:
        right = isinstance(value, TYPES[schema["type"]])
        if not right or (isinstance(value, bool) and schema["type"] in {"integer", "number"}):
            return [*found, f"{at}: is no {schema['type']}"]
    if ("const" in schema and value != schema["const"]) or ("enum" in schema and value not in schema["enum"]):
        found.append(f"{at}: not a choice")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: does not match")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, above = schema.get("minimum", value), schema.get("exclusiveMinimum")
        high, below = schema.get("maximum", value), schema.get("exclusiveMaximum")
        if (
            not low <= value <= high
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        ):
            found.append(f"{at}: out of range")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{at}: wrong length")
        first = schema.get("prefixItems", [])
        for place, item in enumerate(value):
            found += complaints(
                item, first[place] if place < len(first) else schema.get("items", {}), f"{at}[{place}]"
            )
    if isinstance(value, dict):
        found += [f"{at}: lacks {key}" for key in schema.get("required", []) if key not in value]
        if len(value) < schema.get("minProperties", 0):
            found.append(f"{at}: too few keys")
        for key, inner in value.items():
            shapes = [
                shape
                for pattern, shape in schema.get("patternProperties", {}).items()
                if re.search(pattern, key)
            ]
            shapes += [schema["properties"][key]] if key in schema.get("properties", {}) else []
            other = schema.get("additionalProperties", True)
            if not shapes and other is False:
                found.append(f"{at}.{key}: unknown")
            elif not shapes and isinstance(other, dict):
                shapes = [other]
            for shape in shapes:
                found += complaints(inner, shape, f"{at}.{key}")
    return found


def changed(name: str, right: str, wrong: str) -> Any:
    """A library file's data after replacing a piece of its text."""
    source = library()[name].read_text()
    assert right in source
    return parse(source.replace(right, wrong, 1), name).data


def test_the_committed_schema_is_current() -> None:
    """The file in the docs is what `python -m topologies.schema` writes."""
    assert FILE.read_text(encoding="utf-8") == text()


@pytest.mark.parametrize("name", library())
def test_library_files_are_valid(name: str) -> None:
    """An editor shows no complaint about a topology of the library."""
    assert complaints(read(library()[name]).data, SCHEMA) == []


@pytest.mark.parametrize("name", library())
def test_what_is_written_out_is_valid(name: str) -> None:
    """A topology dumped as JSON is a valid file too."""
    data = Topology.model_validate(read(library()[name]).data).model_dump(mode="json")
    assert complaints(json.loads(json.dumps(data)), SCHEMA) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("rtt: 30ms", "rtt: 30"),
        ("rtt: 30ms", "rtt: 30 parsecs"),
        ("rtt: 30ms", "rrt: 30ms"),
        ("vpn: wireguard", "vpn: ipsec"),
        ("[ral, cam], rtt", "[ral], rtt"),
        ("nodes: 3", "nodes: 0"),
        ("nodes: 3", "nodes: true"),
        ("kind: galera", "kind: galeraa"),
        ("kind: galera, ", ""),
        ("upstream: iam", ""),
        ("  ral: {nodes: 3", "  Ral: {nodes: 3"),
        ("topology: iris", "name: iris"),
        ("    ral: {nodes: 1, cpu", "    ral: {node: 1, cpu"),
        ("dns: {ttl: 5s", "dns: {tll: 5s"),
        ("dns: {ttl: 5s", "dns: {ttl: 5"),
        ("lab:", "lib:"),
    ],
)
def test_editors_see_the_mistakes(right: str, wrong: str) -> None:
    """Mistakes in one place of a file, its overlay included, are against the schema."""
    assert complaints(changed("iris-3site-galera", right, wrong), SCHEMA)


def test_an_overlay_may_remove_and_may_be_partial() -> None:
    """In the overlay nothing is required and null removes a key."""
    data = changed(
        "iris-3site-galera", "    iam: {replicas", "    cache: null\n    iam: {threads: 9, replicas"
    )
    data["lab"]["links"] = [{"jitter": "1ms"}, {"between": ["ral", "cam"], "rtt": None}]
    assert complaints(data, SCHEMA) == []


def test_every_parameter_of_the_library_is_explained_or_named() -> None:
    """Defaults carry their unit, and documented attributes their description, where editors show them."""
    properties = SCHEMA["$defs"]["IndigoIam"]["properties"]
    assert properties["pool_timeout"]["default"] == "30s"
    assert "HikariCP" in properties["pool"]["description"]
    assert SCHEMA["$defs"]["Link"]["properties"]["bandwidth"]["default"] == "1Gbit"

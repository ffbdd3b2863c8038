"""JSON Schema of a topology file, for editors: `python -m topologies.schema` writes it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from topologies.model import Topology
from topologies.quantities import BANDWIDTH_UNITS, DURATION_UNITS, RATIO_UNITS, SIZE_UNITS, write

_UNITS = {"30ms": DURATION_UNITS, "1Gbit": BANDWIDTH_UNITS, "30GiB": SIZE_UNITS, "0.1%": RATIO_UNITS}
"""A quantity is known by its example; its default is written with its unit, as a file must."""
FILE = Path(__file__).parent.parent / "docs" / "schema" / "topology.json"
_REF = "#/$defs/"
_PART = "-overlay"


def topology_schema() -> dict[str, Any]:
    """The schema of a topology file, its `lab:` overlay included.

    The overlay has the same shape with nothing required, and `null` to remove a key.
    """
    schema = Topology.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        _describe(part)
    for part in _inside(schema):
        part.pop("discriminator", None)  # a word of OpenAPI, which editors flag
        part.pop("ge", None)  # the bound of a quantity that may be left out: there is no such word
        if isinstance(part.get("default"), float) and "anyOf" in part:
            example = part["anyOf"][0].get("examples", [None])[0]
            part["default"] = write(part["default"], _UNITS[example])
        if "patternProperties" in part:
            part["additionalProperties"] = False  # a name that does not fit the pattern is an error
    definitions: dict[str, Any] = schema.pop("$defs")
    definitions |= {name + _PART: _partial(definition) for name, definition in definitions.items()}
    overlay = _partial(schema)
    del overlay["properties"]["lab"], overlay["properties"]["topology"]
    overlay["description"] = "What differs in the size that fits one machine; null removes a key."
    definitions["Overlay"] = overlay
    schema["properties"]["lab"] = {"$ref": f"{_REF}Overlay"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Faultline topology",
        "$defs": dict(sorted(definitions.items())),
    }


def _describe(definition: dict[str, Any]) -> None:
    """Move what a docstring says of each attribute to its property, where editors show it."""
    summary, _, attributes = definition.get("description", "").partition("\n\nAttributes:\n")
    if summary:
        definition["description"] = " ".join(summary.split())
    entry = re.compile(r"^    (?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n {8}.*)*)", re.MULTILINE)
    for match in entry.finditer(attributes):
        for name in match["names"].split(", "):
            if name in definition.get("properties", {}):
                definition["properties"][name]["description"] = " ".join(match["text"].split())


def _inside(schema: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if isinstance(schema, dict):
        found.append(schema)
        for value in schema.values():
            found += _inside(value)
    elif isinstance(schema, list):
        for value in schema:
            found += _inside(value)
    return found


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    """The same shape with nothing required and every value removable by null."""
    result = copy.deepcopy(schema)
    result.pop("required", None)
    for part in _inside(result):
        part.pop("minProperties", None)
        if "$ref" in part:
            part["$ref"] += _PART
        if "oneOf" in part:  # without its kind a service may fit several
            part["anyOf"] = part.pop("oneOf")
        if isinstance(part.get("additionalProperties"), dict):
            part["additionalProperties"] = _removable(part["additionalProperties"])
        for pattern, value in part.get("patternProperties", {}).items():
            part["patternProperties"][pattern] = _removable(value)
    for name, value in result.get("properties", {}).items():
        result["properties"][name] = _removable(value)
    return result


def _removable(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def text() -> str:
    """The schema as it is committed."""
    return json.dumps(topology_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the schema to its file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)


if __name__ == "__main__":
    main()

"""`--set path=value`: one value of a document replaced from the command line."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from topologies.document import Document, Position, parse_value
from topologies.errors import InputError, Path, dotted, nearest, suggestion

_STEP = re.compile(r"(?P<key>[^.\[\]=\s]+)|\[(?P<index>\d{1,6})\]")
EVERY = "[*]"
"""Stands for every index of a list."""

_EXAMPLE = "as in services.frontend.reach=all or links[0].rtt=200ms"


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Give a copy of ``data`` with ``path=value`` texts applied, in order.

    Args:
        data: mappings with text keys, lists and scalars.
        overrides: texts such as ``links[0].rtt=200ms``; the value is read as YAML.

    Raises:
        InputError: an override cannot be read or leads nowhere; it names the text.
    """
    return Document(copy.deepcopy(dict(data)), "").with_overrides(overrides).data


def override(document: Document, text: str) -> Document:
    """Give a copy of ``document`` with the override ``text`` applied.

    Missing mappings on the way are created (a value may replace a default), unless the missing
    key looks like a misspelt one. ``links[*].rtt=5ms`` does it for every item of the list.

    Raises:
        InputError: as for `apply_overrides`.
    """
    origin = f"--set {text}"
    if EVERY in text.partition("=")[0]:
        for one in _each(document, text, origin):
            document = override(document, one)
        return document
    path, value = _split(text, origin)
    result = document.copy()
    here: Any = result.data
    for depth, step in enumerate(path):
        done, last = path[:depth], depth == len(path) - 1
        _ensure_step_fits(here, step, done, origin)
        if last:
            here[step] = value
        elif isinstance(here, dict) and here.get(step) is None:
            near = nearest(str(step), here)
            if near is not None and step not in here:
                raise InputError(
                    f"there is no {step!r} here", file=origin, path=done, hint=f"did you mean {near!r}?"
                )
            here[step] = {} if isinstance(path[depth + 1], str) else []
            here = here[step]
        else:
            here = here[step]
    positions = {at: position for at, position in result.positions.items() if at[: len(path)] != path}
    values = {at: position for at, position in result.values.items() if at[: len(path)] != path}
    for at in _paths(value, path):
        positions[at] = Position(0, 0, origin=origin)
    return replace(result, positions=positions, values=values)


def _each(document: Document, text: str, origin: str) -> list[str]:
    """An override with ``[*]``, written out for every item of that list."""
    left, _, right = text.partition("=")
    front, _, back = left.partition(EVERY)
    if not front.strip():
        raise InputError("the path starts with an index", file=origin, expected=f"a path {_EXAMPLE}")
    path, _ = _split(f"{front}=0", origin)
    here: Any = document.data
    for depth, step in enumerate(path):
        _ensure_step_fits(here, step, path[:depth], origin)
        if isinstance(here, dict) and step not in here:
            hint = suggestion(str(step), here, what="keys")
            raise InputError(f"there is no {step!r} here", file=origin, path=path[:depth], hint=hint)
        here = here[step]
    if not isinstance(here, list):
        raise InputError(f"{dotted(path)} is no list", file=origin, expected="a list before [*]")
    if not here:
        raise InputError(f"{dotted(path)} is empty", file=origin, hint="there is nothing to change")
    return [f"{front}[{index}]{back}={right}" for index in range(len(here))]


def _split(text: str, origin: str) -> tuple[Path, Any]:
    left, equals, right = text.partition("=")
    if not equals or not left.strip():
        raise InputError("cannot be read", file=origin, expected=f"path=value, {_EXAMPLE}")
    if not right.strip():
        raise InputError("there is no value after `=`", file=origin, hint="write `null` to remove a value")
    steps: list[str | int] = []
    rest = left.strip()
    while rest:
        match = _STEP.match(rest)
        if match is None:
            raise InputError(
                f"cannot read the path {left.strip()!r}", file=origin, expected=f"a path {_EXAMPLE}"
            )
        steps.append(int(match["index"]) if match["index"] else match["key"])
        rest = rest[match.end() :]
        if rest.startswith(".") and len(rest) > 1 and rest[1] not in ".[":
            rest = rest[1:]
        elif rest and not rest.startswith("["):
            raise InputError(
                f"cannot read the path {left.strip()!r}", file=origin, expected=f"a path {_EXAMPLE}"
            )
    if isinstance(steps[0], int):
        raise InputError("the path starts with an index", file=origin, expected=f"a path {_EXAMPLE}")
    return tuple(steps), parse_value(right, origin)


def _ensure_step_fits(here: Any, step: str | int, done: Path, origin: str) -> None:
    place = dotted(done) or "the document"
    if isinstance(here, list):
        if isinstance(step, str):
            message = f"{place} is a list"
            raise InputError(message, file=origin, expected=f"an index as in {place}[0]")
        if step >= len(here):
            held = f"0 to {len(here) - 1}" if here else "none: the list is empty"
            raise InputError(f"{place} has no item {step}", file=origin, expected=f"an index it has ({held})")
    elif isinstance(here, dict):
        if isinstance(step, int):
            raise InputError(
                f"{place} has keys, not items", file=origin, hint=suggestion(str(step), here, what="keys")
            )
    else:
        raise InputError(f"{place} is the value {here!r}, nothing lies below it", file=origin)


def _paths(value: Any, path: Path) -> list[Path]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _paths(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            found += _paths(inner, (*path, place))
    return found

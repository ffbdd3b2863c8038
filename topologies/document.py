"""YAML files read with the position of every value, so that an error can name its line.

Read by the rules of YAML 1.2 (the core schema): `no`, `on` and `12:30` are text, not booleans
or base-60 numbers, and every key is text.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from topologies.errors import InputError, Misfit, Path, Problem, dotted, nearest

MAX_BYTES = 256 * 1024
"""A file larger than this was not written by a person."""
MAX_DEPTH = 40
MAX_VALUES = 20_000
"""Values after expanding aliases: bounds a file whose aliases multiply."""

AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True)
class Position:
    """Where a value was written.

    Attributes:
        line: 1-based.
        column: 1-based.
        path: its path there, when it is not the path it is used at (an overlay, say).
        origin: what it came from instead of the file, such as ``--set a.b=1``.
    """

    line: int
    column: int
    path: Path | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Document:
    """A YAML document: plain data and where each part of it was written.

    Attributes:
        data: mappings with text keys, lists and scalars.
        file: the file as the user named it.
        positions: path -> position of the key (in a mapping) or of the item (in a list).
        values: path -> position of the value itself, when it is not that of its key.
    """

    data: dict[str, Any]
    file: str
    positions: Mapping[Path, Position] = field(default_factory=dict)
    values: Mapping[Path, Position] = field(default_factory=dict)

    def problem(self, misfit: Misfit) -> Problem:
        """Say ``misfit`` with its place in the file; a path that was not written takes its parent's place."""
        path = misfit.path
        written = path
        while written and written not in self.positions:
            written = written[:-1]
        position = self.positions.get(written, Position(1, 1))
        value = self.values.get(written, position)
        if not misfit.on_key and written == path and value.line == position.line:
            position = value  # a block that starts below its key is found by its key
        if position.path is not None:
            path = (*position.path, *path[len(written) :])
        label = dotted(path)
        if position.origin is not None:
            return Problem(misfit.message, position.origin, None, None, label, misfit.expected, misfit.hint)
        return Problem(
            misfit.message, self.file, position.line, position.column, label, misfit.expected, misfit.hint
        )

    def error(self, *misfits: Misfit) -> InputError:
        """Give the error that reports ``misfits`` with their lines, in the order of the file."""
        problems = sorted(
            (self.problem(misfit) for misfit in misfits), key=lambda p: (p.line or 0, p.column or 0)
        )
        return InputError(problems=list(dict.fromkeys(problems)))

    def with_overrides(self, overrides: Sequence[str]) -> Document:
        """Give a copy with ``path=value`` texts applied; errors about those values name the text.

        Raises:
            InputError: an override cannot be read or leads nowhere.
        """
        from topologies.overrides import override

        document = self
        for text in overrides:
            document = override(document, text)
        return document

    def validate(self, model: type[AnyModel], *, context: Mapping[str, Any] | None = None) -> AnyModel:
        """Build ``model`` from the document.

        Args:
            model: the pydantic model.
            context: validation context; ``{"units": "required"}`` when not given.

        Raises:
            InputError: everything that does not fit, each with file, line and what to write instead.
        """
        from topologies.validation import validate

        return validate(self, model, context=context)

    def copy(self) -> Document:
        """Give an independent copy."""
        return Document(copy.deepcopy(self.data), self.file, dict(self.positions), dict(self.values))


def read(file: str | FilePath) -> Document:
    """Read the YAML file ``file``.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, too large, or not a YAML mapping.
    """
    path = FilePath(file)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)  # bounded: the path may be a device
    except FileNotFoundError:
        raise InputError("there is no such file", file=str(file), hint=_neighbour(path)) from None
    except IsADirectoryError:
        raise InputError("this is a directory", file=str(file), expected="a YAML file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {reason}", file=str(file)) from None
    if len(raw) > MAX_BYTES:
        raise InputError("the file is too large", file=str(file), expected=f"at most {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            "this is not UTF-8 text", file=str(file), line=line, hint="save it as UTF-8"
        ) from None
    return parse(text, str(file))


def parse(text: str, file: str) -> Document:
    """Read YAML ``text``; ``file`` is its name in errors.

    Raises:
        InputError: it is broken, empty, not a mapping, or nested or repeated beyond reason.
    """
    builder = _Builder(file)
    data = builder.value_of(text)
    if data is None:
        raise InputError(
            "the file is empty", file=file, line=1, expected="keys and values as in `key: value`"
        )
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise InputError(
            f"the file holds {kind}", file=file, line=1, expected="keys and values as in `key: value`"
        )
    return Document(data, file, builder.positions, builder.values)


def parse_value(text: str, file: str) -> Any:
    """Read ``text`` as one YAML value (a scalar or a flow collection).

    Raises:
        InputError: it is broken.
    """
    return _Builder(file).value_of(text)


def _neighbour(path: FilePath) -> str:
    try:
        names = [other.name for other in path.parent.iterdir() if other.suffix in {".yaml", ".yml", ".json"}]
    except OSError:
        return f"there is no directory {str(path.parent)!r} either"
    near = nearest(path.name, names)
    return f"did you mean {str(path.with_name(near))!r}?" if near else ""


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's parser without its YAML 1.1 guesses: every plain scalar arrives as text."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


_INTEGER = re.compile(r"[-+]?\d{1,30}")
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    "-.inf": float("-inf"),
}


_SURROGATE = re.compile("[\ud800-\udfff]")


def _whole(text: str) -> str:
    """Join the two escapes with which JSON writes a character beyond U+FFFF."""
    if _SURROGATE.search(text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _scalar(node: ScalarNode) -> Any:
    text = _whole(node.value)
    if node.style is not None:  # quoted or a block: text as it stands
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Builder:
    """Turns YAML nodes into plain data and remembers where they stood."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self._count = 0

    def value_of(self, text: str) -> Any:
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            raise self._broken(error) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise InputError(
                f"the character {error.character!r} is not allowed in YAML",
                file=self.file,
                line=line,
            ) from None
        except RecursionError:
            raise InputError(
                "nested too deeply", file=self.file, expected=f"at most {MAX_DEPTH} levels"
            ) from None
        return None if node is None else self._build(node, ())

    def _broken(self, error: yaml.MarkedYAMLError) -> InputError:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "broken YAML"
        line = mark.line + 1 if mark else None
        column = mark.column + 1 if mark else None
        hint = "check indentation, brackets and quotes here and on the line before"
        if "\\t" in message:
            hint = "YAML is indented with spaces, never with tabs"
        elif "expected a single document" in message or "expected a single document" in (error.context or ""):
            message, hint = "a second document starts here", "remove the `---`: one document per file"
        elif "undefined alias" in message:
            hint = "quote the text if the `*` was not meant as an alias"
        elif "mapping values are not allowed" in message:
            hint = "quote a value that contains `: `, or check the indentation"
        return InputError(f"broken YAML: {message}", file=self.file, line=line, column=column, hint=hint)

    def _fail(self, node: Node, path: Path, message: str, expected: str = "", hint: str = "") -> InputError:
        mark = node.start_mark
        return InputError(
            message,
            file=self.file,
            line=mark.line + 1,
            column=mark.column + 1,
            path=path,
            expected=expected,
            hint=hint,
        )

    def _build(self, node: Node, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._fail(node, (), "too many values", f"at most {MAX_VALUES}, aliases expanded")
        if len(path) > MAX_DEPTH:
            raise self._fail(node, path[:3], "nested too deeply", f"at most {MAX_DEPTH} levels")
        if not str(node.tag).startswith("tag:yaml.org,2002:") or str(node.tag).startswith(
            "tag:yaml.org,2002:python"
        ):
            raise self._fail(node, path, f"the tag {node.tag} is not allowed", hint="write a plain value")
        mark = node.start_mark
        position = Position(mark.line + 1, mark.column + 1)
        self.positions.setdefault(path, position)
        self.values[path] = position
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._build(item, (*path, place)) for place, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return _scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self._fail(key, path, "a list or mapping is used as a key", "text as the key")
            name = _whole(key.value)
            line = key.start_mark.line + 1
            if name == "<<" and key.style is None:
                hint = "repeat the keys, or alias a whole value"
                raise self._fail(key, path, "merge keys (`<<`) are not supported", hint=hint)
            if name in first:
                hint = f"it is already set on line {first[name]}; remove one of the two"
                raise self._fail(key, (*path, name), f"the key {name!r} is written twice", hint=hint)
            first[name] = line
            self.positions[(*path, name)] = Position(line, key.start_mark.column + 1)
            data[name] = self._build(value, (*path, name))
        return data

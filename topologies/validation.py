"""A document checked against a model, and what does not fit said in plain language with its line."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from topologies.errors import InputError, Misfit, MisfitError, Path, suggestion

if TYPE_CHECKING:
    from topologies.document import Document

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def validate(
    document: Document, model: type[AnyModel], *, context: Mapping[str, Any] | None = None
) -> AnyModel:
    """Build ``model`` from ``document``.

    Args:
        document: what the user wrote.
        model: the pydantic model it should fit.
        context: validation context; ``{"units": "required"}`` when not given.

    Raises:
        InputError: everything that does not fit, each with file, line and what to write instead.
    """
    settings = {"units": "required"} if context is None else dict(context)
    try:
        return model.model_validate(document.data, context=settings)
    except ValidationError as error:
        raise document.error(*misfits_of(error, model, document.data)) from None


def misfits_of(error: ValidationError, model: type[BaseModel], data: Any) -> list[Misfit]:
    """Say every part of pydantic's ``error`` about ``data`` in plain language."""
    misfits: list[Misfit] = []
    for details in error.errors(include_url=False):
        path, on_key = _path_in(data, details["loc"], missing=details["type"] == "missing")
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, MisfitError):
            misfits += [
                Misfit((*path, *part.path), part.message, part.expected, part.hint, part.on_key)
                for part in cause.misfits
            ]
        elif isinstance(cause, InputError):
            misfits += [Misfit(path, p.message, p.expected, p.hint) for p in cause.problems]
        else:
            # pydantic tells converted values (`0s` as 0.0): say what was written
            given = details.get("input") if on_key else _value_at(data, path, details.get("input"))
            misfits.append(_misfit(details, path, on_key, model, given))
    return misfits


def _path_in(data: Any, loc: Sequence[str | int], *, missing: bool) -> tuple[Path, bool]:
    """Give the part of ``loc`` that stands in the document, without pydantic's names of union branches."""
    path: list[str | int] = []
    here: Any = data
    on_key = False
    for place, step in enumerate(loc):
        last = place == len(loc) - 1
        if (isinstance(here, dict) and step in here) or (
            isinstance(here, list | tuple) and isinstance(step, int) and step < len(here)
        ):
            path.append(step)
            here = here[step]  # type: ignore[index]
        elif step == "[key]":
            on_key = True
        elif missing and last and isinstance(here, dict):
            path.append(step)  # a key that should be there and is not
    return tuple(path), on_key


def _value_at(data: Any, path: Path, otherwise: Any) -> Any:
    here = data
    for step in path:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            return otherwise
    return here


def _misfit(details: ErrorDetails, path: Path, on_key: bool, model: type[BaseModel], given: Any) -> Misfit:
    kind, context = details["type"], details.get("ctx", {})
    name = str(path[-1]) if path else ""
    if kind == "missing":
        return Misfit(path[:-1], f"the key {name!r} is missing", hint=f"add `{name}: ...`")
    if kind == "extra_forbidden":
        known = _fields_at(model, details["loc"][:-1])
        return Misfit(path, f"unknown key {name!r}", hint=suggestion(name, known), on_key=True)
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return _wrong_kind(kind, context, given, path, _tags_at(model, details["loc"]))
    if kind == "literal_error":
        choices = _words(str(context.get("expected", "")))
        return Misfit(path, f"{given!r} is not a choice here", _one_of(choices), _near(given, choices))
    if kind == "string_pattern_mismatch":
        return Misfit(path, f"{given!r} is not a name", _pattern(str(context.get("pattern"))), on_key=on_key)
    if kind == "value_error":
        return Misfit(path, str(context.get("error", details["msg"])), on_key=on_key)
    tags = _tags_at(model, details["loc"])
    if kind in _NO_KEYS and len(tags) > 1:
        return Misfit(path, _shown(given), f"keys and values with a kind: {_one_of(tags)}")
    say = _PLAIN.get(kind)
    if say is not None:
        return Misfit(path, _shown(given), say(context), on_key=on_key)
    return Misfit(path, details["msg"][:1].lower() + details["msg"][1:], on_key=on_key)


_NO_KEYS = frozenset({"dict_type", "model_type", "model_attributes_type"})


def _shown(given: Any) -> str:
    if given is None:
        return "there is no value"
    if isinstance(given, dict):
        return "this has keys"
    if isinstance(given, list | tuple):
        return f"this is a list of {len(given)}"
    text = "true" if given is True else "false" if given is False else repr(given)
    return f"the value is {text[:60]}"


def _constant(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: text


def _bound(words: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda context: f"{words} {context[key]:g}"


_WHOLE = _constant("a whole number")
_NUMBER = _constant("a number")
_SWITCH = _constant("true or false")
_KEYS = _constant("keys and values ({} for defaults only)")
_LIST = _constant("a list as in [a, b]")

_PLAIN: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": _constant("a finite number"),
    "bool_parsing": _SWITCH,
    "bool_type": _SWITCH,
    "string_type": _constant("text"),
    "dict_type": _KEYS,
    "mapping_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": lambda context: f"at least {context['min_length']} entries",
    "too_long": lambda context: f"at most {context['max_length']} entries",
    "string_too_short": lambda context: f"at least {context['min_length']} characters",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
}


def _words(expected: str) -> list[str]:
    """Take the choices out of pydantic's ``'a', 'b' or 'c'``."""
    return [word.strip(" '") for word in expected.replace(" or ", ", ").split(",") if word.strip(" '")]


def _one_of(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _near(given: Any, choices: Sequence[str]) -> str:
    hint = suggestion(given, choices) if isinstance(given, str) else ""
    return hint if hint.startswith("did you mean") else ""


def _wrong_kind(kind: str, context: Mapping[str, Any], given: Any, path: Path, tags: Sequence[str]) -> Misfit:
    key = str(context.get("discriminator", "kind")).strip("'")
    known = list(tags) or _words(str(context.get("expected_tags", "")))
    if kind == "union_tag_not_found":
        if not isinstance(given, dict):
            return Misfit(path, _shown(given), f"keys and values with {key!r}")
        return Misfit(path, f"the key {key!r} is missing", f"{key}: {_one_of(known)}")
    tag = str(context.get("tag", ""))
    return Misfit((*path, key), f"unknown {key} {tag!r}", _one_of(known), _near(tag, known))


def _pattern(pattern: str) -> str:
    from topologies.model import NAME_PATTERN

    if pattern == NAME_PATTERN:
        return "a lower-case letter, then at most 14 lower-case letters, digits or '-'"
    if pattern == r"^[a-z][a-z0-9-]*$":
        return "a lower-case letter, then lower-case letters, digits or '-'"
    return f"text like {pattern}"


def _types_at(annotation: Any, loc: Sequence[str | int]) -> list[Any]:
    """Give the types that ``annotation`` can have after following pydantic's ``loc`` into it."""
    here = _branches(annotation)
    for step in loc:
        reached: list[Any] = []
        for one in here:
            reached += _step(one, step)
        # the name of a union's branch is a step of its own: narrow to that branch
        narrowed = [one for one in here if step in _tags(one) or getattr(one, "__name__", None) == step]
        here = narrowed or [branch for one in reached for branch in _branches(one)]
    return here


def _branches(annotation: Any) -> list[Any]:
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        return _branches(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return [branch for one in get_args(annotation) for branch in _branches(one)]
    if hasattr(annotation, "__value__"):  # `type X = ...`
        return _branches(annotation.__value__)
    return [annotation]


def _step(one: Any, step: str | int) -> list[Any]:
    if isinstance(one, type) and issubclass(one, BaseModel):
        for name, info in one.model_fields.items():
            if step in {name, info.alias, info.validation_alias}:
                return [info.annotation]
        return []
    origin, args = get_origin(one), get_args(one)
    if origin is not None and isinstance(origin, type):
        if issubclass(origin, Mapping):
            return [args[1]]
        if issubclass(origin, tuple) and isinstance(step, int):
            return [args[min(step, len(args) - 1)]] if Ellipsis not in args else [args[0]]
        if issubclass(origin, Sequence) and isinstance(step, int):
            return [args[0]]
    return []


def _tags(one: Any) -> tuple[str, ...]:
    """Give the literal values of a model's single-choice fields: its discriminator's tags."""
    if not (isinstance(one, type) and issubclass(one, BaseModel)):
        return ()
    found: list[str] = []
    for name in ("kind", "fault", "type"):
        info = one.model_fields.get(name)
        if info is not None and len(choices := get_args(info.annotation)) == 1:
            found.append(str(choices[0]))
    return tuple(found)


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    names: list[str] = []
    for one in _types_at(model, loc):
        if isinstance(one, type) and issubclass(one, BaseModel):
            names += [str(info.alias or name) for name, info in one.model_fields.items()]
    return names


def _tags_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    return [tag for one in _types_at(model, loc) for tag in _tags(one)]

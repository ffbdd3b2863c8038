"""What every part of a topology is built on: the model that refuses unknown keys, and names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from topologies.errors import Misfit, MisfitError

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,14}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A short lower-case name: it becomes part of interface and host names."""


class Model(BaseModel):
    """Base of everything a user writes: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        """`nodes: true` would count as 1: Python's truth values are integers."""
        misfits = [
            Misfit(place, f"the value is {str(truth).lower()}", "a number")
            for name, value in (data.items() if isinstance(data, dict) else ())
            if name in cls.model_fields and not _holds_truth(cls.model_fields[name].annotation)
            for place, truth in _truths(name, value)
        ]
        if misfits:
            raise MisfitError(misfits)
        return data


def _truths(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The truth values in a field: itself, or the values of a mapping."""
    if isinstance(value, bool):
        yield (name,), value
    elif isinstance(value, dict):
        yield from (((name, str(key)), one) for key, one in value.items() if isinstance(one, bool))


def _holds_truth(annotation: Any) -> bool:
    """Whether a field has a place for true and false."""
    if get_origin(annotation) is None:
        return annotation in (bool, Any)
    return any(_holds_truth(part) for part in get_args(annotation))

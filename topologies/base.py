"""What every part of a topology is built on: the model that refuses unknown keys, and names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,14}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A short lower-case name: it becomes part of interface and host names."""


class Model(BaseModel):
    """Base of everything a user writes: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)

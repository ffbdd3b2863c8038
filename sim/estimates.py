"""A measured quantity and how well it is known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sim.random import lognormal

Positive = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class Plain(BaseModel):
    """Base of what a calibration holds: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Plain):
    """A measured quantity in seconds.

    Attributes:
        mean: its mean.
        cv: coefficient of variation of single values around the mean.
        sem: standard error of the mean, in seconds: how well the mean is known.
    """

    mean: Positive
    cv: Annotated[float, Field(ge=0, le=10)] = 0.0
    sem: Positive = 0.0

    def drawn(self, normal: float) -> Estimate:
        """This estimate with its mean drawn from its uncertainty (log-normal, so it stays positive)."""
        if self.mean == 0 or self.sem == 0:
            return self
        return Estimate(mean=self.mean * lognormal(normal, self.sem / self.mean), cv=self.cv, sem=0.0)

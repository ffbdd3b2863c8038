"""What requests cost more after a pause: measured at rest, part of a calibration."""

from __future__ import annotations

from sim.estimates import Estimate, Plain

PAUSE = 0.2
"""Seconds after which caches are taken to be cold."""


class Refill(Plain):
    """CPU that a process's work costs more after a long pause than without one (`sim.protocols.caches`).

    Attributes:
        app: of the identity service.
        db: of the database.
    """

    app: Estimate
    db: Estimate

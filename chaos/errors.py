"""Errors of the lab. Each message says what happened and what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """The lab could not do what was asked."""


class MissingCapability(LabError):
    """This machine lacks something the lab needs; the message gives the command that gets it."""


class LabBusy(LabError):
    """Another lab runs on this machine."""


class InjectionError(LabError):
    """A fault could not be injected or taken back."""


class SteadyStateError(LabError):
    """The service was not in its steady state before the first fault, so nothing was broken."""

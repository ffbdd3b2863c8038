"""What this machine can do, in words a newcomer can act on."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from chaos.host import namespaces
from chaos.host.capabilities import Capability, survey
from chaos.host.processes import is_alive
from chaos.kube import requirements
from chaos.lab.layout import lab_directory
from chaos.lock import LabLock
from faultline.home import Home
from faultline.ledger import Ledger, LedgerError
from faultline.witnesses import witnesses


@dataclass(frozen=True)
class Task:
    """Something a user may want to do.

    Attributes:
        reason: why not, or what is special about it.
    """

    what: str
    possible: bool
    reason: str = ""


@dataclass(frozen=True)
class Examination:
    """All findings."""

    capabilities: list[Capability]
    tasks: list[Task]
    remarks: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "capabilities": [vars(one) for one in self.capabilities],
            "tasks": [vars(one) for one in self.tasks],
            "remarks": self.remarks,
        }


def examine(home: Home | None = None) -> Examination:
    """Look at the machine; nothing is created, loaded or started."""
    home = home or Home.find()
    capabilities = survey()
    lacking = [one for one in capabilities if one.required and not one.present]
    # Optional as far as the machine goes: only one of the backends needs them.
    on_kind = requirements.survey()
    lacking_on_kind = lacking + [one for one in on_kind if one.required and not one.present]
    writable = _writable(home)
    no_home = "" if writable else f"{home.root} cannot be written: set FAULTLINE_HOME"
    tasks = [
        Task("faultline predict", True, "needs no privileges"),
        Task(
            "faultline run --backend simulated", writable, no_home or "needs no privileges, validates nothing"
        ),
        Task("faultline run --backend local", writable and not lacking, no_home or _absence(lacking)),
        Task(
            "faultline run --backend kind",
            writable and not lacking_on_kind,
            no_home or _absence(lacking_on_kind),
        ),
    ]
    capabilities += [replace(one, required=False) for one in on_kind]
    return Examination(capabilities, tasks, _remarks(home))


def _absence(lacking: list[Capability]) -> str:
    return "missing, see above: " + ", ".join(one.name for one in lacking) if lacking else ""


def _writable(home: Home) -> bool:
    place = home.root
    while not place.exists() and place != place.parent:
        place = place.parent
    return os.access(place, os.W_OK)


def _remarks(home: Home) -> list[str]:
    remarks = []
    owner = LabLock(lab_directory()).owner()
    if owner is not None and is_alive(owner.process):
        remarks.append(f"a lab is running: pid {owner.pid}, `{owner.command}`")
    else:
        left = namespaces.names()
        if left:
            remarks.append(f"a lab has left {', '.join(left[:4])} behind: `faultline heal` removes it")
    if not home.calibration.exists():
        remarks.append(
            "not calibrated: predictions use the shipped figures until `faultline calibrate` has run"
        )
    try:
        if not Ledger(home.ledger).verify(witnesses(home)).intact:
            remarks.append("the ledger is damaged: `faultline ledger verify` says where")
    except LedgerError as error:
        remarks.append(str(error))
    return remarks

"""Carrying the campaign out: calibrate once, then predict, register and measure cell after cell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from benchmarks.campaign.cells import REPEATS, Cell
from benchmarks.campaign.record import (
    LAB,
    ROOM,
    Data,
    Recorded,
    measured,
    registered,
    scorable,
    witness,
)
from chaos.errors import InjectionError, LabError
from chaos.lab.base import Lab
from chaos.measure import pace
from chaos.toolkit.session import Session
from experiments.metrics import reduce
from faultline.home import Home
from faultline.ledger import Ledger
from sim.calibration import Calibration
from sim.calibration import load as load_calibration
from sim.predict import Prediction, predict
from sim.profile import load as load_profile

SEED = 20261121
REPLICATIONS = 40
BRING_UP = 18.0
"""Seconds that bringing a lab up and down takes."""

BETWEEN = {"plain": 6.5, "fault": 9.5}
"""Seconds that starting generators, auditing and refitting for a repeat take; settling after a fault."""

Note = Callable[[str], None]


class Standing(Lab, Protocol):
    """A lab that stays up between runs, until it is closed."""

    def close(self) -> None:
        """Take it down; safe to call again."""


def seconds_of(cell: Cell) -> float:
    """About how long all repeats of ``cell`` take in a lab that is up."""
    each = cell.load.duration + BETWEEN[cell.kind] + (BRING_UP if cell.fresh else 0.0)
    return (REPEATS if cell.kind == "fault" else 1) * each


def within(cells: Sequence[Cell], seconds: float) -> list[Cell]:
    """The first of ``cells`` that fit into ``seconds``, labs included; what does not fit is passed over."""
    chosen: list[Cell] = []
    deployments: set[tuple[object, ...]] = set()
    for cell in cells:
        cost = seconds_of(cell) + (BRING_UP if cell.deployment not in deployments and not cell.fresh else 0.0)
        if cost <= seconds:
            chosen.append(cell)
            deployments.add(cell.deployment)
            seconds -= cost
    return chosen


def grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that share a lab together; groups and cells keep the order of importance."""
    order: dict[tuple[object, ...], int] = {}
    ranked = [(order.setdefault(cell.deployment, place), place, cell) for place, cell in enumerate(cells)]
    ranked.sort(key=lambda one: one[:2])
    return [[cell for _, _, cell in group] for _, group in groupby(ranked, key=lambda one: one[0])]


def forecast(cell: Cell, calibration: Calibration, replications: int = REPLICATIONS) -> Prediction:
    """Predict one repeat of ``cell``."""
    demands = load_profile().calibrated(calibration, cell.topology)
    return predict(cell.scenario, demands, SEED, replications=replications, workers=1)


class Campaign:
    """One campaign: a home with its own calibration and ledger, and a room for the data.

    Args:
        home: of calibration and ledger.
        room: for the data files.
        note: told what happens.
        lab: opens the lab that cells run in; the local one by default.
        replications: simulated runs behind every prediction.

    Attributes:
        failed: names of cells that could not be measured.
        paces: measures the machine's pace, seconds.
    """

    def __init__(
        self,
        home: Path,
        room: Path = ROOM,
        note: Note = print,
        *,
        lab: Callable[[], Standing] | None = None,
        replications: int = REPLICATIONS,
    ) -> None:
        self.home = Home(home)
        self.room = room
        self.note = note
        self.ledger = Ledger(self.home.ledger)
        self.failed: list[str] = []
        self.paces: Callable[[], float] = pace.measure
        self._open_lab = lab or _local
        self._replications = replications

    def calibrate(self) -> Calibration:
        """This campaign's calibration, measured now unless it has been.

        Raises:
            subprocess.CalledProcessError: it could not be measured.
        """
        self.home.create()
        if not self.home.calibration.exists():
            environment = os.environ | {"FAULTLINE_HOME": str(self.home.root)}
            command = [sys.executable, "-m", "faultline", "calibrate"]
            subprocess.run(command, env=environment, check=True)
        self.room.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.home.calibration, self.room / "calibration.json")
        return load_calibration(self.home.calibration)

    def recorded(self, cell: Cell, calibration: Calibration) -> Recorded | None:
        """What this campaign has of ``cell``; what another calibration predicted is not its own."""
        path = self.room / f"{cell.name}.json"
        if not path.exists():
            return None
        found = Recorded.read(path)
        return found if found.data["calibration"] == calibration.hash else None

    def run(self, cells: Sequence[Cell], deadline: float = float("inf")) -> None:
        """Measure what is missing of ``cells``, the most important of them that fit in before ``deadline``.

        A cell that fails is noted in `failed` and the next one begins.

        Args:
            deadline: on the monotonic clock.
        """
        calibration = self.calibrate()
        missing = []
        for cell in cells:
            found = self.recorded(cell, calibration)
            if found is None or not found.complete:
                missing.append(cell)
        for group in grouped(within(missing, deadline - time.monotonic())):
            lab = self._open_lab()
            try:
                for cell in group:
                    if time.monotonic() + seconds_of(cell) > deadline:
                        self.note(f"{cell.name}: no time left")
                        continue
                    self._attempt(lab, cell, calibration)
            finally:
                lab.close()

    def _attempt(self, lab: Standing, cell: Cell, calibration: Calibration) -> None:
        try:
            self._measure(lab, cell, calibration)
        except LabError as error:
            self.note(f"{cell.name}: {error}; once more in a new lab")
            lab.close()
            try:
                self._measure(lab, cell, calibration)
            except LabError as again:
                self.note(f"{cell.name}: given up: {again}")
                self.failed.append(cell.name)
                lab.close()

    def _measure(self, lab: Standing, cell: Cell, calibration: Calibration) -> None:
        found = self.recorded(cell, calibration)
        if found is None:
            prediction = forecast(cell, calibration, self._replications)
            found = Recorded.begin(cell, prediction, calibration)
        while not found.complete:
            if cell.fresh:
                lab.close()
            self._await_pace(cell, calibration.machine.pace)
            taken = self._take(lab, cell, found, calibration.machine.pace)
            known = {one["number"] for one in found.repeats}
            for repeat in taken:
                repeat["retaken"] = bool(repeat["disturbances"]) and repeat["number"] not in known
            found.repeats.extend(taken)
            found.write(self.room)
            last = taken[-1]
            told = "; ".join(last["disturbances"]) or "undisturbed"
            again = ", taken again" if last["retaken"] else ""
            busy = last["health"].get("busy", 0.0)
            self.note(f"{cell.name} {last['number']}/{REPEATS}: machine {busy:.0%} busy, {told}{again}")
        if cell.fresh:
            lab.close()

    def _await_pace(self, cell: Cell, usual: float | None) -> None:
        """Wait while the host leaves the machine less than at calibration, up to `PATIENCE` seconds."""
        deadline, waiting = time.monotonic() + PATIENCE, False
        while usual is not None and time.monotonic() < deadline:
            if all(abs(self.paces() / usual - 1) <= PACE for _ in range(CALM_MEASURES)):
                break
            if not waiting:
                self.note(f"{cell.name}: waiting up to {PATIENCE:.0f} s for the machine's pace")
            waiting = True
            time.sleep(2.0)

    def _take(self, lab: Standing, cell: Cell, found: Recorded, usual: float | None) -> list[Data]:
        """Register and measure the repeats that one load holds, of those that are missing."""
        begun = sum(
            row.kind == "prediction" and row.run_id.startswith(f"{cell.name}.") for row in self.ledger.rows()
        )
        missing = range(len(found.counted) + 1, REPEATS + 1)
        numbers = list(missing)[: 1 if cell.kind == "fault" else REPEATS]
        rows = [
            self.ledger.append("prediction", f"{cell.name}.{begun + place}", registered(found.data))
            for place, _ in enumerate(numbers, start=1)
        ]
        with Session(lab, cell.topology, cell.load, seed=SEED + begun) as session:
            session.open()
            started = datetime.now(UTC) - timedelta(seconds=session.now())
            for fault in cell.timeline:
                session.activity = fault.name
                session.inject(fault.fault, at=fault.at, duration=fault.duration)
            session.finish_load()
            if session.failures:
                raise InjectionError("; ".join(map(str, session.failures)))
            observation = session.observation()
            first = min((applied.at for applied in session.applied), default=None)
        if not found.data["lab"]:
            known = observation.extra.get("facts", {})
            found.data["lab"] = {key: known[key] for key in LAB if key in known}
        taken = []
        for number, row, part in zip(numbers, rows, cell.repeats(observation), strict=False):
            repeat: Data = {
                "run": row.run_id,
                "number": number,
                "retaken": False,
                "load_started": _spell(started),
                "first_injection": None if first is None else _spell(started + timedelta(seconds=first)),
                "measured": [part.warmup, part.duration],
                "windows": [list(window) for window in part.windows],
                "health": _health(part.extra.get("health", {})),
                "disturbances": [
                    *part.extra.get("disturbances", []),
                    *_off_pace(part.extra.get("health", {}).get("pace"), usual),
                ],
                "metrics": measured(reduce(part, cell.topology, cell.load)),
            }
            outcome = self.ledger.append("measurement", row.run_id, scorable(repeat))
            repeat["ledger"] = {"prediction": witness(row), "measurement": witness(outcome)}
            taken.append(repeat)
        return taken


HEALTH = (
    "busy",
    "busy_worst",
    "steal",
    "relay_late",
    "relay_worst",
    "prober_late",
    "load_share",
    "cpu",
    "throttled",
    "pace",
)
"""What is kept of a lab's health."""


PATIENCE = 45.0
"""Seconds that a run waits for the machine to compute as fast as when it was calibrated."""

CALM_MEASURES = 5
"""Measures of the pace in a row that must be usual before a run."""

PACE = 0.10
"""Share by which the machine may be faster or slower than when it was calibrated: a miss by as much would be
the host's."""


def _off_pace(now: float | None, then: float | None) -> list[str]:
    if now is None or then is None or abs(now / then - 1) <= PACE:
        return []
    return [f"machine computes at {then / now:.2f} times the pace of its calibration (limit {PACE:.0%})"]


def _health(whole: Mapping[str, Any]) -> Data:
    return {name: whole[name] for name in HEALTH if name in whole}


def _local() -> Standing:
    from benchmarks.campaign.lab import StandingLab

    return StandingLab(seed=SEED)


def _spell(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")

"""`faultline sweep`: the points that `--set` spans, and the sweep over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from faultline.home import Home
from faultline.inputs import Inputs, prepare
from topologies.document import read
from topologies.errors import InputError
from topologies.loader import SizeName, is_there
from topologies.loader import library as topology_library

if TYPE_CHECKING:
    from sim.sweep import Point
    from sim.sweep_result import SweepResult

GROUND = "baseline"
"""Experiment that a bare topology is swept under: nothing is broken."""

MOST_POINTS = 20_000
"""A product of axes beyond this is a slip of the keyboard."""

Preparation = Callable[[Sequence[str]], Inputs]


def axes_of(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The values of every path: ``links[0].rtt=1ms,5ms`` has two; commas in brackets or quotes part nothing.

    >>> axes_of(["workload.users=1,2", "services.cache.sentinels=[ral, cam],[ral]"])
    {'workload.users': ['1', '2'], 'services.cache.sentinels': ['[ral, cam]', '[ral]']}

    Raises:
        InputError: a text has no path, no value, or names a path twice.
    """
    axes: dict[str, list[str]] = {}
    for text in overrides:
        path, equals, values = text.partition("=")
        path = path.strip()
        if not equals or not path:
            raise InputError("cannot be read", file=f"--set {text}", expected="path=value,value,...")
        if path in axes:
            raise InputError(
                "is given twice", file=f"--set {text}", hint=f"write {path}=... once, its values by commas"
            )
        found = _parted(values)
        if not all(found):
            raise InputError("a value is missing", file=f"--set {text}", expected="path=value,value,...")
        axes[path] = found
    return axes


def _parted(text: str) -> list[str]:
    found, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and depth == 0:
            found.append("")
            continue
        found[-1] += letter
    return [value.strip() for value in found]


def preparation(
    reference: str, *, home: Home, seed: int | None, size: SizeName, calibration: str | None
) -> Preparation:
    """What checks a point: an experiment as it is, a topology under GROUND."""
    given: list[str] = []
    if _is_topology(reference):
        place = Path(reference)
        given = [f"experiment.topology={place.resolve() if is_there(place, anything=False) else reference}"]
        reference = GROUND
    return lambda overrides: prepare(
        reference,
        home=home,
        seed=seed,
        overrides=[*given, *overrides],
        size=size,
        calibration=calibration,
    )


def _is_topology(reference: str) -> bool:
    path = Path(reference)
    if is_there(path, anything=False):
        return "sites" in read(path).data
    return reference in topology_library()


def points_of(axes: dict[str, list[str]], prepared: Preparation) -> tuple[list[Point], Inputs]:
    """Every combination, checked; and the first of them, for what all share.

    Raises:
        InputError: too many points, or one that does not fit; nothing has been simulated then.
    """
    from math import prod

    from sim.sweep import Point, grid

    count = prod(len(values) for values in axes.values())
    if count > MOST_POINTS:
        raise InputError(f"these axes span {count} points", expected=f"{MOST_POINTS} at most")
    combinations = grid(axes)
    inputs = [
        prepared([f"{path}={value}" for path, value in combination.items()]) for combination in combinations
    ]
    points = [
        Point({path: _plain(value) for path, value in combination.items()}, one.scenario, one.demands)
        for combination, one in zip(combinations, inputs, strict=True)
    ]
    return points, inputs[0]


def _plain(value: str) -> str | float | int:
    """A setting as a number if it is one: `10` and `2.5` keep their distance on an axis, `30ms` is a word."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def run_sweep(
    points: Sequence[Point],
    first: Inputs,
    *,
    replications: int,
    workers: int,
    cluster: str | None,
    journal: Path,
    progress: Callable[[int, int], None],
    note: Callable[[str], None] | None = None,
) -> SweepResult:
    """Carry the sweep out.

    Raises:
        InputError: a point has a topology that nobody can ask, the journal cannot be used, or the cluster
            is not there.
    """
    from sim.sweep import SweepError, sweep

    try:
        return sweep(
            points,
            first.demands,
            first.seed,
            replications=replications,
            workers=workers,
            cluster=cluster,
            journal=journal,
            progress=progress,
            note=note,
        )
    except (ValueError, SweepError) as error:
        raise InputError(str(error), file=str(first.experiment.file)) from None

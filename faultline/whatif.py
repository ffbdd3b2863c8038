"""A what-if question from the command line: an experiment, and the same with something changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from faultline.display import Display
from faultline.inputs import Inputs
from faultline.verdict import is_headline
from faultline.wording import DASH, reading_order, show, show_range, title, where, window
from topologies.errors import InputError

if TYPE_CHECKING:
    from sim.whatif import Comparison, Contrast


def compare_inputs(first: Inputs, second: Inputs, names: tuple[str, str], shown: Display) -> Comparison:
    """Simulate both under common random numbers.

    Raises:
        InputError: nothing can be predicted for one of the topologies.
    """
    from sim.whatif import compare

    def progress(done: int, total: int) -> None:
        if done == total or done % 5 == 0:
            shown.note(f"{done} of {total} replications")

    try:
        return compare(
            first.scenario,
            second.scenario,
            first.demands,
            first.seed,
            second_calibration=second.demands,
            names=names,
            replications=first.replications,
            workers=min(2, os.cpu_count() or 1),
            progress=progress,
            engine=first.engine,
            note=shown.note,
        )
    except ValueError as error:
        raise InputError(str(error), file=str(first.experiment.file)) from None


def document(comparison: Comparison, first: Inputs, second: Inputs) -> dict[str, Any]:
    """The comparison with what it was made for, as plain data: a pure function of the inputs."""
    return {
        **comparison.data(),
        "experiment": first.experiment.name,
        "topologies": [first.topology.topology, second.topology.topology],
        "overrides": [list(first.overrides), list(second.overrides)],
        "calibration": {"hash": first.calibration.hash, "source": first.calibration.source},
    }


def rows(comparison: Comparison, *, faulted: bool, everything: bool = False) -> list[tuple[str, ...]]:
    """Lines of a table: metric, when, both means, the difference with its interval, what it comes to."""
    found: list[tuple[str, ...]] = []
    for key in sorted(comparison.metrics, key=reading_order):
        if everything or is_headline(key, faulted):
            contrast = comparison.metrics[key]
            paired, unit = contrast.paired, contrast.unit
            like = max(abs(paired.first), abs(paired.second))
            found.append(
                (
                    ", ".join(filter(None, [title(key), where(key)])),
                    window(key),
                    show(paired.first, unit, like=like),
                    show(paired.second, unit, like=like),
                    f"{_signed(paired.difference, unit)} [{show_range(*paired.interval, unit)}]",
                    DASH if paired.relative is None else f"{paired.relative:+.1%}",
                    conclusion(contrast),
                )
            )
    return found


def conclusion(contrast: Contrast) -> str:
    """What the interval of the difference says."""
    if contrast.censored == 1:
        return "cut off by the end"
    if contrast.paired.interval == (0.0, 0.0):
        return "the same"
    return "differs" if contrast.paired.significant else "no difference seen"


def _signed(value: float, unit: str) -> str:
    text = show(value, unit)
    return f"+{text}" if value > 0 else text

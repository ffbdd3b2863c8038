"""How long something was gone, from the times at which it was seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from experiments.catalogue import SUSTAINED

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def outages(
    start: Floats, ok: Mask, end: float, sustained: float = SUSTAINED
) -> list[tuple[float, float | None]]:
    """Outages seen by probes that started at ``start`` (ascending).

    An outage begins with a failed probe and ends with the first probe that opens a period of at
    least ``sustained`` seconds in which every probe succeeds. Shorter spells of luck belong to it:
    a service that answers now and then is not back.

    Args:
        start: when each probe was sent, in seconds, ascending.
        ok: whether it succeeded.
        end: when watching ended, in seconds; a period of success must be seen to its full length.
        sustained: seconds.

    Returns:
        (first failed probe, first probe of the sustained success or None when it never came).
    """
    failed = np.flatnonzero(~ok)
    if len(failed) == 0:
        return []
    # a run of successes opens after failed probe i and lasts to the next failure or the end
    opens = failed + 1
    closes = np.append(start[failed[1:]], end)
    opened = np.where(opens < len(start), start[np.minimum(opens, len(start) - 1)], np.inf)
    back = (closes - opened >= sustained) & (np.append(failed[1:], len(start)) > opens)
    found: list[tuple[float, float | None]] = []
    first = 0
    for last in np.flatnonzero(back):
        found.append((float(start[failed[first]]), float(opened[last])))
        first = int(last) + 1
    if first < len(failed):
        found.append((float(start[failed[first]]), None))
    return found


def longest_outage(start: Floats, ok: Mask, end: float, sustained: float = SUSTAINED) -> tuple[float, bool]:
    """Length in seconds of the longest outage, and whether the run ended before it did.

    A single stray failure before the real outage would end a measure of the *first* outage in no
    time; the longest one cannot be hidden that way, and is the same when there is only one.
    """
    lengths = [
        (end - failed, True) if back is None else (back - failed, False)
        for failed, back in outages(start, ok, end, sustained)
    ]
    return max(lengths, default=(0.0, False))


def longest_gap(times: Floats, since: float, until: float, end: float) -> tuple[float, bool]:
    """Longest gap between neighbouring ``times`` that overlaps [since, until].

    Args:
        times: ascending, in seconds.
        since: start of the interval of interest.
        until: end of the interval of interest.
        end: when watching ended; a gap still open then is cut off there.

    Returns:
        (seconds, whether the gap was still open at ``end``).
    """
    if len(times) == 0:
        return end - since, True
    left = np.append(times, np.nan)[:-1]
    right = np.append(times[1:], end)
    overlaps = (right > since) & (left < until)
    if since < times[0]:  # nothing seen before: the gap can only be counted from `since`
        left, right = np.append(since, left), np.append(times[0], right)
        overlaps = np.append(True, overlaps)
    if not overlaps.any():
        return 0.0, False
    lengths = np.where(overlaps, right - left, -np.inf)
    longest = int(np.argmax(lengths))
    return float(lengths[longest]), longest == len(lengths) - 1

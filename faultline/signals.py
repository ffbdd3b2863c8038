"""Signals that end a command in order: whatever it holds, it can take down first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from faultline.guard import say


@contextmanager
def patient_with_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end what runs inside, once, as a KeyboardInterrupt.

    More of them must not disturb the lab's way down.
    """
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise KeyboardInterrupt
        say("the lab is being taken down, please wait")

    before = {}
    for number in _signals():
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> Sequence[signal.Signals]:
    # Only the main thread may set handlers; elsewhere (a test, a notebook's worker) signals are not ours.
    if threading.current_thread() is not threading.main_thread():
        return ()
    # A closed terminal ends a run in order, too, unless it was started to outlive it (nohup).
    hangup = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()
    return (signal.SIGINT, signal.SIGTERM, *hangup)

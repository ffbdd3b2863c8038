"""Somebody has to see to it that what was just ended is not started again by a watcher that acts late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from chaos.errors import LabError

SECONDS = 4.0
"""How long to look: the kubelet looks at its containers once a second (PLEG relist)."""

_PERIOD = 0.05


def guard(end: Callable[[], object], seconds: float = SECONDS) -> threading.Thread:
    """Call ``end`` again and again for ``seconds``, beside the experiment: a fault takes no time.

    It ends what has come back, if anything has, and may fail.
    """
    thread = threading.Thread(target=_keep, args=(end, time.monotonic() + seconds), name="guard", daemon=True)
    thread.start()
    return thread


def _keep(end: Callable[[], object], deadline: float) -> None:
    while time.monotonic() < deadline:
        with suppress(LabError):
            end()
        time.sleep(_PERIOD)

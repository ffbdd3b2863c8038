"""What all tests share: tests of a lab are skipped, with the reason, where it cannot run; never under CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from chaos.host import capabilities
from chaos.host.capabilities import Capability
from chaos.kube import requirements


def pytest_configure() -> None:
    """Make signals arrive: a shell or nohup that starts the tests in the background has them ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `lab` or `kind` where the machine cannot run them, unless CI promises that it can."""
    if os.environ.get("CI") == "true":
        return
    _skip(items, "lab", "this machine cannot run a lab", capabilities.missing)
    _skip(
        items,
        "kind",
        "this machine cannot run a lab on kind",
        lambda: capabilities.missing() + requirements.missing(),
    )


def _skip(items: list[pytest.Item], marker: str, why: str, missing: Callable[[], list[Capability]]) -> None:
    marked = [item for item in items if item.get_closest_marker(marker)]
    if marked and (lacking := missing()):
        reason = f"{why}: " + "; ".join(str(item) for item in lacking)
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))

"""What all tests share: lab tests are skipped, with the reason, where no lab can run; never under CI."""

from __future__ import annotations

import os
import signal

import pytest

from chaos.host.capabilities import missing


def pytest_configure() -> None:
    """Make signals arrive: a shell or nohup that starts the tests in the background has them ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `lab` where the machine cannot run one, unless CI promises that it can."""
    lacking = missing()
    if not lacking or os.environ.get("CI") == "true":
        return
    reason = "this machine cannot run a lab: " + "; ".join(str(item) for item in lacking)
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason=reason))

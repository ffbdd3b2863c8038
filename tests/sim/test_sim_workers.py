"""Worker processes under interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sim.workers import uninterrupted, worker_pool


def blocked() -> set[int]:
    """Signals that this process does not let in."""
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    """Nothing is torn apart inside, and nothing is lost."""
    got: list[int] = []
    before = signal.signal(number, lambda number, _: got.append(number))
    try:
        with uninterrupted():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert got == []
        assert got == [number]
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    """A program started with nohup is not ended by what nohup keeps away."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_workers_do_not_hear_the_terminal() -> None:
    """A Ctrl-C reaches the whole foreground group; only the parent answers it."""
    with worker_pool(1) as pool:
        with uninterrupted():
            future = pool.submit(blocked)
        assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} <= future.result()
    assert not {signal.SIGINT, signal.SIGTERM} & blocked()


def test_a_thread_that_is_never_interrupted_may_use_it() -> None:
    """Only the main thread may set handlers; elsewhere the block does nothing."""
    errors: list[BaseException] = []

    def body() -> None:
        try:
            with uninterrupted():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert errors == []


_PROGRAM = """
import os, signal, sys, time
from sim.workers import uninterrupted, worker_pool
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with worker_pool(2) as pool:
            with uninterrupted():
                print("starting", flush=True)
                found = [pool.submit(time.sleep, 60) for _ in range(4)]
            time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.1])
def test_an_interruption_while_workers_start_leaves_no_complaint(delay: float) -> None:
    """Whenever it strikes, a worker is either whole or was never started."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert "Traceback" not in complaint

"""Worker processes that never outlive who started them, and that an interruption cannot tear apart."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh interpreters (a fork would copy threads and locks of whoever calls).

    Submit within `uninterrupted`: submitting is what starts the processes. Leaving the block by an
    exception ends them at once, as nobody would collect their results.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off signals that end the program until the block is left, and keep them from new processes.

    A process half started by an interrupted parent would find its orders cut short and complain
    about it. One that is up must not meet a Ctrl-C at the terminal either: it ends with its parent.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    arrived: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in _ENDING}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # inherited by the processes started here
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for ending in dict.fromkeys(arrived):
            signal.raise_signal(ending)


def _end_with_parent() -> None:
    """End this worker when its parent dies, even by SIGKILL: nobody would collect its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

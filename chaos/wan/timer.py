"""A timer that wakes epoll to the microsecond; its own timeout counts in milliseconds."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_PR_SET_TIMERSLACK = 29


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """A timerfd on the clock of `time.monotonic` (the os module has it from Python 3.13 only)."""

    def __init__(self) -> None:
        """Create the timer, not set. Its thread's timer slack becomes the smallest possible.

        Raises:
            OSError: the kernel refuses.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)  # default: 50 us late
        self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._spec = _Itimerspec()
        self._reference = ctypes.byref(self._spec)
        self._due: float | None = None

    def fileno(self) -> int:
        """Readable when the time has come."""
        return int(self._descriptor)

    def set(self, due: float | None) -> None:
        """Wake at ``due`` (monotonic seconds, in the past means now); None sets no timer."""
        if due == self._due:
            return
        self._due = due
        nanoseconds = 0 if due is None else max(1, int(due * 1e9))
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(nanoseconds, 1_000_000_000)
        self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, self._reference, None)

    def clear(self) -> None:
        """Take note that the timer went off."""
        self._due = None
        with suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

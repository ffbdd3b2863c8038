"""How a command ends: its exit code, and a message instead of a traceback, whatever happened."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faultline.exits import ExitCode


def run_guarded(command: Callable[[], Any]) -> int:
    """Run ``command`` and turn every way it can end into an exit code."""
    try:
        result = command()
        sys.stdout.flush()
        if result == ExitCode.INTERRUPTED:  # the command line turns a KeyboardInterrupt into its code
            say("interrupted")
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`| head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.HELD
    except Exception as error:
        return explain(error)
    finally:
        _empty_stderr()
    return int(result) if isinstance(result, int) else ExitCode.HELD


def explain(error: Exception) -> ExitCode:
    """Say ``error`` on standard error and return its exit code."""
    # By name, so that `faultline --help` need not import the rooms whose errors these are.
    names = {base.__name__ for base in type(error).__mro__}
    if "Abort" in names:
        say("interrupted")
        return ExitCode.INTERRUPTED
    if "UsageError" in names:
        say(_usage(error))
        return ExitCode.USAGE
    if "ClickException" in names:
        say(f"error: {error}")
        return ExitCode.USAGE
    if names & {"InputError", "MissingCapability", "LabBusy"}:
        say(f"error: {error}")
        return ExitCode.USAGE
    if "SteadyStateError" in names:
        say(f"inconclusive: {error}")
        return ExitCode.INCONCLUSIVE
    if "LabError" in names:
        say(f"error: {error}\n`faultline heal` puts back whatever is left of the lab")
        return ExitCode.INJECTION_FAILED
    if "LedgerError" in names:
        say(f"error: {error}")
        return ExitCode.INTERNAL
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
        say(f"error: {error.filename or 'a file'}: {error.strerror}")
        return ExitCode.INTERNAL
    if came_of_interruption(error):
        say("interrupted")
        return ExitCode.INTERRUPTED
    say(
        f"internal error: {type(error).__name__}: {_first_line(error)}\n"
        f"This is a defect of faultline; the details are in {save_traceback(error)}"
    )
    return ExitCode.INTERNAL


def came_of_interruption(error: BaseException) -> bool:
    """Whether ``error`` only came of an interruption that struck in the middle of something."""
    here: BaseException | None = error
    while here is not None and not isinstance(here, KeyboardInterrupt):
        here = here.__cause__ or here.__context__
    return here is not None


def say(text: str) -> None:
    """Write ``text`` to standard error, even if that is closed or cannot show a character."""
    try:
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _empty_stderr() -> None:
    """Drop what standard error holds for a reader that is gone: Python would end with 120 for it."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def save_traceback(error: BaseException) -> str:
    """Save the traceback of ``error``; return the file's path, or why there is none."""
    from faultline.home import Home

    text = "".join(traceback.format_exception(error))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for directory in (Home.find().root, Path(tempfile.gettempdir())):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / f"crash-{stamp}-{os.getpid()}.txt"
            words = " ".join(sys.argv)
            # Names of files need not be text: their bytes are escaped.
            path.write_text(f"command: {words}\n\n{text}", encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return str(path)
    return "no file: nothing could be written"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    told = getattr(error, "format_message", lambda: str(error))()
    if context is None:
        return f"error: {told}"
    return f"error: {told}\ntry `{context.command_path} --help`"

"""Long-running commands of a build: they die with the builder; their words are kept for when they fail."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.errors import LabError, MissingCapability

QUOTED = 12
"""Last lines of a failed command's words that the error repeats."""


def require(*commands: tuple[str, str]) -> None:
    """Refuse when a program is not installed.

    Args:
        commands: program and the command that gets it.

    Raises:
        MissingCapability: names all that are missing.
    """
    missing = [(program, remedy) for program, remedy in commands if shutil.which(program) is None]
    if missing:
        lines = "\n".join(f"  {program}: {remedy}" for program, remedy in missing)
        raise MissingCapability(
            f"building the images of the kind lab needs programs that are missing:\n{lines}"
        )


def execute(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    own_mounts: bool = False,
) -> str:
    """Run a command of any length to its end, at a niceness that leaves the machine usable.

    Args:
        argv: command and arguments.
        cwd: directory to run in.
        env: environment; the caller's when not given.
        stdin: for its standard input.
        own_mounts: in mount and process namespaces of its own: what it mounts and starts ends with it.

    Returns:
        What it wrote to its standard output.

    Raises:
        LabError: it failed; the message ends with its last words.
    """
    enclosure = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"] if own_mounts else []
    done = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", "nice", "-n", "10", *enclosure, *argv],
        cwd=cwd,
        env=None if env is None else dict(env),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        ended = (
            f"was ended by {signal.Signals(-done.returncode).name}"
            if done.returncode < 0
            else f"failed ({done.returncode})"
        )
        words = "\n".join(f"  {line}" for line in said[-QUOTED:]) or "  no message"
        raise LabError(f"`{_short(argv)}` {ended}:\n{words}")
    return done.stdout.decode(errors="replace")


def _short(argv: Sequence[str]) -> str:
    text = " ".join(argv)
    return text if len(text) <= 160 else text[:157] + "..."

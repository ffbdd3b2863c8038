"""Running the machine's own tools (`ip`, `wg`) and turning their failures into lab errors."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from chaos.errors import LabError, MissingCapability


def run(
    argv: Sequence[str],
    *,
    timeout: float = 20.0,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` to its end and return what it printed.

    Args:
        argv: command and arguments; never a shell line.
        timeout: seconds after which the command is killed.
        check: whether a non-zero exit is an error.
        stdin: text for its standard input.
        env: environment; the caller's when not given.

    Raises:
        MissingCapability: the command is not installed.
        LabError: it failed (with its own words) or ran into ``timeout``.
    """
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=None if env is None else dict(env),
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:  # an unreadable PATH entry gives the latter
        raise MissingCapability(
            f"{argv[0]} is not installed: run `faultline doctor` for the command"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:g} s") from error
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"`{' '.join(argv)}` failed ({done.returncode}): {said[-1] if said else 'no message'}")
    return done

"""Running the machine's own tools (`ip`, `wg`) and turning their failures into lab errors."""

from __future__ import annotations

import shutil
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

    The command dies with the caller: one that outlived a killed session could make a namespace after
    `heal` has looked for them.

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
    tied = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    if tied and shutil.which(argv[0], path=None if env is None else env.get("PATH")) is None:
        raise MissingCapability(f"{argv[0]} is not installed: run `faultline doctor` for the command")
    try:
        done = subprocess.run(
            [*tied, *argv],
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

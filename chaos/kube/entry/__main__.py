"""`python3 -m chaos.kube.entry <role> <settings>`: start a daemon of the lab inside its pod."""

from __future__ import annotations

import json
import sys
from pathlib import Path

USAGE = 64
CONFIG = 78
"""EX_CONFIG: what the pod was given does not fit its settings."""


def main(arguments: list[str]) -> int:
    """Run the daemon of a role; return its exit code."""
    if len(arguments) != 2 or arguments[0] not in ("database", "redis"):
        print("usage: python3 -m chaos.kube.entry database|redis SETTINGS.json", file=sys.stderr)
        return USAGE
    role, path = arguments[0], Path(arguments[1])
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return USAGE
    try:
        if role == "redis":
            from chaos.kube.entry.redis import run

            return run(settings)
        from chaos.kube.entry.database import run as run_database

        return run_database(settings)
    except (OSError, KeyError) as error:
        print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
        return CONFIG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

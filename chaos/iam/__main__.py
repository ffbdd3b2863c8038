"""`python -m chaos.iam --config config.json`: run one replica of the identity service in the foreground."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chaos.iam.config import ConfigError, load
from chaos.iam.server import Server
from chaos.iam.tokens import load_or_create_key

USAGE = 64


def main() -> int:
    """Read the configuration and serve until SIGTERM; exit 64 when it cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.iam", description="A replica of the identity service."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see docs/identity-service.md")
    parser.add_argument("--instance", help="name of this replica, where several share a configuration file")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config)
        if arguments.instance:
            config = config.model_copy(update={"instance": arguments.instance})
        load_or_create_key(config.key_file)  # now, while a mistake can still be told in one line
    except (ConfigError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return USAGE
    Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compile the engine now rather than at the first prediction: `python -m sim.engine.warm`."""

from __future__ import annotations

import sys

from sim.engine.choice import prepare

if __name__ == "__main__":
    prepare(lambda line: print(line, file=sys.stderr, flush=True))

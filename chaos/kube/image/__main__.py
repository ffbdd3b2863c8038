"""`python -m chaos.kube.image`: build what the lab on kind needs, and say what it is called."""

from __future__ import annotations

import sys
import time

from chaos.errors import LabError
from chaos.kube.image import ensure


def main() -> int:
    """Build; 3 when it cannot be done."""
    began = time.monotonic()

    def progress(line: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {line}", file=sys.stderr, flush=True)

    try:
        images = ensure(progress)
    except LabError as error:
        print(f"kind-image: {error}", file=sys.stderr)
        return 3
    progress("all there")
    print(f"node     {images.node}\nlab      {images.lab}\nkind     {images.kind}\nkubectl  {images.kubectl}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

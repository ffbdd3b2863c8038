"""Trees of Debian packages, from the mirrors that this machine's own apt uses."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from chaos.errors import LabError
from chaos.kube.image.steps import execute, require
from chaos.kube.image.versions import SUITE

RECIPE = "1"
"""Changes when the way trees are made changes."""

_UNWANTED = ("doc", "man", "info", "locale", "lintian", "bug")
_EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/lib/mysql", "var/lib/redis", "tmp")


def sources() -> str:
    """Lines for apt: every mirror this machine knows of the release, with its updates and security fixes.

    Raises:
        LabError: this machine's apt knows none.
    """
    template = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    said = execute(["apt-get", "indextargets", "--format", template, "Created-By: Packages"])
    lines = set()
    for line in said.splitlines():
        uri, codename, component = line.split()
        if codename in (SUITE, f"{SUITE}-updates", f"{SUITE}-security") and component == "main":
            lines.add(f"deb {uri} {codename} {component}")
    if not any(f" {SUITE} " in line for line in lines):
        raise LabError(
            f"apt of this machine knows no mirror of Debian {SUITE}: the images can be built without a "
            "registry on Debian 12 only; elsewhere let Docker reach one"
        )
    return "\n".join(sorted(lines)) + "\n"


def build(packages: Sequence[str], tree: Path) -> None:
    """Fill ``tree`` with a minimal Debian and ``packages``, without their manuals (about half a minute).

    No service is started: the maintainer scripts run in a tree without a service manager.

    Raises:
        MissingCapability: mmdebstrap is not installed.
        LabError: it failed.
    """
    require(("mmdebstrap", "apt-get install --no-install-recommends mmdebstrap"))
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNWANTED]
    execute(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            *options,
            "--dpkgopt=force-unsafe-io",  # a tree that is lost is made again
            SUITE,
            str(tree),
            "-",
        ],
        stdin=sources().encode(),
        own_mounts=True,
    )
    for name in _EMPTIED:
        _empty(tree / name)


def _empty(directory: Path) -> None:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

"""Programs built from Go modules: static, so that they run on any tree.

Go keeps what it compiled in its own cache, so a second build takes seconds, and a build that was
killed goes on where it was.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from chaos.kube.image import versions
from chaos.kube.image.steps import execute, require
from chaos.kube.image.store import Progress, Store, fingerprint

_FLAGS = "-trimpath -buildvcs=false"
_PLAIN = "-s -w"
"""Without symbols and debug information: a third smaller."""

GO_REMEDY = "apt-get install --no-install-recommends golang-go (1.24 or newer)"


@dataclass(frozen=True)
class Program:
    """A program of one of our Go modules.

    Attributes:
        name: of the file.
        module: directory below `go/`.
        package: in the module.
        flags: for the linker.
        hint: what a cold build takes.
    """

    name: str
    module: str
    package: str = "."
    flags: str = _PLAIN
    hint: str = "seconds"

    @property
    def key(self) -> str:
        """Fingerprint of what it is made from."""
        return fingerprint(_FLAGS, self.flags, self.package, versions.GO / self.module)


PROGRAMS = (
    Program("capfit", "capfit"),
    Program("pause", "node", "./cmd/pause"),
    Program("coredns", "dns", hint="a minute"),
    Program("kubebox", "node", "./cmd/kubebox", f"{_PLAIN} {versions.kubernetes_stamp()}", "8 to 15 minutes"),
)


def program(name: str) -> Program:
    """One of `PROGRAMS`."""
    return next(one for one in PROGRAMS if one.name == name)


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": _FLAGS, "GOTOOLCHAIN": "local"}


def _require_go() -> None:
    require(("go", GO_REMEDY))


def build(store: Store, name: str, progress: Progress) -> Path:
    """The file of a program of ours, from the store or built now.

    Raises:
        MissingCapability: Go is not installed.
        LabError: it does not build.
    """
    wanted = program(name)

    def make(work: Path) -> None:
        _require_go()
        progress(f"building {name} (without Go's cache: {wanted.hint})")
        execute(
            ["go", "build", "-ldflags", wanted.flags, "-o", str(work / name), wanted.package],
            cwd=versions.GO / wanted.module,
            env=_environment(),
        )

    return store.piece(name, wanted.key, make) / name


def kind_key() -> str:
    """Fingerprint of what kind is built from."""
    return fingerprint(versions.KIND, _FLAGS, _PLAIN)


def kind(store: Store, progress: Progress) -> Path:
    """The program `kind`, from the store or built now.

    Raises:
        MissingCapability: Go is not installed.
        LabError: it does not build.
    """

    def make(work: Path) -> None:
        _require_go()
        progress(f"building kind {versions.KIND} (without Go's cache: a minute)")
        module = f"{versions.KIND_MODULE}@v{versions.KIND}"
        execute(
            ["go", "install", "-ldflags", _PLAIN, module],
            cwd=work,
            env={**_environment(), "GOBIN": str(work)},
        )

    return store.piece("kind", kind_key(), make) / "kind"


def kind_sources() -> Path:
    """Directory of kind's module: it holds the files that all its node images have.

    Raises:
        MissingCapability: Go is not installed.
        LabError: the module cannot be had.
    """
    _require_go()
    said = execute(
        ["go", "mod", "download", "-json", f"{versions.KIND_MODULE}@v{versions.KIND}"],
        cwd=Path("/"),
        env=_environment(),
    )
    return Path(json.loads(said)["Dir"])

"""The image of the lab's pods: Debian's daemons below, locked Python packages, and our own code on top."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chaos.errors import LabError
from chaos.kube.image import engine, rootfs, versions
from chaos.kube.image.archive import ImageArchive
from chaos.kube.image.steps import execute
from chaos.kube.image.store import Progress, Store, fingerprint

REPOSITORY = "faultline.local/lab"
BASE_REPOSITORY = "faultline.local/lab-base"
ROOMS = ("topologies", "experiments", "chaos")
"""Packages of ours that pods import from; simulation and command line stay outside."""

_GENERATIONS = 6
"""Lab images to keep: they differ in our own code only, and a lab in the making may need an older one."""

_INSTALLER = versions.HERE / "install-packages.sh"
_COMPILE = ("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
_CLONE = Path(__file__).parents[3]
_LOCK = _CLONE / "requirements.lock"
_NOT_FOR_PODS = ("kube/image/",)
"""Below `chaos`: what builds images is in none, so that it can change without a new lab image."""


def locked(names: tuple[str, ...], lock: str) -> str:
    """The entries of a lock file for some packages and all that these need.

    What a package needs is read from its installed metadata, with this environment's markers.

    Raises:
        LabError: a package is not installed, or not in the lock file.
    """
    entries: dict[str, str] = {
        canonicalize_name(match[1]): match[0]
        for match in re.finditer(r"^([A-Za-z0-9._-]+)==.*(?:\n[ \t]+.*)*", lock, re.MULTILINE)
    }
    wanted: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(canonicalize_name(name), frozenset()) for name in names]
    while waiting:
        name, extras = waiting.pop()
        if name not in entries:
            raise LabError(f"requirements.lock has no {name}, which the lab image needs: run `make lock`")
        wanted.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError as error:
            raise LabError(
                f"the lab image needs the Python package {name}, which is not installed here: `make install`"
            ) from error
        for need in map(Requirement, needs):
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if need.marker is None or any(need.marker.evaluate(one) for one in environments):
                following = (canonicalize_name(need.name), frozenset(need.extras))
                if following[0] not in wanted:
                    waiting.append(following)
    return "\n".join(entries[name] for name in sorted(wanted)) + "\n"


def requirements() -> str:
    """What pip installs into the lab image, with hashes.

    Raises:
        LabError: this is not a clone, so there is no lock file.
    """
    if not _LOCK.exists():
        raise LabError(f"{_LOCK} is missing: the images of the lab on kind are built in a clone of Faultline")
    return locked(versions.names(versions.LAB_PYTHON), _LOCK.read_text())


def site(store: Store, progress: Progress) -> Path:
    """Directory of the locked Python packages, from the store or installed now.

    Raises:
        LabError: pip failed.
    """
    wanted = requirements()

    def make(work: Path) -> None:
        progress("installing the Python packages of the lab image")
        (work / "requirements.txt").write_text(wanted)
        execute(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--no-compile", "--only-binary=:all:", "--python-version", versions.PYTHON),
                *("--require-hashes", "--no-deps", "--target", str(work / "site")),
                *("-r", str(work / "requirements.txt")),
            ]
        )

    return store.piece("site", fingerprint(wanted, versions.PYTHON), make) / "site"


def code() -> Iterator[tuple[str, Path]]:
    """Our own modules and their data for the image: path in it, and file."""
    for room in ROOMS:
        for path in sorted((_CLONE / room).rglob("*")):
            inside = path.relative_to(_CLONE / room).as_posix()
            if room == "chaos" and inside.startswith(_NOT_FOR_PODS):
                continue
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                yield f"{room}/{inside}", path


def base_key() -> str:
    """Fingerprint of what our own code stands on: packages of Debian and of Python."""
    return fingerprint(
        *versions.names(versions.LAB_PACKAGES), versions.SUITE, rootfs.RECIPE, requirements(), _INSTALLER
    )


def base_name() -> str:
    """Name of the image that our own code stands on, where it is made without a registry."""
    return f"{BASE_REPOSITORY}:{base_key()}"


def base(store: Store, progress: Progress) -> Path:
    """Archive of the image that our own code stands on, from the store or made now without a registry.

    One layer holds the packages of both kinds. Needs the lock.

    Raises:
        MissingCapability: a program that building needs is not installed.
        LabError: it cannot be made.
    """

    def make(work: Path) -> None:
        packages = site(store, progress)
        progress("installing the Debian packages of the lab image (half a minute)")
        tree = work / "tree"
        rootfs.build(versions.names(versions.LAB_PACKAGES), tree)
        build = tree / "opt/faultline/build"
        build.mkdir(parents=True)
        for path in (versions.LAB_PACKAGES, _INSTALLER):
            shutil.copy2(path, build)
        execute(["chroot", str(tree), "sh", f"/opt/faultline/build/{_INSTALLER.name}"])
        shutil.copytree(packages, tree / "opt/faultline/site")
        execute(["chroot", str(tree), *_COMPILE, "/opt/faultline/site"])
        packed = work / "image"
        packed.mkdir()
        archive = ImageArchive(packed)
        archive.image([base_name()], [archive.layer(tree)], Cmd=["/bin/sh"])
        execute(["rm", "-rf", "--one-file-system", str(tree)])

    return store.piece("lab-base", base_key(), make) / "image"


def key() -> str:
    """Fingerprint of everything the lab image is made from."""
    sources = [part for name, path in code() for part in (name, path)]
    return fingerprint(
        base_key(),
        versions.DOCKERFILE,
        *sources,
    )


def name() -> str:
    """Name of the current lab image, whether or not it is there."""
    return f"{REPOSITORY}:{key()}"


def ensure(store: Store, progress: Progress, *, published: bool) -> str:
    """Name of the lab image, which the engine has when this returns. Needs the lock.

    Args:
        store: keeps the pieces.
        progress: gets a line for each step.
        published: start from the published Debian image rather than from packages.

    Raises:
        LabError: it cannot be built.
    """
    wanted = name()
    if engine.has(wanted):
        return wanted
    if published:
        progress(f"building {wanted} (without the engine's cache: two minutes)")
        _build(wanted, site(store, progress), [])
    else:
        if not engine.has(base_name()):
            archive = base(store, progress)
            progress(f"loading {base_name()} into the Docker engine")
            engine.load(archive)
            engine.forget_old(BASE_REPOSITORY, keep=base_name())
        progress(f"building {wanted}")
        _build(wanted, None, ["--build-arg", f"BASE={base_name()}"])
    engine.forget_old(REPOSITORY, keep=wanted, generations=_GENERATIONS)
    return wanted


def _build(tag: str, packages: Path | None, arguments: list[str]) -> None:
    command = ["docker", "build", "--quiet", "--tag", tag, *arguments, "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as build:
        assert build.stdin is not None
        assert build.stdout is not None
        with suppress(BrokenPipeError):  # it ended early: its words say why
            _pack(build.stdin, packages)
        with suppress(BrokenPipeError):
            build.stdin.close()
        said = build.stdout.read().decode(errors="replace")
    if build.returncode != 0:
        raise LabError(f"cannot build {tag}:\n{said.strip()[-1500:]}")


def _pack(stream: IO[bytes], packages: Path | None) -> None:
    """Write the build context; without times, so that unchanged parts are recognised."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as context:
        for path in (versions.DOCKERFILE, versions.LAB_PACKAGES, _INSTALLER):
            _add(context, path.name, path)
        _add_directory(context, "site")  # stays empty where the base has the packages
        for path in sorted(packages.rglob("*")) if packages else []:
            if "__pycache__" not in path.parts and path.is_file():
                _add(context, f"site/{path.relative_to(packages or path).as_posix()}", path)
        for inside, path in code():
            _add(context, f"code/{inside}", path)


def _add_directory(context: tarfile.TarFile, inside: str) -> None:
    entry = tarfile.TarInfo(inside)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    context.addfile(entry)


def _add(context: tarfile.TarFile, inside: str, path: Path) -> None:
    entry = context.gettarinfo(str(path), arcname=inside)
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    with path.open("rb") as file:
        context.addfile(entry, file)

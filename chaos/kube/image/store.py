"""Where what was built is kept: each piece under a name that says what it was made from.

A piece appears in its place as a whole, or not at all, so a build that was killed goes on where it
stopped: the pieces that were finished are found, the unfinished one is thrown away. One builder works
at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.host.commands import run
from chaos.lab.layout import cache_directory

Progress = Callable[[str], None]

KEPT = 2
"""Generations of each piece to keep: the current one and one to go back to."""


def fingerprint(*parts: str | Path) -> str:
    """Twelve hexadecimal digits that stand for texts and for the contents of files and directories.

    Names, contents and the right to execute count; times and owners do not. What Python or a test
    run leaves in a directory (`__pycache__`, `*_test.go`) does not count either.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _feed(digest, "text", part.encode())
        elif part.is_dir():
            for path in sorted(part.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith("_test.go"):
                    mode = "program" if os.access(path, os.X_OK) else "file"
                    _feed(digest, f"{mode} {path.relative_to(part)}", path.read_bytes())
        else:
            _feed(digest, "file", part.read_bytes())
    return digest.hexdigest()[:12]


def _feed(digest: hashlib._Hash, name: str, content: bytes) -> None:
    digest.update(f"{name} {len(content)}\n".encode())
    digest.update(content)


def remove_tree(path: Path) -> None:
    """Remove a directory, but nothing that is mounted in it (a killed bootstrap may leave /dev there)."""
    if path.exists():
        run(["rm", "-rf", "--one-file-system", "--preserve-root=all", str(path)], timeout=600)


@dataclass(frozen=True)
class Store:
    """A directory of finished pieces.

    Attributes:
        directory: may not exist yet.
    """

    directory: Path

    @classmethod
    def default(cls) -> Store:
        """The one in the cache of this machine."""
        return cls(cache_directory() / "kind")

    def place(self, name: str, key: str) -> Path:
        """Where piece ``name`` made from ``key`` is, or will be."""
        return self.directory / f"{name}-{key}"

    def piece(self, name: str, key: str, make: Callable[[Path], None]) -> Path:
        """The directory that ``make`` fills, from the store or made now. Needs the lock.

        Args:
            name: of the piece.
            key: fingerprint of everything it is made from.
            make: gets an empty directory beside the final place.
        """
        final = self.place(name, key)
        if not final.exists():
            work = Path(tempfile.mkdtemp(prefix="making-", dir=self.directory))
            work.chmod(0o755)
            try:
                make(work)
            except BaseException:
                remove_tree(work)
                raise
            work.rename(final)
        os.utime(final)
        self._forget_old(name, final)
        return final

    def _forget_old(self, name: str, current: Path) -> None:
        others = [
            path
            for path in self.directory.glob(f"{name}-*")
            if path != current and len(path.name) == len(current.name)
        ]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT - 1 :]:
            remove_tree(path)

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Be the only builder; says so when another one has to end first.

        The lock goes with the process that holds it, however that ends, so what is unfinished
        when it is taken belongs to nobody.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                progress(f"another build (pid {file.read().strip() or 'unknown'}) is running: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            for path in self.directory.glob("making-*"):
                remove_tree(path)
            yield

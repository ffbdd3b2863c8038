"""Image archives without a builder: trees become layers as `docker load` and containerd read them."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.errors import LabError

RECIPE = "1"
"""Changes when the way layers are made changes."""

_READ = 1 << 20


@dataclass
class ImageArchive:
    """A directory that is an image archive once it is packed.

    Attributes:
        directory: exists, and is empty at first.
    """

    directory: Path
    _images: list[dict[str, Any]] = field(default_factory=list)

    def layer(self, tree: Path) -> str:
        """Add a layer with the contents of ``tree``; gives its name.

        The same tree gives the same layer: files in order of their names, without times.
        """
        unnamed = self.directory / "layer"
        command = [
            *("tar", "--numeric-owner", "--sort=name", "--mtime=@0"),
            *("--xattrs", "--xattrs-include=security.capability"),
            *("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "-C", str(tree)),
        ]
        digest = hashlib.sha256()
        with (
            unnamed.open("wb") as file,
            subprocess.Popen(
                [*command, "-cf", "-", "."], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as tar,
        ):
            assert tar.stdout is not None
            assert tar.stderr is not None
            while block := tar.stdout.read(_READ):
                digest.update(block)
                file.write(block)
            said = tar.stderr.read().decode(errors="replace").strip()
        if tar.returncode != 0:
            raise LabError(f"cannot pack {tree}: {said}")
        unnamed.rename(self.directory / f"{digest.hexdigest()}.tar")
        return digest.hexdigest()

    def image(self, tags: Sequence[str], layers: Sequence[str], **settings: Any) -> None:
        """Add an image.

        Args:
            tags: its names.
            layers: names of layers, the lowest first.
            settings: of the image specification's `config` (Env, Entrypoint, StopSignal ...).
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        config = json.dumps(
            {
                "architecture": _architecture(),
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{name}" for name in layers]},
                "history": [{"created": now} for _ in layers],
                "created": now,  # engines list the newest first
            }
        ).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        (self.directory / name).write_bytes(config)
        self._images.append(
            {"Config": name, "RepoTags": list(tags), "Layers": [f"{layer}.tar" for layer in layers]}
        )
        (self.directory / "manifest.json").write_text(json.dumps(self._images))


PATIENCE = 600.0
"""Seconds for an engine or a node to take an archive."""


def feed(directory: Path, argv: Sequence[str]) -> None:
    """Pack an archive's directory into the standard input of a command.

    Raises:
        LabError: the command failed, with its words.
    """
    names = sorted(path.name for path in directory.iterdir())
    pipe(["tar", "-C", str(directory), "-cf", "-", *names], argv)


def pipe(source: Sequence[str], target: Sequence[str]) -> None:
    """Run `source | target` to the end.

    Raises:
        LabError: the target failed, with its words, or took too long.
    """
    with subprocess.Popen(list(source), stdout=subprocess.PIPE) as writer:
        try:
            done = subprocess.run(
                list(target),
                stdin=writer.stdout,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"`{' '.join(target)}` did not end within {PATIENCE:g} s") from error
        finally:
            assert writer.stdout is not None
            writer.stdout.close()  # the writer ends when nobody reads any more
    if done.returncode != 0:
        raise LabError(f"`{' '.join(target)}` failed: {(done.stderr or done.stdout).strip()[-800:]}")


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

"""What the builder asks of the Docker engine."""

from __future__ import annotations

from pathlib import Path

from chaos.errors import LabError, MissingCapability
from chaos.host.commands import run
from chaos.kube.image.archive import feed
from chaos.kube.image.store import KEPT

START = "`systemctl start docker`"
INSTALL = "`apt-get install --no-install-recommends docker.io`"


def version() -> str | None:
    """Version of the engine that answers; None when none does."""
    try:
        said = run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=30)
    except MissingCapability:
        return None
    return said.stdout.strip() or None if said.returncode == 0 else None


def require() -> None:
    """Refuse when no engine answers.

    Raises:
        MissingCapability: with the commands that get one.
    """
    if version() is None:
        raise MissingCapability(
            f"no Docker engine answers: start it with {START}, or install it first: {INSTALL}; "
            "DOCKER_HOST names one elsewhere"
        )


def has(image: str) -> bool:
    """Whether the engine has an image of this name."""
    return (
        run(["docker", "image", "inspect", "--format", "ok", image], check=False, timeout=60).returncode == 0
    )


def load(archive: Path) -> None:
    """Give the images of an archive's directory to the engine.

    Raises:
        LabError: it does not take them.
    """
    feed(archive, ["docker", "load", "--quiet"])


def pull(image: str, *, patience: float) -> bool:
    """Get a published image; False when no registry can be reached.

    Args:
        image: its name.
        patience: seconds for the registry's first answer; the image itself may take longer.
    """
    try:
        asked = run(["docker", "manifest", "inspect", image], check=False, timeout=patience)
    except LabError:
        return False
    if asked.returncode != 0:
        return False
    return run(["docker", "pull", "--quiet", image], check=False, timeout=1800).returncode == 0


def forget_old(repository: str, keep: str, generations: int = KEPT) -> None:
    """Remove all but the newest images of a repository; those that containers use stay.

    Args:
        repository: name without the tag.
        keep: the current image.
        generations: how many stay, the current one among them.
    """
    said = run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository], check=False)
    others = [name for name in said.stdout.split() if name != keep]  # the newest come first
    for name in others[generations - 1 :]:
        run(["docker", "image", "rm", name], check=False, timeout=120)

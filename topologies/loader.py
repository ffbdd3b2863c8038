"""Topologies from files: the library's by name, the user's by path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from topologies.document import Document, read
from topologies.errors import InputError, Misfit, nearest
from topologies.model import Topology
from topologies.overlay import KEY, merge_overlay, without_overlay

ROOM = Path(__file__).parent
SizeName = Literal["production", "lab"]
"""`production` is the topology as written; `lab` has its `lab:` overlay merged in."""


def library() -> dict[str, Path]:
    """The topologies that come with the product: name -> file, in name order."""
    return {path.stem: path for path in sorted(ROOM.glob("*.yaml"))}


def locate(reference: str | Path, *, relative_to: Path | None = None) -> Path:
    """Find the file of ``reference``.

    Args:
        reference: a path, or the bare name of a library topology.
        relative_to: directory that a relative path is tried in first (that of the referring file).

    Raises:
        InputError: there is no such file or name; the nearest one is named.
    """
    text = str(reference)
    if not text.strip():
        raise InputError("no topology is named", expected="a path or a library name", hint=_known())
    path = Path(text)
    tried = [path] if relative_to is None or path.is_absolute() else [relative_to / path, path]
    looks_like_path = path.suffix in {".yaml", ".yml", ".json"} or len(path.parts) > 1
    for candidate in tried:
        if is_there(candidate, anything=looks_like_path):
            return candidate
    names = library()
    if text in names:
        return _short(names[text])
    if looks_like_path:
        if path.stem in names:
            hint = f"the library has {path.stem!r}: write the name without `{path.suffix or path.parent}`"
        else:
            near = nearest(path.stem, names)
            hint = f"did you mean the library's {near!r}?" if near else _known()
        raise InputError("there is no such topology file", file=text, hint=hint)
    near = nearest(text, names)
    hint = f"did you mean {near!r}? " if near else ""
    raise InputError(
        f"there is no topology {text!r}", expected="a path or a library name", hint=f"{hint}{_known()}"
    )


def is_there(path: Path, *, anything: bool) -> bool:
    """Whether ``path`` is a file or, when ``anything`` will do, whatever can stand there.

    Raises:
        InputError: the system will not say: the name is too long, or a directory on the way is closed.
    """
    try:
        return path.is_file() or (anything and path.exists())
    except OSError as error:
        name = str(path) if len(str(path)) <= 80 else f"{str(path)[:80]}..."
        raise InputError(f"cannot be looked up: {error.strerror}", file=name) from None


def load(
    reference: str | Path,
    *,
    size: SizeName = "production",
    overrides: Sequence[str] = (),
    relative_to: Path | None = None,
) -> Topology:
    """Read a topology.

    Args:
        reference: a path, or the bare name of a library topology.
        size: `lab` merges the file's `lab:` overlay over the rest.
        overrides: `path=value` texts, applied last.
        relative_to: directory that a relative path is tried in first.

    Returns:
        The topology. In lab size its own `lab` is empty: it has been used.

    Raises:
        InputError: everything that is wrong, with file, line and what to write instead. An overlay
            is checked in both sizes, so that a file that loads has no trap left in it.
    """
    document = read(locate(reference, relative_to=relative_to))
    return from_document(document, size=size, overrides=overrides)


def from_document(
    document: Document, *, size: SizeName = "production", overrides: Sequence[str] = ()
) -> Topology:
    """Build the topology that ``document`` describes; arguments and errors as for `load`."""
    for text in overrides:
        if re.match(rf"\s*{KEY}\s*[.\[=]", text):
            raise InputError(
                "the overlay is merged before values are set, so this would change nothing",
                file=f"--set {text}",
                hint="write the path as above the overlay, as in sites.ral.cpu=1",
            )
    overlay: Any = document.data.get(KEY)
    if overlay is not None and not isinstance(overlay, dict):
        raise document.error(Misfit((KEY,), "the overlay is not a mapping", "keys and values as above it"))
    slips = list(_slips(document.data, overlay or {}))
    if slips:
        raise document.error(*slips)
    production = without_overlay(document)
    if size == "lab":
        return merge_overlay(document).with_overrides(overrides).validate(Topology)
    topology = production.with_overrides(overrides).validate(Topology)
    if overlay:
        merge_overlay(document).validate(Topology)
        topology = topology.model_copy(update={KEY: overlay})
    return topology


def _slips(data: Mapping[str, Any], overlay: Mapping[str, Any]) -> Iterator[Misfit]:
    """Names in the overlay that nothing above has, but something above is nearly called."""
    for part in ("sites", "services", "clients"):
        above, below = data.get(part), overlay.get(part)
        if isinstance(above, dict) and isinstance(below, dict):
            for name in below:
                near = nearest(name, [other for other in above if other not in below])
                if name not in above and near is not None:
                    message = f"there is no {name!r} above to change"
                    yield Misfit((KEY, part, name), message, hint=f"did you mean {near!r}?", on_key=True)


def _short(path: Path) -> Path:
    """Name ``path`` from the working directory when it lies below it."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def _known() -> str:
    return f"the library has {', '.join(library())}"

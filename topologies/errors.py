"""The one error for what a user wrote: where it stands, what was expected, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where a value stands inside a document: mapping keys and list indices from the root."""


def dotted(path: Sequence[str | int]) -> str:
    """Write ``path`` as people do.

    >>> dotted(("links", 0, "between"))
    'links[0].between'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was most likely meant to be; None when nothing is close."""
    known = list(known)
    by_lower = {name.lower(): name for name in known}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    longer = [name for name in known if len(word) >= 3 and name.startswith(word)]
    if len(longer) == 1:
        return longer[0]
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(word: str, known: Iterable[str], *, what: str = "known") -> str:
    """What to write instead of ``word``: the nearest known word, else all of them."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"{what}: {', '.join(known)}" if known else ""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what a user wrote.

    Attributes:
        message: what is wrong.
        file: the file as the user named it, or the command-line option it came from.
        line: 1-based, when known.
        column: 1-based, when known.
        path: dotted path inside the document.
        expected: what would have been right.
        hint: what to write instead.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    path: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """One line: ``file:line: path: message; expected ...; hint``."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or ""
        text = ": ".join(part for part in (place, self.path, self.message) if part)
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text}; {self.hint}" if self.hint else text


class InputError(Exception):
    """What a user wrote cannot be used. The only such error of the whole product.

    It carries one or more problems, all of which `str()` prints, one per line. The attributes
    `file`, `line`, `column`, `path`, `expected` and `hint` are those of the first.
    """

    exit_code = 64

    def __init__(
        self,
        message: str = "",
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        path: str | Sequence[str | int] = "",
        expected: str = "",
        hint: str = "",
        problems: Sequence[Problem] = (),
    ) -> None:
        """Report one problem by its parts, or several as ``problems``."""
        if not problems:
            path = path if isinstance(path, str) else dotted(path)
            problems = [Problem(message, file, line, column, path, expected, hint)]
        self.problems = tuple(problems)
        first = self.problems[0]
        self.message, self.path = first.message, first.path
        self.file, self.line, self.column = first.file, first.line, first.column
        self.expected, self.hint = first.expected, first.hint
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Misfit:
    """One part of a document that does not fit the rest of it.

    Attributes:
        path: the keys and indices that lead to it.
        on_key: the key itself is wrong (an unknown site used as a key), not its value.
    """

    path: Path
    message: str
    expected: str = ""
    hint: str = ""
    on_key: bool = False


class MisfitError(ValueError):
    """Parts of a document that are right alone and wrong together.

    A `ValueError`, so that a pydantic validator may raise it; `topologies.validation` turns it into
    an `InputError` with the line of each part.
    """

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        """Carry all ``misfits``; the message lists them by path."""
        self.misfits = tuple(misfits)
        super().__init__(
            "\n".join(
                str(Problem(m.message, None, None, None, dotted(m.path), m.expected, m.hint))
                for m in self.misfits
            )
        )

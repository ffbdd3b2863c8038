"""Published measurements: encoded, sourced, predicted, and the page of errors is current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import published
from benchmarks.published import Baseline, Nothing, Result, Simulated, corpora
from topologies.errors import InputError


@pytest.fixture(scope="module")
def found() -> list[Result]:
    """Every row, the quick ones predicted."""
    return list(published.results())


def cells(page: str) -> dict[tuple[str, str], list[str]]:
    """Rows of the page's tables by title of their publication and what they are about."""
    title, rows = "", {}
    for line in page.splitlines():
        if line.startswith("### "):
            title = line[4:]
        elif line.startswith("| ") and not line.startswith("| what "):
            parts = [part.strip() for part in line.strip("|").split(" | ")]
            rows[title, parts[0]] = parts[1:]
    return rows


def number(text: str) -> float:
    """The first number of a cell."""
    match = re.search(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)
    assert match is not None, text
    return float(match[0])


def test_every_file_says_what_was_done_and_where_it_stands() -> None:
    """Set-up and source of each publication, ids that occur once, a figure wherever one was published."""
    names = [corpus.corpus for corpus in corpora()]
    assert len(names) == len(set(names)) >= 8
    for corpus in corpora():
        assert len(corpus.source) > 10
        assert len(corpus.set_up) > 10


def test_what_is_not_predicted_says_why() -> None:
    """A row is predicted, is the baseline of others, or gives its reason."""
    kinds = {type(row.predict) for corpus in corpora() for row in corpus.rows}
    assert Nothing in kinds and Simulated in kinds
    for corpus in corpora():
        for row in corpus.rows:
            if isinstance(row.predict, Nothing | Baseline):
                assert len(row.predict.why) > 10, (corpus.corpus, row.id)


def test_the_page_is_current(found: list[Result]) -> None:
    """docs/validation.md has every row with today's prediction.

    Closed forms as they are, means of few simulated runs within 10 % or their interval.
    """
    page = published.PAGE.read_text()
    rows = cells(page[page.index("<!-- published: begin -->") : page.index("<!-- published: end -->")])
    fresh = cells(published.page(found))
    assert set(rows) == set(fresh), "write it again: make validate-corpus"
    for result in found:
        key = (result.corpus.title, result.row.what)
        if not isinstance(result.row.predict, Simulated):
            assert rows[key] == fresh[key], "write it again: make validate-corpus"
        elif result.predicted is not None:
            room = 0.1 * result.predicted
            if result.interval is not None:
                room = max(room, (result.interval[1] - result.interval[0]) / 2)
            assert abs(number(rows[key][1]) - result.predicted) <= room, key


def test_orderings_and_failures_are_predicted(found: list[Result]) -> None:
    """Rows whose set-up is fully known: commit latencies within 8 %, failures within 25 %."""
    by_id = {f"{result.corpus.corpus}/{result.row.id}": result for result in found}
    for name in ("percona-2012/semi-sync", "percona-2012/pxc-two-sites", "rig/order-2", "rig/order-5"):
        error = by_id[name].error
        assert error is not None and abs(error) < 0.08, name
    for name in ("rig/kill-3", "rig/kill-2", "rig/haproxy-refused", "rig/sentinel-lan"):
        error = by_id[name].error
        assert error is not None and abs(error) < 0.25, name


def test_gray_has_his_slope(found: list[Result]) -> None:
    """Ten-fold nodes and traffic, thousand-fold deadlocks."""
    result = next(result for result in found if result.corpus.corpus == "gray-1996")
    assert result.predicted == pytest.approx(1000)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("formula: gray_growth", "formula: gray_grow", "did you mean 'gray_growth'"),
        ("value: 1000", "valu: 1000", "unknown key 'valu'"),
        ("value: 1000, ", "", "nothing to compare with"),
        ("by: closed-form", "by: magic", "magic"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A wrong row is refused with file and line."""
    text = (published.ROOM / "gray-1996.yaml").read_text()
    assert old in text
    path = tmp_path / "gray.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        published.load(path)
    assert words in str(caught.value)
    assert caught.value.line


def test_signed_error_and_range() -> None:
    """The error is predicted against published; a range is met or not."""
    corpus = next(corpus for corpus in corpora() if corpus.corpus == "rig")
    row = next(row for row in corpus.rows if row.id == "haproxy-refused")
    assert row.value is not None
    high = Result(corpus, row, 2 * row.value)
    assert high.error == pytest.approx(1.0)
    assert high.inside is False
    assert Result(corpus, row, 5.0).inside is True
    assert Result(corpus, row, None).error is None

"""YAML read with positions, and everything that can be wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from topologies.document import MAX_BYTES, Document, Position, parse, parse_value, read
from topologies.errors import InputError, Misfit, Problem, dotted, nearest, suggestion
from topologies.overrides import apply_overrides

FILE = "some/file.yaml"
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")


def error_of(text: str) -> InputError:
    """The error that reading ``text`` gives."""
    with pytest.raises(InputError) as caught:
        parse(text, FILE)
    return caught.value


class TestValues:
    """Plain data by the rules of YAML 1.2."""

    def test_scalars_mean_what_they_look_like(self) -> None:
        """Words such as `no`, times of day and dates stay text; quoted numbers too."""
        text = "a: 1\nb: 1.5\nc: 1e3\nd: true\ne: null\nf: no\ng: on\n"
        text += "h: 12:30\ni: 2024-01-01\nj: '1'\nk: 0o7\nl:\n"
        assert parse(text, FILE).data == {
            "a": 1,
            "b": 1.5,
            "c": 1000.0,
            "d": True,
            "e": None,
            "f": "no",
            "g": "on",
            "h": "12:30",
            "i": "2024-01-01",
            "j": "1",
            "k": "0o7",
            "l": None,
        }

    def test_keys_are_text(self) -> None:
        """A site may be called `no`, and a number as a key is its digits."""
        assert parse("no: 1\n12: 2\ntrue: 3\n", FILE).data == {"no": 1, "12": 2, "true": 3}

    def test_aliases_repeat_a_value(self) -> None:
        """An alias is the same value at a second place."""
        assert parse("a: &x {b: [1, 2]}\nc: *x\n", FILE).data == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}

    def test_a_byte_order_mark_is_no_part_of_the_first_key(self, tmp_path: Path) -> None:
        """Files saved by some editors start with one."""
        file = tmp_path / "a.yaml"
        file.write_bytes(b"\xef\xbb\xbfa: 1\n")
        assert read(file).data == {"a": 1}

    def test_positions_are_those_of_the_keys(self) -> None:
        """Each path leads to the line and column of its key, or of its list item."""
        document = parse("# note\na:\n  b: [1,\n      2]\n", FILE)
        assert document.positions["a",] == Position(2, 1)
        assert document.positions["a", "b"] == Position(3, 3)
        assert document.positions["a", "b", 1] == Position(4, 7)
        assert document.values["a", "b"] == Position(3, 6)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(letters, max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(letters, max_size=5), inner, max_size=3)
            ),
            max_leaves=12,
        )
    )
    def test_json_reads_as_itself(self, value: object) -> None:
        """JSON is YAML: any JSON text gives the value it stands for."""
        assert parse_value(json.dumps(value), FILE) == value

    @settings(max_examples=300)
    @given(st.text(alphabet=st.sampled_from("ab:-[]{},&*!|>'\"#% \n\t1.~?@<"), max_size=40))
    def test_no_text_gives_anything_but_data_or_an_input_error(self, text: str) -> None:
        """Whatever is in the file, the reader ends with a mapping or with a message that names the file."""
        try:
            assert isinstance(parse(text, FILE).data, dict)
        except InputError as error:
            assert error.exit_code == 64
            assert str(error).startswith(FILE)


class TestBroken:
    """Files that are not what they should be: file, line and a way out."""

    @pytest.mark.parametrize(
        ("text", "line", "message", "way_out"),
        [
            ("", 1, "the file is empty", "key: value"),
            ("# only a comment\n", 1, "the file is empty", "key: value"),
            ("- a\n- b\n", 1, "holds a list", "key: value"),
            ("just text\n", 1, "holds a single value", "key: value"),
            ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is written twice", "already set on line 1"),
            ("a: {b: 1, c: 2,\n    b: 3}\n", 2, "the key 'b' is written twice", "already set on line 1"),
            ("a: [1, 2\nb: 3\n", 2, "broken YAML", "brackets"),
            ("a: 'text\nb: 3\n", 3, "broken YAML", "quotes"),
            ("a:\n\tb: 1\n", 2, "broken YAML", "spaces, never with tabs"),
            ("a: b: c\n", 1, "broken YAML", "quote a value that contains `: `"),
            ("a: *nowhere\n", 1, "undefined alias", "quote the text"),
            ("a: 1\n---\nb: 2\n", 2, "a second document", "one document per file"),
            ("a: !!python/object:os.system x\n", 1, "tag", "plain value"),
            ("a: !mine x\n", 1, "tag", "plain value"),
            ("a: {<<: {b: 1}}\n", 1, "merge keys", "repeat the keys"),
            ("? [a, b]\n: 1\n", 1, "used as a key", "text as the key"),
            ("a: 1\nb: \x07\n", 2, "is not allowed in YAML", ""),
            ("a: &x [*x]\n", 1, "nested too deeply", "levels"),
            ("a: " + "[" * 60 + "]" * 60 + "\n", 1, "nested too deeply", "levels"),
            ("a: " + "[" * 5000, None, "nested too deeply", "levels"),
        ],
    )
    def test_says_where_and_what_instead(
        self, text: str, line: int | None, message: str, way_out: str
    ) -> None:
        """Each mistake is reported at its line with what to do about it."""
        error = error_of(text)
        assert (error.file, error.line) == (FILE, line)
        assert message in str(error)
        assert way_out in f"{error.expected} {error.hint}"

    def test_aliases_cannot_explode(self) -> None:
        """A file of a few lines that stands for a billion values is refused at once."""
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        error = error_of("\n".join(lines))
        assert "too many values" in str(error)
        assert "aliases expanded" in error.expected

    def test_missing_files_name_their_neighbour(self, tmp_path: Path) -> None:
        """A misspelt path names the file that was most likely meant."""
        (tmp_path / "site-cut.yaml").write_text("a: 1\n")
        with pytest.raises(InputError, match=r"there is no such file; did you mean '.*site-cut\.yaml'"):
            read(tmp_path / "site-cat.yaml")
        with pytest.raises(InputError, match="there is no directory"):
            read(tmp_path / "none" / "a.yaml")

    def test_what_is_no_text_file_is_refused(self, tmp_path: Path) -> None:
        """Directories, other encodings, huge files and impossible names are user errors."""
        (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
        (tmp_path / "huge.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
        for name, message in (
            ("", "this is a directory"),
            ("latin.yaml", r"latin\.yaml:2: this is not UTF-8 text; save it as UTF-8"),
            ("huge.yaml", f"expected at most {MAX_BYTES} bytes"),
            ("nul\0l.yaml", "cannot be read"),
            ("../../../../../../dev/zero", f"expected at most {MAX_BYTES} bytes"),
            ("x" * 300 + ".yaml", "cannot be read"),
        ):
            with pytest.raises(InputError, match=message):
                read(os.fspath(tmp_path) + "/" + name)


class Inner(BaseModel):
    """A model inside another."""

    model_config = ConfigDict(extra="forbid")
    count: int = Field(1, ge=1, le=9)
    switch: bool = False
    ratio: float = 0.0
    words: list[str] = Field(default_factory=list)


class Outer(BaseModel):
    """What a document is checked against."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    inner: Inner = Inner()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    pair: tuple[int, int] = (0, 0)
    dashed: int = Field(0, alias="steady-state")
    either: int | Inner | None = None
    text: str = ""


class TestValidation:
    """A model's complaints in plain language."""

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("inner:\n  coumt: 1\n", 2, "inner.coumt: unknown key 'coumt'; did you mean 'count'?"),
            ("by_name:\n  a:\n    zz: 1\n", 3, "unknown key 'zz'; known: count, switch, ratio, words"),
            ("stedy-state: 1\n", 1, "unknown key 'stedy-state'; did you mean 'steady-state'?"),
            ("inner:\n  count: many\n", 2, "the value is 'many'; expected a whole number"),
            ("inner:\n  count: 1.5\n", 2, "the value is 1.5; expected a whole number"),
            ("inner:\n  count: 0\n", 2, "the value is 0; expected at least 1"),
            ("inner:\n  count: 10\n", 2, "the value is 10; expected at most 9"),
            ("inner:\n  switch: perhaps\n", 2, "the value is 'perhaps'; expected true or false"),
            ("inner:\n  ratio: x\n", 2, "the value is 'x'; expected a number"),
            ("inner:\n  words: a\n", 2, "the value is 'a'; expected a list as in [a, b]"),
            ("inner:\n  words:\n    - a\n    - 5\n", 4, "inner.words[1]: the value is 5; expected text"),
            ("inner:\n", 1, "there is no value; expected keys and values ({} for defaults only)"),
            ("inner: [1]\n", 1, "this is a list of 1; expected keys and values"),
            ("pair: [1, 2, 3]\n", 1, "this is a list of 3; expected at most 2 entries"),
            ("pair: [1]\n", 1, "pair"),
            ("text: {a: 1}\n", 1, "this has keys; expected text"),
        ],
    )
    def test_says_what_was_expected(self, text: str, line: int, said: str) -> None:
        """Each complaint has its line, its path and what would have been right."""
        with pytest.raises(InputError) as caught:
            parse(text, FILE).validate(Outer)
        assert caught.value.line == line
        assert said in str(caught.value)

    def test_all_problems_are_reported_in_file_order(self) -> None:
        """One reading shows everything that is wrong."""
        with pytest.raises(InputError) as caught:
            parse("text: [1]\ninner: {count: 0}\npairs: 1\n", FILE).validate(Outer)
        error = caught.value
        assert [problem.line for problem in error.problems] == [1, 2, 3]
        assert str(error).count("\n") == 2

    def test_a_fitting_document_becomes_the_model(self) -> None:
        """Aliases of fields work, and nothing is complained about."""
        document = parse("inner: {count: 3}\nsteady-state: 2\n", FILE)
        assert document.validate(Outer) == Outer(inner=Inner(count=3), **{"steady-state": 2})


class TestErrors:
    """The error itself."""

    def test_reads_as_a_compiler_message(self) -> None:
        """File, line, path, what is wrong, what to write instead; the parts are attributes too."""
        error = InputError(
            "unknown site 'rall'",
            file="topologies/x.yaml",
            line=12,
            path=("links", 0, "between"),
            hint="did you mean 'ral'?",
        )
        assert (
            str(error) == "topologies/x.yaml:12: links[0].between: unknown site 'rall'; did you mean 'ral'?"
        )
        assert (error.exit_code, error.line, error.path) == (64, 12, "links[0].between")

    def test_several_problems_make_one_error(self) -> None:
        """Every problem has its line in the text; the attributes are those of the first."""
        error = InputError(problems=[Problem("one", "a", 1), Problem("two", "b", 2, expected="three")])
        assert str(error) == "a:1: one\nb:2: two; expected three"
        assert error.file == "a"

    @pytest.mark.parametrize(
        ("word", "known", "near"),
        [
            ("rall", ["ral", "cam"], "ral"),
            ("RAL", ["ral", "cam"], "ral"),
            ("iris-3site", ["iris-1site", "iris-3site-galera"], "iris-3site-galera"),
            ("zzz", ["ral", "cam"], None),
            ("a", [], None),
        ],
    )
    def test_the_nearest_word_is_found(self, word: str, known: list[str], near: str | None) -> None:
        """Slips of letters, case and cut-off names are recognised, anything else is not guessed."""
        assert nearest(word, known) == near
        assert suggestion(word, known) == (
            f"did you mean {near!r}?" if near else f"known: {', '.join(known)}" if known else ""
        )

    def test_paths_are_dotted(self) -> None:
        """Keys are joined by dots, indices stand in brackets."""
        assert dotted(("a", 0, "b", 1, 2)) == "a[0].b[1][2]"
        assert dotted(()) == ""

    def test_a_path_that_was_not_written_points_at_its_parent(self) -> None:
        """A missing key is reported where its mapping stands."""
        document = parse("a:\n  b: 1\n", FILE)
        assert document.problem(Misfit(("a", "c"), "missing")).line == 2 - 1


class TestOverrides:
    """`--set path=value`."""

    DATA: ClassVar[dict[str, Any]] = {"a": {"b": 1, "list": [{"x": 1}, {"x": 2}]}, "none": None}

    @pytest.mark.parametrize(
        ("text", "path", "value"),
        [
            ("a.b=2", ("a", "b"), 2),
            ("a.b=200ms", ("a", "b"), "200ms"),
            ("a.list[1].x=true", ("a", "list", 1, "x"), True),
            ("a.new={k: [1, 2]}", ("a", "new"), {"k": [1, 2]}),
            ("deep.er.still=1", ("deep", "er", "still"), 1),
            ("none.k=1", ("none", "k"), 1),
            ("a.b='x=y'", ("a", "b"), "x=y"),
            ("a.b=x=y", ("a", "b"), "x=y"),
            (" a.b = null ", ("a", "b"), None),
        ],
    )
    def test_sets_one_value(self, text: str, path: tuple[str | int, ...], value: object) -> None:
        """The value, read as YAML, is found at the path; the original is untouched."""
        result: object = apply_overrides(self.DATA, [text])
        for step in path:
            result = result[step]  # type: ignore[index]
        assert result == value
        assert self.DATA["a"] == {"b": 1, "list": [{"x": 1}, {"x": 2}]}

    def test_later_ones_win(self) -> None:
        """Overrides apply in order."""
        assert apply_overrides({"a": 1}, ["a=2", "a=3"]) == {"a": 3}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a.b", "expected path=value"),
            ("=1", "expected path=value"),
            ("", "expected path=value"),
            ("a.b=", "there is no value after `=`"),
            ("a..b=1", "cannot read the path 'a..b'"),
            ("a.=1", "cannot read the path 'a.'"),
            ("a[x]=1", "cannot read the path 'a[x]'"),
            ("[0]=1", "starts with an index"),
            ("a.b.c=1", "a.b is the value 1, nothing lies below it"),
            ("a.lisst[0]=1", "did you mean 'list'?"),
            ("a.list.x=1", "a.list is a list; expected an index as in a.list[0]"),
            ("a.list[2].x=1", "has no item 2; expected an index it has (0 to 1)"),
            ("a[0]=1", "a has keys, not items"),
            ("a.b=[1", "broken YAML"),
            ("a.b=!x 1", "the tag"),
        ],
    )
    def test_errors_name_the_text(self, text: str, said: str) -> None:
        """What cannot be applied is reported with the `--set` text as its origin."""
        with pytest.raises(InputError) as caught:
            apply_overrides(self.DATA, [text])
        assert str(caught.value).startswith(f"--set {text}")
        assert said in str(caught.value)

    def test_a_bad_value_is_blamed_on_the_override_not_on_the_file(self) -> None:
        """Validation of an overridden value names the `--set` text and no line."""
        document = parse("inner: {count: 3}\n", FILE).with_overrides(["inner.count=99"])
        with pytest.raises(InputError) as caught:
            document.validate(Outer)
        assert str(caught.value) == "--set inner.count=99: inner.count: the value is 99; expected at most 9"
        assert caught.value.line is None

    def test_the_rest_keeps_its_line(self) -> None:
        """An override of one value leaves the lines of the others alone."""
        document = parse("inner:\n  count: 99\n", FILE).with_overrides(["text=x"])
        with pytest.raises(InputError, match=f"{FILE}:2: inner.count"):
            document.validate(Outer)


def test_a_document_copy_is_independent() -> None:
    """Changing a copy leaves the original as it was read."""
    document = Document({"a": {"b": 1}}, FILE)
    document.copy().data["a"]["b"] = 2
    assert document.data == {"a": {"b": 1}}

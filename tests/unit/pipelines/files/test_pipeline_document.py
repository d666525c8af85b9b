from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.pipelines.files.document import MAX_DEPTH, Document, Node, read_document
from convergence.pipelines.files.violations import ViolationReport

_TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=20)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def parsed(text: str) -> tuple[Document | None, list[str]]:
    report = ViolationReport("f.yml", text)
    return read_document(text, report), [str(violation) for violation in report.list_violations()]


def value_of(text: str) -> Any:
    document, violations = parsed(text)
    assert violations == []
    assert document is not None
    return document.value


def faults_of(text: str) -> list[str]:
    return parsed(text)[1]


def test_libyaml_is_installed() -> None:
    assert yaml.__with_libyaml__


@settings(max_examples=60)
@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_any_json_object_reads_as_itself(value: dict[str, Any]) -> None:
    assert value_of(json.dumps(value, ensure_ascii=False)) == value


@settings(max_examples=60)
@given(st.dictionaries(_TEXT, _VALUES, min_size=1, max_size=4))
def test_every_place_points_at_what_stands_there(value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    document, _ = parsed(text)
    assert document is not None
    lines = text.split("\n")

    def check(node: Node, part: Any) -> None:
        line, column = node.place
        first = json.dumps(part, ensure_ascii=False)[0]
        assert lines[line - 1][column - 1] == first
        for key, (key_line, key_column) in node.keys.items():
            assert lines[key_line - 1][key_column - 1 :].startswith(
                json.dumps(key, ensure_ascii=False)
            )
        for key, inner in node.parts.items():
            check(inner, part[key])

    check(document.node, value)


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-17", -17),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'12:30:45'", "12:30:45"),
        ('"NO"', "NO"),
        ("openai.usage", "openai.usage"),
        ("0 6 * * *", "0 6 * * *"),
        ("v1.2.3", "v1.2.3"),
        ("Norway", "Norway"),
        ("/v1/users", "/v1/users"),
        ("100 %", "100 %"),
    ],
)
def test_plain_words_are_json_or_text(plain: str, value: object) -> None:
    read_value = value_of(f"a: {plain}\n")["a"]
    assert (type(read_value), read_value) == (type(value), value)


@pytest.mark.parametrize(
    "plain",
    [
        "NO",
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "N",
        "True",
        "FALSE",
        "Null",
        "~",
        "12:30:45",
        "1:30",
        "2025-11-25",
        "2025-11-25T10:00:00",
        "0x1F",
        "0o17",
        "017",
        "08",
        "0b11",
        "1_000",
        "+1",
        ".5",
        "1.",
        "+.inf",
        "-.INF",
        ".nan",
        "=",
    ],
)
def test_what_readers_of_yaml_disagree_on_must_be_quoted(plain: str) -> None:
    (violation,) = faults_of(f"a: {plain}\n")
    assert violation.startswith(f"f.yml:1:4: a: {plain} has different meanings")
    assert f'quote it if it is text, "{plain}"' in violation
    assert value_of(f"a: '{plain}'\n") == {"a": plain}


@pytest.mark.parametrize(
    "word", ["yes", "1", "1.5", "1e3", ".5", "1:2", "2001-01-01", "~", "=", "a"]
)
def test_what_is_accepted_plain_no_other_reader_takes_for_something_else(word: str) -> None:
    document, violations = parsed(f"a: {word}\n")
    if not violations:
        assert document is not None
        theirs = yaml.safe_load(f"a: {word}\n")["a"]
        assert theirs == document.value["a"] or word == "1e3"


def test_a_number_beyond_all_is_a_violation() -> None:
    assert "out of range" in faults_of("a: 1e999\n")[0]


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("a: &x 1\n", "1:4: a: not accepted: the anchor &x"),
        ("a: &x 1\nb: *x\n", "2:4: b: not accepted: the alias *x"),
        ("a: !!str 1\n", "1:4: a: not accepted: the tag tag:yaml.org,2002:str"),
        ("a: !env HOME\n", "1:4: a: not accepted: the tag !env"),
        ("a: {<<: {b: 1}}\n", "1:5: a.<<: merge keys are not accepted"),
        ("a: 1\nb: 2\na: 3\n", "3:1: a: duplicate key; first in line 1"),
        ("a: {b: 1, b: 2}\n", "1:11: a.b: duplicate key; first in line 1"),
        ("1: 2\n", '1:1: 1: a key must be text: quote it, "1"'),
        ("on: 2\n", '1:1: on: a key must be text: quote it, "on"'),
        ("? [1]\n: 2\n", "1:3: a key must be text"),
        ("a: 1\n---\nb: 1\n", "2:1: a second document starts here; write one per file"),
        ("%YAML 1.1\n---\na: 1\n", "1:1: directives are not accepted"),
        ("", "1:1: the file is empty"),
        ("# nothing\n\n", "1:1: the file is empty"),
        ("a: [1\n", "2:1: not YAML: while parsing a flow sequence"),
        ("a: b: c\n", "1:5: not YAML: mapping values are not allowed"),
        ("a:\n\t- b\n", "2:1: not YAML: "),
        ("a: 'x\n", "2:1: not YAML: while scanning a quoted scalar"),
        ("a: \x07\n", "1:4: the character '\\x07' is not text"),
    ],
)
def test_what_is_refused_is_told_at_its_place(text: str, violation: str) -> None:
    assert any(told.startswith(f"f.yml:{violation}") for told in faults_of(text)), faults_of(text)


def test_every_violation_of_a_document_is_told() -> None:
    told = faults_of("a: NO\nb: &x 1\nc: *x\na: 2\nd: 0x1F\n")
    assert [violation.split(": ")[0] for violation in told] == [
        "f.yml:1:4",
        "f.yml:2:4",
        "f.yml:3:4",
        "f.yml:4:1",
        "f.yml:5:4",
    ]


def test_of_a_text_beyond_help_a_hundred_violations_are_told() -> None:
    told = faults_of("\n".join(f"k{number}: NO" for number in range(500)))
    assert len(told) == 101
    assert told[-1] == "f.yml:101:7: more errors follow from here on"


def test_depth_ends_at_its_cap() -> None:
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    (violation,) = faults_of("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert "nested deeper than 32 levels" in violation


@pytest.mark.parametrize(
    "text",
    [
        "[" * 250_000,
        "{" * 250_000,
        "- " * 125_000,
        "? " * 125_000,
        "a: " + "x " * 120_000,
        "a: &x [" + "*x," * 80_000 + "]",
        "\n".join(f"k{number}: [a, b]" for number in range(14_000)),
        "a: " + "9" * 250_000,
        "a: '" + "''" * 120_000 + "'",
    ],
    ids=[
        "flow list",
        "flow map",
        "dashes",
        "question marks",
        "words",
        "aliases",
        "keys",
        "digits",
        "quotes",
    ],
)
def test_hostile_text_of_full_size_takes_no_more_than_seconds(text: str) -> None:
    started = time.process_time()
    parsed(text)
    assert time.process_time() - started < 3.0

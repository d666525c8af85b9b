"""Read one YAML document strictly, with the place of every key and value.

The accepted subset of YAML is the one that all YAML readers agree on: mappings with text keys,
lists, text, and the unquoted scalars of JSON (`true`, `false`, `null`, numbers). An unquoted
scalar that some YAML version does not read as text (`NO`, `12:30:45`, `2025-11-25`, `0x1F`, `~`)
is a violation whose message asks for quotes. Anchors, aliases, merge keys, tags, directives,
duplicate keys and second documents are rejected. The size is limited before parsing, the depth
while parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple, NoReturn

import yaml

from convergence.pipelines.files.violations import ViolationReport, format_key, quote_value

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_MAX_NUMBER_CHARS = 40

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {"": None, "null": None, "true": True, "false": False}
# Scalars that YAML 1.1 or the core schema of YAML 1.2 does not read as text.
# https://yaml.org/type/ and https://yaml.org/spec/1.2.2/#103-core-schema
_AMBIGUOUS = frozenset(
    {"~", "<<", "=", "null", "true", "false", "yes", "no", "on", "off", "y", "n"}
)
_AMBIGUOUS_FORMS = re.compile(
    r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # base 60
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"  # dates and times
    r"|[-+]?0([xX][0-9a-fA-F_]+|[oO]?[0-7_]+|[bB][01_]+)"
    r"|[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.inf|\.nan",
    re.IGNORECASE,
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Place = tuple[int, int]
Path = tuple[str | int, ...]


@dataclass(slots=True)
class Node:
    """The place of a value and the nodes of its parts.

    Attributes:
        place: 1-based line and column of the value.
        keys: the place of each key of a mapping.
        parts: nodes of a mapping's values by key, or of a list's items by index.
        invalid: whether a violation of the value was reported, so that no second one is added.
        plain: the source text of an unquoted scalar, such as `1.10`.
    """

    place: Place
    keys: dict[str | int, Place] = field(default_factory=dict)
    parts: dict[str | int, Node] = field(default_factory=dict)
    invalid: bool = False
    plain: str = ""


class Document(NamedTuple):
    """The value of a document and the places of its parts."""

    value: Any
    node: Node


class _UnreadableError(Exception):
    """Raised to stop reading; the report already has the violation."""


def read_source(path: FilePath, report: ViolationReport) -> str | None:
    """Return the text of a file; None, with a violation in the report, if it can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        report.add((1, 1), f"can't be read: {error.strerror}")
        return None
    if len(data) > MAX_BYTES:
        report.add((1, 1), f"larger than {MAX_BYTES // 1024} KiB")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        report.add((line, column), f"not UTF-8: the byte 0x{data[error.start]:02x}")
        return None


def read_document(text: str, report: ViolationReport) -> Document | None:
    """Read a document and add its violations to the report; None if it is not YAML at all."""
    if (found := _UNPRINTABLE.search(text)) is not None:
        report.add(_place_of(text, found.start()), f"the character {found.group()!a} is not text")
        return None
    try:
        return _Reader(yaml.parse(text, Loader=yaml.CLoader), report).read_events()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        report.add(
            (mark.line + 1, mark.column + 1) if mark else (1, 1), _describe_syntax_error(error)
        )
    except yaml.YAMLError as error:
        report.add((1, 1), f"not YAML: {' '.join(str(error).split())}")
    except _UnreadableError:
        pass
    return None


class _Reader:
    """Build the value and the places from the parser's events, in one pass."""

    def __init__(self, events: Iterator[yaml.Event], report: ViolationReport) -> None:
        self._events = events
        self._report = report
        self._path: list[str | int] = []

    def read_events(self) -> Document | None:
        next(self._events)
        start = next(self._events)
        if not isinstance(start, yaml.DocumentStartEvent):
            self._report.add((1, 1), "the file is empty")
            return None
        if start.version or start.tags:
            self._add_violation(_place(start), "directives are not accepted")
        document = Document(*self._read_node(next(self._events)))
        next(self._events)
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            self._add_violation(_place(after), "a second document starts here; write one per file")
        return document

    def _read_node(self, event: yaml.Event) -> tuple[Any, Node]:
        node = Node(_place(event))
        self._reject_marks(event, node)
        if isinstance(event, yaml.ScalarEvent):
            return self._read_scalar(event, node), node
        if isinstance(event, yaml.AliasEvent):
            return None, node
        if len(self._path) >= MAX_DEPTH:
            key = format_key(self._path[:3])
            self._report.add(node.place, f"nested deeper than {MAX_DEPTH} levels", key=key)
            raise _UnreadableError
        if isinstance(event, yaml.MappingStartEvent):
            return self._read_mapping(node), node
        return self._read_list(node), node

    def _reject_marks(self, event: yaml.Event, node: Node) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._reject(node, f"the alias *{event.anchor}; write the value out")
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if event.anchor is not None:
                self._reject(
                    node, f"the anchor &{event.anchor}; write the value out where it is used"
                )
            if event.tag is not None:
                self._reject(node, f"the tag {event.tag}")

    def _reject(self, node: Node, feature: str) -> None:
        node.invalid = True
        self._add_violation(node.place, f"not accepted: {feature}")

    def _read_mapping(self, node: Node) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._read_key(event)
            self._path.append(key)
            place = _place(event)
            if key in node.keys:
                self._add_violation(place, f"duplicate key; first in line {node.keys[key][0]}")
            part, part_node = self._read_node(next(self._events))
            self._path.pop()
            if key not in node.keys:
                node.keys[key], node.parts[key], value[key] = place, part_node, part
        return value

    def _read_key(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._add_violation(_place(event), "a key must be text")
            raise _UnreadableError
        text: str = event.value
        if event.anchor is not None or event.tag is not None:
            self._add_violation(_place(event), "a key has no anchor and no tag", text)
        elif text == "<<" and not event.style:
            self._add_violation(
                _place(event), "merge keys are not accepted; write the keys out", text
            )
        elif not event.style and not _is_text(text):
            self._add_violation(
                _place(event), f"a key must be text: quote it, {quote_value(text)}", text
            )
        return text

    def _read_list(self, node: Node) -> list[Any]:
        value: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(value))
            part, node.parts[len(value)] = self._read_node(event)
            value.append(part)
            self._path.pop()
        return value

    def _read_scalar(self, event: yaml.ScalarEvent, node: Node) -> Any:  # noqa: ANN401  # any JSON value
        text: str = event.value
        if event.style:
            return text
        node.plain = text
        try:
            return _parse_plain(text)
        except ValueError as error:
            node.invalid = True
            self._add_violation(node.place, str(error))
            return text

    def _add_violation(self, place: Place, message: str, *key: str) -> None:
        self._report.add(place, message, key=format_key([*self._path, *key]))


def _parse_plain(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar.

    Raises:
        ValueError: YAML readers disagree on its value.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0].isalpha():
        return _reject_ambiguous(text) if text.lower() in _AMBIGUOUS else text
    if len(text) > _MAX_NUMBER_CHARS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        if abs(number := float(text)) == float("inf"):
            raise ValueError(f"the number {text} is out of range")
        return number
    ambiguous = text in _AMBIGUOUS or _AMBIGUOUS_FORMS.fullmatch(text)
    return _reject_ambiguous(text) if ambiguous else text


def _is_text(plain: str) -> bool:
    try:
        return isinstance(_parse_plain(plain), str)
    except ValueError:
        return False


def _reject_ambiguous(text: str) -> NoReturn:
    truth = text.lower() in {"true", "yes", "on", "y", "false", "no", "off", "n"}
    instead = ", or write true or false" if truth else ""
    raise ValueError(
        f"{text} has different meanings in different YAML versions: "
        f"quote it if it is text, {quote_value(text)}{instead}"
    )


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place_of(text: str, index: int) -> Place:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _describe_syntax_error(error: yaml.MarkedYAMLError) -> str:
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {reason}"

"""Read one YAML document strictly, with the place of every key and value.

What is accepted is the part of YAML that every reader understands alike: mappings with text keys,
lists, text, and the plain words of JSON (`true`, `false`, `null`, numbers). A plain word that
some YAML version takes for something else than text (`NO`, `12:30:45`, `2025-11-25`, `0x1F`, `~`)
is a fault that says to quote it. No anchors, aliases, merge keys, tags, directives, duplicate
keys, second documents. Size is capped before parsing, depth while parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import yaml

from convergence.pipelines.files.violations import ViolationReport, format_key, quote_value

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
_LONGEST_NUMBER = 40

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {"": None, "null": None, "true": True, "false": False}
# What YAML 1.1 or the core schema of YAML 1.2 reads as something other than text.
# https://yaml.org/type/ and https://yaml.org/spec/1.2.2/#103-core-schema
_WORDS = frozenset({"~", "<<", "=", "null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_OTHER = re.compile(
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
    """Where a value is, and where its parts are.

    Attributes:
        place: 1-based line and column of the value.
        keys: place of each key, of a mapping.
        parts: nodes of a mapping's values by key, or of a list's items by index.
        faulty: whether the value was faulted already, so that no second fault is told of it.
        plain: the source text of a value that is not text, such as `1.10`.
    """

    place: Place
    keys: dict[str | int, Place] = field(default_factory=dict)
    parts: dict[str | int, Node] = field(default_factory=dict)
    faulty: bool = False
    plain: str = ""


class Document(NamedTuple):
    """A document's value and its places."""

    value: Any
    node: Node


class _UnreadableError(Exception):
    """Raised to stop reading; the fault is in the report."""


def read_source(path: FilePath, report: ViolationReport) -> str | None:
    """A file's text; None when it can't be had, which is a fault."""
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
    """Read a document; None when it can't be read at all. Faults go into the report."""
    if (found := _UNPRINTABLE.search(text)) is not None:
        report.add(_place_of(text, found.start()), f"the character {found.group()!a} is not text")
        return None
    try:
        return _Reader(yaml.parse(text, Loader=yaml.CLoader), report).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        report.add((mark.line + 1, mark.column + 1) if mark else (1, 1), _syntax(error))
    except yaml.YAMLError as error:
        report.add((1, 1), f"not YAML: {' '.join(str(error).split())}")
    except _UnreadableError:
        pass
    return None


class _Reader:
    """Builds the value and its places from the parser's events, in one pass."""

    def __init__(self, events: Iterator[yaml.Event], report: ViolationReport) -> None:
        self._events = events
        self._report = report
        self._path: list[str | int] = []

    def document(self) -> Document | None:
        next(self._events)
        start = next(self._events)
        if not isinstance(start, yaml.DocumentStartEvent):
            self._report.add((1, 1), "the file is empty")
            return None
        if start.version or start.tags:
            self._fault(_place(start), "directives are not accepted")
        document = Document(*self._node(next(self._events)))
        next(self._events)
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            self._fault(_place(after), "a second document begins here; a file holds one")
        return document

    def _node(self, event: yaml.Event) -> tuple[Any, Node]:
        node = Node(_place(event))
        self._refuse_marks(event, node)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, node), node
        if isinstance(event, yaml.AliasEvent):
            return None, node
        if len(self._path) >= MAX_DEPTH:
            key = format_key(self._path[:3])
            self._report.add(node.place, f"nested deeper than {MAX_DEPTH} levels", key=key)
            raise _UnreadableError
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(node), node
        return self._list(node), node

    def _refuse_marks(self, event: yaml.Event, node: Node) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(node, f"the alias *{event.anchor}; write the value out")
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if event.anchor is not None:
                self._refuse(
                    node, f"the anchor &{event.anchor}; write the value out where it is used"
                )
            if event.tag is not None:
                self._refuse(node, f"the tag {event.tag}")

    def _refuse(self, node: Node, what: str) -> None:
        node.faulty = True
        self._fault(node.place, f"not accepted: {what}")

    def _mapping(self, node: Node) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            self._path.append(key)
            place = _place(event)
            if key in node.keys:
                self._fault(place, f"said twice; first in line {node.keys[key][0]}")
            part, part_node = self._node(next(self._events))
            self._path.pop()
            if key not in node.keys:
                node.keys[key], node.parts[key], value[key] = place, part_node, part
        return value

    def _key(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._fault(_place(event), "a key must be text")
            raise _UnreadableError
        text: str = event.value
        if event.anchor is not None or event.tag is not None:
            self._fault(_place(event), "a key has no anchor and no tag", text)
        elif text == "<<" and not event.style:
            self._fault(_place(event), "merge keys are not accepted; write the keys out", text)
        elif not event.style and not _is_text(text):
            self._fault(_place(event), f"a key must be text: quote it, {quote_value(text)}", text)
        return text

    def _list(self, node: Node) -> list[Any]:
        value: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(value))
            part, node.parts[len(value)] = self._node(event)
            value.append(part)
            self._path.pop()
        return value

    def _scalar(self, event: yaml.ScalarEvent, node: Node) -> Any:  # noqa: ANN401  # any JSON value
        text: str = event.value
        if event.style:
            return text
        node.plain = text
        try:
            return _resolve(text)
        except ValueError as error:
            node.faulty = True
            self._fault(node.place, str(error))
            return text

    def _fault(self, place: Place, message: str, *key: str) -> None:
        self._report.add(place, message, key=format_key([*self._path, *key]))


def _resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar.

    Raises:
        ValueError: readers of YAML disagree on it.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0].isalpha():
        return _text(text) if text.lower() in _WORDS else text
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        if abs(number := float(text)) == float("inf"):
            raise ValueError(f"{text} is beyond every number that can be kept")
        return number
    return _text(text) if text in _WORDS or _OTHER.fullmatch(text) else text


def _is_text(plain: str) -> bool:
    try:
        return isinstance(_resolve(plain), str)
    except ValueError:
        return False


def _text(text: str) -> str:
    truth = text.lower() in {"true", "yes", "on", "y", "false", "no", "off", "n"}
    instead = ", or write true or false" if truth else ""
    raise ValueError(
        f"{text} means different things to different readers of YAML: "
        f"quote it if it is text, {quote_value(text)}{instead}"
    )


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place_of(text: str, index: int) -> Place:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _syntax(error: yaml.MarkedYAMLError) -> str:
    told = " ".join(part for part in (error.context, error.problem) if part)
    return f"not YAML: {told}"

"""A SQL file with made-up identifiers filled in, and the way back from there to the file.

What a placeholder stands for differs by org and step; whether a table comes from one does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import jinja2
from jinja2 import meta, nodes

from convergence.warehouse.query import ENVIRONMENT
from convergence.warehouse.sql_tables import DATASETS, PROJECTS, TableRule

_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")

_TAG: Final = re.compile(
    r"\{\{[-+]?\s*(?P<name>[a-z_]\w*)\s*[-+]?\}\}"
    r"|(?P<expression>\{\{.*?\}\})"
    r"|(?P<other>\{%[-+]?\s*(?:else|elif)\b.*?%\})"
    r"|(?P<block>\{%[-+]?\s*set\s+\w+\s*[-+]?%\})"
    r"|(?P<end>\{%[-+]?\s*endset\s*[-+]?%\})"
    r"|\{%.*?%\}|\{\#.*?\#\}",
    re.DOTALL,
)
_FILLINGS: Final = {
    "expression": "made_up",
    "other": " , ",  # in a list of tables another table follows
    "block": " SELECT ",
    "end": " ; ",
}
VALUES: Final = {name: f"made-up-{name.replace('_', '-')}" for name in PROJECTS} | {
    name: f"made_up_{name}" for name in DATASETS
}
RULE: Final = TableRule.of(VALUES)


_MADE_UP: Final = re.compile(r"made_up_(\w+?)(?=_1\b|_2\b|\b)")


def as_written(text: str) -> str:
    """Return a text about a specimen with the file's placeholders instead of made-up names."""
    for name, value in VALUES.items():
        text = text.replace(value, f"{{{{ {name} }}}}")
    return _MADE_UP.sub(r"{{ \1 }}", text)


class TemplateFormError(ValueError):
    """Raised when a file can't be rendered; `line` is 1-based."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Specimen:
    """One rendering.

    Attributes:
        sql: the statement.
        source: the file's text.
        marks: (offset in `sql`, offset in `source`) of each piece that the file holds literally.
    """

    sql: str
    source: str
    marks: tuple[tuple[int, int], ...]

    def place(self, position: int) -> tuple[int, int]:
        """Return the file's 1-based line and column of a position in `sql`."""
        before = [mark for mark in self.marks if mark[0] <= position]
        at = before[-1][1] + position - before[-1][0] if before else 0
        at = min(at, len(self.source))
        return self.source.count("\n", 0, at) + 1, at - self.source.rfind("\n", 0, at)


def specimens(source: str) -> Iterator[Specimen]:
    """Render a SQL file with every placeholder filled in, and with all optional ones empty.

    Raises:
        TemplateFormError: the file is no Jinja template, or decides by an identifier's value.
    """
    try:
        tree = ENVIRONMENT.parse(source)
        template = ENVIRONMENT.from_string(_marked(source))
        names = meta.find_undeclared_variables(tree)
        _refuse_comparisons(tree)
        filled = {name: _Anything(f"made_up_{name}") for name in names}
        yield _specimen(template.render(filled | VALUES), source)
        if optional := _tested(tree):
            emptied = filled | {name: _Anything("") for name in optional}
            yield _specimen(template.render(emptied | VALUES), source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFormError(f"not a template: {error.message}", error.lineno) from None
    except (jinja2.TemplateError, TypeError) as error:
        raise TemplateFormError(f"the template can't be rendered: {error}", 1) from None


def flattened(source: str) -> Specimen:
    """Fill a SQL file in without Jinja: every branch stays, every loop is gone through once.

    No valid statement, but one whose tables can be read, in a fraction of a rendering's time.
    """
    pieces: list[str] = []
    marks = [(0, 0)]
    length = at = 0
    for match in _TAG.finditer(source):
        name = match.group("name")
        if name is not None:
            filling = VALUES.get(name, f"made_up_{name}")
        else:
            filling = _FILLINGS.get(match.lastgroup or "", " ")
        pieces += source[at : match.start()], filling
        length += len(pieces[-2]) + len(filling)
        at = match.end()
        marks.append((length, at))
    pieces.append(source[at:])
    return Specimen("".join(pieces), source, tuple(marks))


def _tested(tree: nodes.Template) -> set[str]:
    """The placeholders that the file asks for whether they are empty."""
    tests = [node.test for node in tree.find_all(nodes.If)]
    tests += [node.test for node in tree.find_all(nodes.CondExpr)]
    return {name.name for test in tests for name in _names(test)} - set(VALUES)


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _refuse_comparisons(tree: nodes.Template) -> None:
    """Refuse what reads one table for one org and another for another: no rendering shows it."""
    for node in tree.find_all(nodes.Compare):
        if any(isinstance(text.value, str) for text in node.find_all(nodes.Const)):
            raise TemplateFormError(
                "a SQL file may not compare a placeholder with a text; pass a value as @name",
                node.lineno,
            )


class _Anything(str):
    """A text where a template wants one, and a list of two texts where it wants a list."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter([f"{self}_1", f"{self}_2"] if len(self) else [])

    def __getitem__(self, key: object) -> str:
        return f"{self}_1"

    def __add__(self, other: object) -> list[str] | str:  # type: ignore[override]
        return [*self, *other] if isinstance(other, _Anything) else f"{self}{other}"

    def items(self) -> list[tuple[str, _Anything]]:
        """Pairs, where a template wants a mapping."""
        return [(name, _Anything(name)) for name in self]


def _marked(source: str) -> str:
    """The template with a mark in front of each literal piece, which says where it was."""
    pieces, at = [], 0
    for _line, kind, value in ENVIRONMENT.lex(source):
        found = source.find(value, at)
        if kind == "data":
            pieces.append(f"{_OPEN}{found}{_CLOSE}")
        pieces.append(value)
        at = found + len(value) if found >= 0 else at
    return "".join(pieces)


def _specimen(rendered: str, source: str) -> Specimen:
    marks: list[tuple[int, int]] = []
    pieces: list[str] = []
    length = at = 0
    for match in _MARK.finditer(rendered):
        pieces.append(rendered[at : match.start()])
        length += len(pieces[-1])
        marks.append((length, int(match.group(1))))
        at = match.end()
    pieces.append(rendered[at:])
    return Specimen("".join(pieces), source, tuple(marks))

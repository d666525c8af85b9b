"""A SQL file with made-up identifiers filled in, and the way back from there to the file.

What a placeholder stands for differs by org and step; whether a table comes from one does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import jinja2
from jinja2 import meta, nodes

from convergence.warehouse.sql_rendering import ENVIRONMENT, Rendering, render_marked
from convergence.warehouse.sql_source import SqlSource
from convergence.warehouse.sql_tables import DATASETS, PROJECTS, TableRule

_TAG: Final = re.compile(
    r"\{\{[-+]?\s*(?P<name>[a-z_]\w*)\s*[-+]?\}\}"
    r"|(?P<expression>\{\{.*?\}\})"
    r"|(?P<other>\{%[-+]?\s*(?:else|elif)\b.*?%\})"
    r"|(?P<block>\{%[-+]?\s*(?:set\s+\w+|macro\s+\w+\([\w\s,]*\))\s*[-+]?%\})"
    r"|(?P<end>\{%[-+]?\s*end(?:set|macro)\s*[-+]?%\})"
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
RULE: Final = TableRule.for_identifiers(VALUES)


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


def specimens(source: SqlSource) -> Iterator[Rendering]:
    """Render a SQL file with every placeholder filled in, and with all optional ones empty.

    Raises:
        TemplateFormError: the file is no Jinja template, or decides by an identifier's value.
    """
    try:
        tree = ENVIRONMENT.parse(source.text)
        names = meta.find_undeclared_variables(tree)
        _refuse_comparisons(tree)
        filled: dict[str, object] = {name: _Anything(f"made_up_{name}") for name in names}
        yield render_marked(source, filled | VALUES)
        if optional := _tested(tree):
            emptied = filled | {name: _Anything("") for name in optional}
            yield render_marked(source, emptied | VALUES)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFormError(f"not a template: {error.message}", error.lineno) from None
    except (jinja2.TemplateError, TypeError) as error:
        raise TemplateFormError(f"the template can't be rendered: {error}", 1) from None


def flattened(source: SqlSource) -> Rendering:
    """Fill a SQL file in without Jinja: every branch stays, every loop is gone through once.

    No valid statement, but one whose tables can be read, in a fraction of a rendering's time.
    """
    pieces: list[str] = []
    marks = [(0, 0)]
    length = at = 0
    for match in _TAG.finditer(source.text):
        name = match.group("name")
        if name is not None:
            filling = VALUES.get(name, f"made_up_{name}")
        else:
            filling = _FILLINGS.get(match.lastgroup or "", " ")
        pieces += source.text[at : match.start()], filling
        length += len(pieces[-2]) + len(filling)
        at = match.end()
        marks.append((length, at))
    pieces.append(source.text[at:])
    return Rendering("".join(pieces), source, tuple(marks))


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

    def __iter__(self) -> Iterator[_Anything]:
        return iter([_Anything(f"{self}_{number}") for number in (1, 2)] if len(self) else [])

    def __getitem__(self, key: object) -> _Anything:
        return _Anything(f"{self}_{key}" if isinstance(key, str) else f"{self}_1")

    def __add__(self, other: object) -> list[str] | str:  # type: ignore[override]
        return [*self, *other] if isinstance(other, _Anything) else f"{self}{other}"

    def items(self) -> list[tuple[str, _Anything]]:
        """Pairs, where a template wants a mapping."""
        return [(name, name) for name in self]

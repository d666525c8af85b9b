"""Fill made-up identifiers into a SQL file, and map positions of the result back to the file.

The value of a placeholder differs by org and step. Whether a table comes from a placeholder does
not, so a made-up value is enough for the check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import jinja2
from jinja2 import meta, nodes

from convergence.warehouse.sql.rendering import ENVIRONMENT, Rendering, render_marked
from convergence.warehouse.sql.source import SqlSource
from convergence.warehouse.sql.table_rules import DATASETS, PROJECTS, TableRule

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


def restore_placeholders(text: str) -> str:
    """Replace the made-up names in a message by the placeholders of the file."""
    for name, value in VALUES.items():
        text = text.replace(value, f"{{{{ {name} }}}}")
    return _MADE_UP.sub(r"{{ \1 }}", text)


class TemplateFormError(ValueError):
    """Raised when a SQL file is not a template that can be rendered; `line` is 1-based."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def render_specimens(source: SqlSource) -> Iterator[Rendering]:
    """Render a SQL file with every placeholder filled in, then with all optional ones empty.

    Raises:
        TemplateFormError: the file is no Jinja template, or decides by an identifier's value.
    """
    try:
        tree = ENVIRONMENT.parse(source.text)
        names = meta.find_undeclared_variables(tree)
        _reject_comparisons(tree)
        filled: dict[str, object] = {name: _Anything(f"made_up_{name}") for name in names}
        yield render_marked(source, filled | VALUES)
        if optional := _find_tested_names(tree):
            emptied = filled | {name: _Anything("") for name in optional}
            yield render_marked(source, emptied | VALUES)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFormError(f"not a template: {error.message}", error.lineno) from None
    except (jinja2.TemplateError, TypeError) as error:
        raise TemplateFormError(f"the template can't be rendered: {error}", 1) from None


def flatten(source: SqlSource) -> Rendering:
    """Fill in a SQL file without Jinja: keep every branch, and the body of every loop once.

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


def _find_tested_names(tree: nodes.Template) -> set[str]:
    """Return the placeholders that the file tests for being empty."""
    tests = [node.test for node in tree.find_all(nodes.If)]
    tests += [node.test for node in tree.find_all(nodes.CondExpr)]
    return {name.name for test in tests for name in _find_names(test)} - set(VALUES)


def _find_names(node: nodes.Node) -> Iterator[nodes.Name]:
    if isinstance(node, nodes.Name):
        yield node
    yield from node.find_all(nodes.Name)


def _reject_comparisons(tree: nodes.Template) -> None:
    """Reject comparisons with a text: the file could read another table for one org only.

    No rendering with made-up names would show such a table.
    """
    for node in tree.find_all(nodes.Compare):
        if any(isinstance(text.value, str) for text in node.find_all(nodes.Const)):
            raise TemplateFormError(
                "a SQL file must not compare a placeholder with a text; pass the value as @name",
                node.lineno,
            )


class _Anything(str):
    """A value that works as a text, and as a list of two texts in a loop."""

    __slots__ = ()

    def __iter__(self) -> Iterator[_Anything]:
        return iter([_Anything(f"{self}_{number}") for number in (1, 2)] if len(self) else [])

    def __getitem__(self, key: object) -> _Anything:
        return _Anything(f"{self}_{key}" if isinstance(key, str) else f"{self}_1")

    def __add__(self, other: object) -> list[str] | str:  # type: ignore[override]
        return [*self, *other] if isinstance(other, _Anything) else f"{self}{other}"

    def items(self) -> list[tuple[str, _Anything]]:
        """Return pairs for a template that loops over a mapping."""
        return [(name, name) for name in self]

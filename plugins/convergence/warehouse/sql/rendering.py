"""Fill the placeholders of a SQL statement, and map its positions back to the files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from convergence.errors import ConfigurationError
from convergence.warehouse.sql.source import Place, SqlSource

ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False
)
# Characters of Unicode's private area, which no SQL file holds.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_POSITION: Final = re.compile(r"\[(\d+):(\d+)\]")
_TEMPLATE_FILE: Final = "<template>"
"""Jinja's name of a template without a file, in the traceback of an error."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A filled-in statement.

    Attributes:
        sql: the statement.
        source: the source of the statement.
        marks: (offset in `sql`, offset in the source) of each literal piece of the source.
    """

    sql: str
    source: SqlSource
    marks: tuple[tuple[int, int], ...]

    def place(self, position: int) -> Place:
        """Return the place in a file of a position in `sql`."""
        before = [mark for mark in self.marks if mark[0] <= position]
        at = before[-1][1] + position - before[-1][0] if before else 0
        return self.source.place(min(at, len(self.source.text)))

    def place_in_message(self, message: str) -> Place | None:
        """Return the place of an error of BigQuery, whose message ends with `at [line:column]`."""
        found = _POSITION.search(message)
        if found is None:
            return None
        line, column = int(found[1]), int(found[2])
        starts = [0, *(at + 1 for at, char in enumerate(self.sql) if char == "\n")]
        if line > len(starts):
            return None
        return self.place(starts[line - 1] + column - 1)


def render_source(source: SqlSource, names: Mapping[str, object]) -> str:
    """Fill the placeholders of a statement.

    Raises:
        ConfigurationError: the text is not a template, or it needs an unknown name; the details
            have `file` and `line`.
    """
    try:
        return str(_compile_template(source.text).render(names))
    except jinja2.TemplateError as error:
        place = _locate_error(error, source)
        raise ConfigurationError(
            f"{place}: the SQL file can't be rendered: {error}",
            file=str(place.path),
            line=place.line,
        ) from None


def render_marked(source: SqlSource, names: Mapping[str, object]) -> Rendering:
    """Fill the placeholders of a statement, and record the origin of each piece.

    Raises:
        jinja2.TemplateError: as Jinja raises it.
    """
    rendered = ENVIRONMENT.from_string(_insert_marks(source.text)).render(names)
    marks: list[tuple[int, int]] = []
    pieces: list[str] = []
    length = at = 0
    for match in _MARK.finditer(rendered):
        pieces.append(rendered[at : match.start()])
        length += len(pieces[-1])
        marks.append((length, int(match.group(1))))
        at = match.end()
    pieces.append(rendered[at:])
    return Rendering("".join(pieces), source, tuple(marks))


@lru_cache(maxsize=256)
def _compile_template(text: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(text)


def _insert_marks(text: str) -> str:
    """Return the template with a mark in front of each literal piece, which says where it was."""
    pieces, at = [], 0
    for _line, kind, value in ENVIRONMENT.lex(text):
        found = text.find(value, at)
        if kind == "data":
            pieces.append(f"{_OPEN}{found}{_CLOSE}")
        pieces.append(value)
        at = found + len(value) if found >= 0 else at
    return "".join(pieces)


def _locate_error(error: jinja2.TemplateError, source: SqlSource) -> Place:
    line = error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else _find_line(error)
    return source.line_place(line)


def _find_line(error: BaseException) -> int:
    """Return the template's line at which rendering stopped, from the traceback; 1 without one."""
    line, step = 1, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == _TEMPLATE_FILE:
            line = step.tb_lineno
        step = step.tb_next
    return line

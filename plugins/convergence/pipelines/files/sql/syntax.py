"""Parse SQL files with sqlglot: syntax errors at their line, and tables by a second reading.

For `make lint-configs` alone: sqlglot takes longer to import than a task may take to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from convergence.pipelines.files.sql.files import (
    add_at,
    add_violations,
    check_sql_file,
    report_of,
)
from convergence.pipelines.files.sql.specimen import (
    RULE,
    TemplateFormError,
    as_written,
    specimens,
)
from convergence.pipelines.files.violations import Violation, ViolationReport
from convergence.warehouse.sql_rendering import Rendering
from convergence.warehouse.sql_source import read_source

_DIALECT = "bigquery"


def check_sql_syntax(path: Path, root: Path) -> tuple[Violation, ...]:
    """Return the syntax errors and foreign tables of one file that has no other errors."""
    if check_sql_file(path, root):
        return ()
    source = read_source(path, root)
    report = report_of(source, root)
    try:
        for specimen in specimens(source):
            _check(specimen, report, root)
    except TemplateFormError as error:
        add_at(report, source, source.line_place(error.line), error.message, root=root)
    return report.sorted()


def _check(specimen: Rendering, report: ViolationReport, root: Path) -> None:
    add_violations(specimen, report, root)
    if report.faults:
        return

    def add(position: int, message: str) -> None:
        add_at(report, specimen.source, specimen.place(position), message, root=root)

    try:
        statements = sqlglot.parse(specimen.sql, dialect=_DIALECT)
    except (ParseError, TokenError) as error:
        add(_position(error, specimen.sql), _reason(error))
        return
    for statement in statements:
        for path in _foreign(statement) if statement is not None else ():
            at = max(specimen.sql.find(path.partition(".")[0]), 0)
            add(at, f"the table {as_written(path)} does not come from a placeholder")


def _foreign(statement: exp.Expr) -> Iterator[str]:
    for table in statement.find_all(exp.Table):
        parts = [part.name for part in table.parts]
        path = ".".join(parts)
        if len(parts) > 1 and not RULE.allows(path):
            yield path


def _position(error: ParseError | TokenError, sql: str) -> int:
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    line, column = details.get("line"), details.get("col")
    if not line:
        return 0
    highlighted = len(str(details.get("highlight") or " "))
    starts = [0, *(at + 1 for at, char in enumerate(sql) if char == "\n")]
    return max(starts[int(line) - 1] + int(column or 1) - highlighted, 0)


def _reason(error: ParseError | TokenError) -> str:
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    text = details.get("description") or str(error).splitlines()[0]
    near = details.get("highlight")
    return f"not SQL: {text.rstrip('.')}" + (f" at {near!r}" if near else "")

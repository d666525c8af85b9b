"""Parse SQL files with sqlglot: report syntax errors, and check the tables a second time.

Only `make lint-configs` uses this: importing sqlglot takes longer than a task may take to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from convergence.pipelines.files.sql.files import (
    add_violation_at,
    add_violations,
    build_report,
    check_sql_file,
)
from convergence.pipelines.files.sql.specimen import (
    RULE,
    TemplateFormError,
    render_specimens,
    restore_placeholders,
)
from convergence.pipelines.files.violations import Violation, ViolationReport
from convergence.warehouse.sql.rendering import Rendering
from convergence.warehouse.sql.source import read_source

_DIALECT = "bigquery"


def check_sql_syntax(path: Path, root: Path) -> tuple[Violation, ...]:
    """Return the syntax errors and foreign tables of one file that has no other errors."""
    if check_sql_file(path, root):
        return ()
    source = read_source(path, root)
    report = build_report(source, root)
    try:
        for specimen in render_specimens(source):
            _check_specimen(specimen, report, root)
    except TemplateFormError as error:
        add_violation_at(report, source, source.line_place(error.line), error.message, root=root)
    return report.list_violations()


def _check_specimen(specimen: Rendering, report: ViolationReport, root: Path) -> None:
    add_violations(specimen, report, root)
    if report.violations:
        return

    def add(position: int, message: str) -> None:
        add_violation_at(report, specimen.source, specimen.place(position), message, root=root)

    try:
        statements = sqlglot.parse(specimen.sql, dialect=_DIALECT)
    except (ParseError, TokenError) as error:
        add(_find_position(error, specimen.sql), _describe_error(error))
        return
    for statement in statements:
        for path in _find_foreign_tables(statement) if statement is not None else ():
            at = max(specimen.sql.find(path.partition(".")[0]), 0)
            add(at, f"the table {restore_placeholders(path)} does not come from a placeholder")


def _find_foreign_tables(statement: exp.Expr) -> Iterator[str]:
    for table in statement.find_all(exp.Table):
        parts = [part.name for part in table.parts]
        path = ".".join(parts)
        if len(parts) > 1 and not RULE.allows(path):
            yield path


def _find_position(error: ParseError | TokenError, sql: str) -> int:
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    line, column = details.get("line"), details.get("col")
    if not line:
        return 0
    highlighted = len(str(details.get("highlight") or " "))
    starts = [0, *(at + 1 for at, char in enumerate(sql) if char == "\n")]
    return max(starts[int(line) - 1] + int(column or 1) - highlighted, 0)


def _describe_error(error: ParseError | TokenError) -> str:
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    text = details.get("description") or str(error).splitlines()[0]
    near = details.get("highlight")
    return f"not SQL: {text.rstrip('.')}" + (f" at {near!r}" if near else "")

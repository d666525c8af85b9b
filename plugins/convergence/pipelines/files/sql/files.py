"""Check SQL files: every table must come from a placeholder, so that a file reads one org only.

`warehouse.query.render` repeats the check on each statement before it is sent to BigQuery.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from convergence.pipelines.files.sql.specimen import RULE, VALUES, flatten, restore_placeholders
from convergence.pipelines.files.violations import Violation, ViolationReport, closest_match
from convergence.warehouse.sql.rendering import Rendering
from convergence.warehouse.sql.source import (
    Place,
    SqlSource,
    SqlSourceError,
    read_source,
)
from convergence.warehouse.sql.table_rules import find_sql_violations

SUFFIX = ".sql"
_PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


def find_sql_files(root: Path) -> list[Path]:
    """Return every SQL file under the folder of configurations, sorted."""
    return sorted(path for path in root.rglob(f"*{SUFFIX}") if path.is_file())


def check_sql_files(root: Path) -> list[Violation]:
    """Return every error of every SQL file."""
    return [violation for path in find_sql_files(root) for violation in check_sql_file(path, root)]


def check_sql_file(path: Path, root: Path) -> tuple[Violation, ...]:
    """Return every error of one SQL file, by place; cached until its text changes."""
    try:
        return _check_source(read_source(path, root), root)
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        report = ViolationReport(path.relative_to(root).as_posix())
        report.add((1, 1), f"not UTF-8: {error.reason} at byte {error.start}")
    except SqlSourceError as error:
        at = error.place.path
        report = ViolationReport(at.relative_to(root).as_posix(), at.read_text(encoding="utf-8"))
        report.add((error.place.line, error.place.column), error.reason)
    return report.list_violations()


@lru_cache(maxsize=2048)
def _check_source(source: SqlSource, root: Path) -> tuple[Violation, ...]:
    report = build_report(source, root)
    add_violations(flatten(source), report, root)
    return report.list_violations()


def build_report(source: SqlSource, root: Path) -> ViolationReport:
    """Return an empty report for the file of a statement."""
    return ViolationReport(source.path.relative_to(root).as_posix(), source.file_text)


def add_violations(rendering: Rendering, report: ViolationReport, root: Path) -> None:
    """Add an error for each table, call or statement that is not allowed in a SQL file."""
    for violation in find_sql_violations(rendering.sql, RULE):
        add_violation_at(
            report,
            rendering.source,
            rendering.place(violation.position),
            restore_placeholders(violation.message),
            root=root,
            suggestion=_suggest_placeholder(restore_placeholders(violation.path)),
        )


def add_violation_at(
    report: ViolationReport,
    source: SqlSource,
    place: Place,
    message: str,
    *,
    root: Path,
    suggestion: str | None = None,
) -> None:
    """Add an error at its place; one in the shared statement at the line that extends it."""
    if place.path != source.path:
        shared = place.path.relative_to(root).as_posix()
        message = f"in {shared}:{place.line}:{place.column} with this file's blocks: {message}"
        place = source.extends_place
    report.add((place.line, place.column), message, suggestion=suggestion)


def _suggest_placeholder(path: str) -> str | None:
    """Return the placeholder that is most similar to an unknown one."""
    for name in _PLACEHOLDER.findall(path.rpartition(".")[0]):
        if name not in VALUES and (meant := closest_match(name, tuple(VALUES))):
            return f"{{{{ {meant} }}}}"
    return None

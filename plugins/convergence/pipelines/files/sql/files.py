"""Check SQL files: every table comes from a placeholder, so that a file reads its own org only.

The same check runs again on each statement before BigQuery gets it (`warehouse.query.render`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from convergence.pipelines.files.sql.specimen import RULE, VALUES, as_written, flattened
from convergence.pipelines.files.violations import Violation, ViolationReport, closest_match
from convergence.warehouse.sql_rendering import Rendering
from convergence.warehouse.sql_source import (
    Place,
    SqlSource,
    SqlSourceError,
    read_source,
)
from convergence.warehouse.sql_tables import find_sql_violations

SUFFIX = ".sql"
_PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


def find_sql_files(root: Path) -> list[Path]:
    """Return every SQL file under the folder of configurations, sorted."""
    return sorted(path for path in root.rglob(f"*{SUFFIX}") if path.is_file())


def check_sql_files(root: Path) -> list[Violation]:
    """Return every error of every SQL file."""
    return [fault for path in find_sql_files(root) for fault in check_sql_file(path, root)]


def check_sql_file(path: Path, root: Path) -> tuple[Violation, ...]:
    """Return every error of one SQL file, by place; remembered while its text is the same."""
    try:
        return _faults(read_source(path, root), root)
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        report = ViolationReport(path.relative_to(root).as_posix())
        report.add((1, 1), f"not UTF-8: {error.reason} at byte {error.start}")
    except SqlSourceError as error:
        at = error.place.path
        report = ViolationReport(at.relative_to(root).as_posix(), at.read_text(encoding="utf-8"))
        report.add((error.place.line, error.place.column), error.reason)
    return report.sorted()


@lru_cache(maxsize=2048)
def _faults(source: SqlSource, root: Path) -> tuple[Violation, ...]:
    report = report_of(source, root)
    add_violations(flattened(source), report, root)
    return report.sorted()


def report_of(source: SqlSource, root: Path) -> ViolationReport:
    """Return an empty report of the file that names a statement."""
    return ViolationReport(source.path.relative_to(root).as_posix(), source.own_text)


def add_violations(rendering: Rendering, report: ViolationReport, root: Path) -> None:
    """Add an error for each table, call or statement that a SQL file may not hold."""
    for violation in find_sql_violations(rendering.sql, RULE):
        add_at(
            report,
            rendering.source,
            rendering.place(violation.position),
            as_written(violation.message),
            root=root,
            suggestion=_suggestion(as_written(violation.path)),
        )


def add_at(
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


def _suggestion(path: str) -> str | None:
    """Return the placeholder that a misspelt one was meant to be."""
    for name in _PLACEHOLDER.findall(path.rpartition(".")[0]):
        if name not in VALUES and (meant := closest_match(name, tuple(VALUES))):
            return f"{{{{ {meant} }}}}"
    return None

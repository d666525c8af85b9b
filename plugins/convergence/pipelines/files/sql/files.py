"""Check SQL files: every table comes from a placeholder, so that a file reads its own org only.

The same check runs again on each statement before BigQuery gets it (`warehouse.query.render`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from convergence.pipelines.files.sql.specimen import RULE, VALUES, Specimen, as_written, flattened
from convergence.pipelines.files.violations import Violation, ViolationReport, closest_match
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
    """Return every error of one SQL file, by place; remembered while the file is the same."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ()
    return _faults(path, root, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=2048)
def _faults(path: Path, root: Path, _state: tuple[int, int]) -> tuple[Violation, ...]:
    name = path.relative_to(root).as_posix()
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        report = ViolationReport(name)
        report.add((1, 1), f"not UTF-8: {error.reason} at byte {error.start}")
        return report.sorted()
    report = ViolationReport(name, source)
    add_violations(flattened(source), report)
    return report.sorted()


def add_violations(specimen: Specimen, report: ViolationReport) -> None:
    """Add an error for each table, call or statement that a SQL file may not hold."""
    for violation in find_sql_violations(specimen.sql, RULE):
        report.add(
            specimen.place(violation.position),
            as_written(violation.message),
            suggestion=_suggestion(as_written(violation.path)),
        )


def _suggestion(path: str) -> str | None:
    """Return the placeholder that a misspelt one was meant to be."""
    for name in _PLACEHOLDER.findall(path.rpartition(".")[0]):
        if name not in VALUES and (meant := closest_match(name, tuple(VALUES))):
            return f"{{{{ {meant} }}}}"
    return None

"""SQL files with identifiers filled in and values as parameters."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator, _EmptyRowIterator

from convergence.errors import (
    ConfigurationError,
    ConvergenceError,
    ForeignTableError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.metering import labels_now
from convergence.warehouse.bigquery_errors import SLOW_REASONS, translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.counting import count_job
from convergence.warehouse.names import CENTRAL, check_identifier, check_project, labels
from convergence.warehouse.params import Param, query_parameters
from convergence.warehouse.sql.rendering import render_marked, render_source
from convergence.warehouse.sql.source import SqlSource, read_source
from convergence.warehouse.sql.table_rules import TableRule, find_sql_violations

log = logging.getLogger(__name__)

Row: TypeAlias = dict[str, Any]
"""Column name to Python value; NUMERIC is Decimal, TIMESTAMP an aware datetime in UTC."""

Group: TypeAlias = Mapping[str, str | Sequence[str]]
"""Identifiers that belong together, such as a meter's quantity and rates."""

Identifiers: TypeAlias = Mapping[str, str | Sequence[str] | Sequence[Group]]
"""Name in the SQL file to an identifier, or to several or groups for a loop; each is checked."""

_Rows: TypeAlias = RowIterator | _EmptyRowIterator

MAX_TRIES: Final = 4
"""Runs of one statement. A job that failed changed nothing, so another run is always safe."""


def render(w: Warehouse, path: Path, identifiers: Identifiers | None = None) -> str:
    """Return a file's SQL with `{{ project }}`, `{{ central }}` and the identifiers filled in.

    Raises:
        ConfigurationError: the file is missing or broken, names an identifier that is not given,
            or an identifier is none.
        ForeignTableError: the file names a table that no placeholder stands for.
    """
    names = _build_names(w, identifiers)
    source = statement_source(w, path)
    text = render_source(source, names)
    _check_tables(text, source, names)
    return text


def statement_source(w: Warehouse, path: Path) -> SqlSource:
    """Return the text of a file's statement, with the shared one that it extends.

    Raises:
        ConfigurationError: a file is missing, or the two do not fit.
    """
    try:
        return read_source(path, w.configs_dir)
    except FileNotFoundError:
        raise ConfigurationError("SQL file is missing", file=str(path)) from None


@contextmanager
def naming_place(w: Warehouse, path: Path, identifiers: Identifiers | None) -> Iterator[None]:
    """Add the file and line to an error that BigQuery places in the filled-in statement."""
    try:
        yield
    except WarehouseError as error:
        rendering = render_marked(statement_source(w, path), _build_names(w, identifiers))
        if (place := rendering.place_in_message(str(error))) is not None:
            error.details.setdefault("place", str(place))
        raise


def _build_names(w: Warehouse, identifiers: Identifiers | None) -> dict[str, object]:
    names = {"project": w.project, "central": CENTRAL, **(identifiers or {})}
    return {name: _check_identifiers(name, value) for name, value in names.items()}


def _check_tables(sql: str, source: SqlSource, names: Mapping[str, object]) -> None:
    # At every run, not only when the DAG is made: the file may have changed since.
    found = find_sql_violations(sql, TableRule.for_identifiers(names))
    if found:
        place = render_marked(source, names).place(found[0].position)
        raise ForeignTableError(
            f"{place}: {found[0].message}", file=str(place.path), line=place.line
        )


def _check_identifiers(name: str, value: str | Sequence[str] | Sequence[Group]) -> object:
    """Return identifiers as the template takes them, after a check of each."""
    if isinstance(value, str):
        return check_project(value) if name.endswith("project") else check_identifier(value)
    return [_check_group(one) for one in value]


def _check_group(value: str | Group) -> str | dict[str, object]:
    if isinstance(value, str):
        return check_identifier(value)
    return {name: _check_identifiers("", one) for name, one in value.items()}


def run_file(
    w: Warehouse,
    path: Path,
    *,
    identifiers: Identifiers | None = None,
    params: Mapping[str, Param] | None = None,
    max_bytes: int | None = None,
    job_labels: Mapping[str, str] | None = None,
) -> list[Row]:
    """Run a statement or script and give all its rows (none for DML and DDL).

    Args:
        w: the warehouse.
        path: a SQL file; Jinja for identifiers only, `@name` for values.
        identifiers: datasets, tables, columns; each checked.
        params: values; their types follow from Python's.
        max_bytes: the bytes that the query may bill; by default the warehouse's limit.
        job_labels: kept with the job, for cost reports.

    Raises:
        NotBootstrappedError: a central table is missing.
        WarehouseUnavailableError: no response, or a temporary failure, after every retry.
        WarehouseError: BigQuery rejects the statement.
    """
    rows = _run_statement(
        w,
        path,
        identifiers=identifiers,
        params=params,
        max_bytes=max_bytes,
        job_labels=job_labels,
    )
    with translated_errors("reading rows", sql=path.name):
        return [dict(row.items()) for row in rows]


def stream_file(
    w: Warehouse,
    path: Path,
    *,
    identifiers: Identifiers | None = None,
    params: Mapping[str, Param] | None = None,
    max_bytes: int | None = None,
    job_labels: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Yield the rows of a query page by page, for large results; see `run_file`."""
    rows = _run_statement(
        w,
        path,
        identifiers=identifiers,
        params=params,
        max_bytes=max_bytes,
        job_labels=job_labels,
    )
    with translated_errors("reading rows", sql=path.name):
        for row in rows:
            yield dict(row.items())


def run_dml(
    w: Warehouse,
    path: Path,
    *,
    identifiers: Identifiers | None = None,
    params: Mapping[str, Param] | None = None,
) -> int:
    """Run one DML statement and say how many rows it inserted, updated or deleted."""
    return int(
        _run_statement(w, path, identifiers=identifiers, params=params).num_dml_affected_rows or 0
    )


def _run_statement(
    w: Warehouse,
    path: Path,
    *,
    identifiers: Identifiers | None = None,
    params: Mapping[str, Param] | None = None,
    max_bytes: int | None = None,
    job_labels: Mapping[str, str] | None = None,
) -> _Rows:
    sql = render(w, path, identifiers)
    config = bigquery.QueryJobConfig(
        query_parameters=query_parameters(params or {}),
        maximum_bytes_billed=max_bytes or w.max_bytes_billed,
        use_legacy_sql=False,
        labels=labels({"sql": path.stem, **labels_now(), **(job_labels or {})}),
    )
    for attempt in range(1, MAX_TRIES + 1):
        try:
            with naming_place(w, path, identifiers):
                return _run_job(w, sql, config, name=f"{path.parent.name}/{path.name}")
        except WarehouseUnavailableError as error:
            if attempt == MAX_TRIES or not _is_retryable(error):
                raise
            log.info("%s will be run again: %s", path.name, error)
            w.timeouts.sleep(min(2.0 ** (attempt - 1), 8.0))
    raise AssertionError  # the loop returns or raises


def _run_job(w: Warehouse, sql: str, config: bigquery.QueryJobConfig, *, name: str) -> _Rows:
    with translated_errors("starting a query", sql=name):
        job = w.client.query(sql, job_config=config, location=w.location, job_retry=None, **w.call)
    with w.under_way(job), translated_errors("running a query", sql=name, job_id=job.job_id):
        try:
            return job.result(retry=w.retry, timeout=w.timeouts.query, job_retry=None)
        except TimeoutError:
            w.cancel(job)
            raise
        finally:
            count_job(job)


def _is_retryable(error: ConvergenceError) -> bool:
    # Without a reason it was the way to BigQuery that failed, and its own retries are used up.
    return "reason" in error.details and error.details["reason"] not in SLOW_REASONS

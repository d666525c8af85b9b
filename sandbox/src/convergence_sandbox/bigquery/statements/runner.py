"""One statement: which kind it is, its transaction, and its result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import duckdb
from sqlglot import exp

from convergence_sandbox.bigquery.database.duckdb_errors import is_decimal_overflow, translated
from convergence_sandbox.bigquery.database.storage import Storage
from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query, not_implemented
from convergence_sandbox.bigquery.resources import partitions
from convergence_sandbox.bigquery.resources.catalog import Catalog, Session
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.reading import StoredRows, read_rows
from convergence_sandbox.bigquery.rows.result import QueryResult, Rows
from convergence_sandbox.bigquery.rows.streams import Streams
from convergence_sandbox.bigquery.rows.writes import Staged, write_rows
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.dialect import parse
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.output import compile_query, fetch_sql, reject_null_elements
from convergence_sandbox.bigquery.sql.select import Query
from convergence_sandbox.bigquery.sql.types import quote, to_schema
from convergence_sandbox.bigquery.statements import altering, ddl, dml, merging
from convergence_sandbox.bigquery.statements.estimate import billed_bytes, bytes_processed
from convergence_sandbox.bigquery.statements.request import QueryRequest
from convergence_sandbox.bigquery.statements.statement_job import StatementJob

_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)
_WRITES: dict[type[exp.Expr], Callable[[StatementJob, exp.Expr], QueryResult]] = {
    exp.Insert: dml.run_insert,
    exp.Update: dml.run_update,
    exp.Delete: dml.run_delete,
    exp.Merge: merging.run_merge,
    exp.TruncateTable: dml.run_truncate,
    exp.Create: ddl.run_create,
    exp.Drop: altering.run_drop,
    exp.Alter: altering.run_alter,
}


_INGESTION_NAMES = "_PARTITION_LOAD_TIME', '_PARTITIONDATE', '_PARTITIONTIME"


class StatementRunner:
    """Runs the statements of one request.

    Attributes:
        variables: script variables by lower-case name, as literals.
        temporary: the script's temporary tables by lower-case name.
    """

    def __init__(
        self,
        storage: Storage,
        catalog: Catalog,
        streams: Streams | None,
        request: QueryRequest,
        parameters: Mapping[str, Expr],
        *,
        now: dt.datetime,
    ) -> None:
        self.storage = storage
        self.catalog = catalog
        self._streams = streams
        self._request = request
        self._parameters = parameters
        self._now = now
        self._staged: str | None = None
        self.variables: dict[str, Expr] = {}
        self.temporary: dict[str, TableMeta] = {}

    def run_standalone(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> QueryResult:
        """Run a statement in a transaction of its own.

        A statement whose decimals overflow DuckDB's 38 digits is run again in exact mode.
        """
        node = parse(sql)
        query = isinstance(node, _QUERIES)
        made = self._run_with_retry(cursor, node, sql, write=not query)
        if query and self._request.destination is not None and not self._request.dry_run:
            return self._deliver(cursor, made)
        return made

    def _run_with_retry(
        self, cursor: duckdb.DuckDBPyConnection, node: exp.Expr, sql: str, *, write: bool
    ) -> QueryResult:
        try:
            return self._attempt(cursor, node, sql, write=write, exact=False)
        except duckdb.Error as error:
            if not is_decimal_overflow(error):
                raise translated(error) from None
        try:
            return self._attempt(cursor, node, sql, write=write, exact=True)
        except duckdb.Error as error:
            raise translated(error) from None

    def _attempt(
        self,
        cursor: duckdb.DuckDBPyConnection,
        node: exp.Expr,
        sql: str,
        *,
        write: bool,
        exact: bool,
    ) -> QueryResult:
        try:
            with self.storage.transaction(cursor, write=write):
                made = self._run(Session(cursor, catalog=self.catalog), node, sql, exact=exact)
                self._stop_dry_run(made, write=write)
                return made
        except _DryRunError as ended:
            return ended.result

    def _stop_dry_run(self, made: QueryResult, *, write: bool) -> None:
        if write and self._request.dry_run:
            raise _DryRunError(made)

    def run_inside(self, session: Session, sql: str) -> QueryResult:
        """Run a statement in a transaction already begun, in exact mode from the start.

        A failed statement ends DuckDB's transaction, so there is no second try.
        """
        try:
            return self._run(session, parse(sql), sql, exact=True)
        except duckdb.Error as error:
            raise translated(error) from None

    def context(self, session: Session, *, exact: bool) -> Context:
        """Return a fresh compilation for this request."""
        request = self._request
        return Context(
            session.snapshot,
            request.project,
            dataset=request.default_dataset,
            parameters=self._parameters,
            variables=self.variables,
            exact=exact,
            now=self._now,
            temporary=self.temporary,
        )

    def _run(self, session: Session, node: exp.Expr, sql: str, *, exact: bool) -> QueryResult:
        context = self.context(session, exact=exact)
        if isinstance(node, _QUERIES):
            made = self._select(session, node, context)
        else:
            run = _WRITES.get(type(node))
            if run is None:
                raise not_implemented(f"statement {type(node).__name__.upper()}: {sql[:80]}")
            job = StatementJob(
                self.storage,
                session,
                context,
                dry_run=self._request.dry_run,
                streams=self._streams,
                temporary=self.temporary,
                sql=sql,
            )
            made = run(job, node)
            check_partition_filters(context)
        made.sql = sql
        made.referenced_tables = tuple(context.referenced)
        return made

    # --- queries ----------------------------------------------------------------------------

    def _select(self, session: Session, node: exp.Expr, context: Context) -> QueryResult:
        query = compile_query(node, context)
        check_partition_filters(context)
        size = bytes_processed(session.cursor, context.instances)
        limit = self._request.maximum_bytes_billed
        billed = billed_bytes(size, tables=len({one.meta.ref for one in context.instances}))
        if limit is not None and billed > limit:
            raise BigQueryError(
                f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required.",
                status=400,
                reason="bytesBilledLimitExceeded",
            )
        schema = to_schema([(one.name or "", one.type) for one in query.columns])
        made = QueryResult("SELECT", schema=schema, total_bytes_processed=size)
        if self._request.dry_run:
            # DuckDB binds the translation too, so that a dry run finds what a run would.
            session.cursor.execute(f"EXPLAIN {query.sql}").fetchall()
            return made
        if self._request.destination is not None:
            self._stage(session, query)
            return made
        rows = session.cursor.sql(fetch_sql(query)).to_arrow_table()
        reject_null_elements(rows, query.columns)
        made.data = Rows(rows, [one.type for one in query.columns])
        made.row_count = len(made.data)
        return made

    def _stage(self, session: Session, query: Query) -> None:
        """Put the rows in a temporary table, to be moved to the destination after."""
        name = self.storage.unique("stage")
        columns = ", ".join(
            f"c{index} AS {quote(one.name or '')}" for index, one in enumerate(query.columns, 1)
        )
        session.cursor.execute(
            f"CREATE TEMP TABLE {quote(name)} AS SELECT {columns} FROM ({query.sql}) AS q"
        )
        self._staged = name

    def _deliver(self, cursor: duckdb.DuckDBPyConnection, made: QueryResult) -> QueryResult:
        """Move the staged rows to the destination, in a transaction that only writes."""
        request, staged = self._request, self._staged
        if request.destination is None or staged is None:
            return made
        target = partitions.destination(request.destination)
        try:
            with self.storage.transaction(cursor, write=True):
                session = Session(cursor, catalog=self.catalog)
                rows = Staged(staged, made.schema, from_query=True)
                write_rows(session, target, rows, request.write_options(), storage=self.storage)
                _, total = read_rows(session, target, count=0)
        except duckdb.Error as error:
            raise translated(error) from None
        finally:
            self._staged = None
            cursor.execute(f"DROP TABLE IF EXISTS temp.{quote(staged)}")
        made.destination, made.row_count = request.destination, total
        made.data = StoredRows(self.storage, self.catalog, target, total)
        return made


class _DryRunError(Exception):
    """Raised to roll back what a dry run of DML or DDL did."""

    def __init__(self, result: QueryResult) -> None:
        super().__init__()
        self.result = result


def check_partition_filters(context: Context) -> None:
    """Reject a table that requires a partition filter and has none."""
    for one in context.instances:
        meta = one.meta
        if meta.require_partition_filter and not one.filtered:
            column = meta.partition_field or _INGESTION_NAMES
            ref = meta.ref
            raise invalid_query(
                f"Cannot query over table '{ref.project}.{ref.dataset}.{ref.table}' without a"
                f" filter over column(s) '{column}' that can be used for partition elimination"
            )

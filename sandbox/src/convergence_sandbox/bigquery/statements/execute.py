"""Running SQL: one statement or a script, its transaction, its result and where it goes."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from convergence_sandbox.bigquery.database.storage import Storage
from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.catalog import Catalog, Session
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.streams import Streams
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.sql.types import to_schema
from convergence_sandbox.bigquery.statements.estimate import row_width
from convergence_sandbox.bigquery.statements.interpreter import Interpreter
from convergence_sandbox.bigquery.statements.parameters import read_parameters
from convergence_sandbox.bigquery.statements.request import QueryRequest
from convergence_sandbox.bigquery.statements.runner import StatementRunner
from convergence_sandbox.bigquery.statements.scripts import is_script, split


class Executor:
    """Runs requests against one storage."""

    def __init__(self, storage: Storage, catalog: Catalog, streams: Streams | None) -> None:
        self._storage = storage
        self._catalog = catalog
        self._streams = streams

    def run(self, request: QueryRequest) -> QueryResult:
        """Run a statement or script to its end.

        Raises:
            BigQueryError: the error that BigQuery returns, or 501.
        """
        parameters = read_parameters(request.parameters, mode=request.parameter_mode)
        runner = StatementRunner(
            self._storage,
            self._catalog,
            self._streams,
            request,
            parameters,
            now=dt.datetime.now(dt.UTC),
        )
        if is_script(request.sql):
            if request.destination is not None:
                raise invalid("configuration.query.destinationTable cannot be set for scripts")
            with self._storage.connection() as cursor:
                return Interpreter(runner, cursor, request).run()
        statements = split(request.sql)
        if not statements:
            raise invalid("Query is empty")
        with self._storage.connection() as cursor:
            return runner.run_standalone(cursor, statements[0].sql)

    def row_width(self, session: Session, meta: TableMeta) -> int:
        """Return the average bytes of a row, by BigQuery's sizes of types."""
        return row_width(session.cursor, meta)

    def with_view_schema(
        self, session: Session, meta: TableMeta, *, safe: bool = False
    ) -> TableMeta:
        """Return a view with the schema of its query; tables as they are.

        Args:
            session: the transaction.
            meta: the table or view.
            safe: keep a view whose query no longer compiles, without a schema.
        """
        if not meta.is_view:
            return meta
        context = Context(session.snapshot, meta.ref.project)
        try:
            made = QueryCompiler(context).view(meta)
        except BigQueryError:
            if not safe:
                raise
            return meta
        columns = [(one.name or "", one.type) for one in made.columns]
        return replace(meta, schema=to_schema(columns))

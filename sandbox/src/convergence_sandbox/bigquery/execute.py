"""Running SQL: one statement or a script, its transaction, its result and where it goes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convergence_sandbox.bigquery.catalog import Catalog, Session
from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.estimate import row_width
from convergence_sandbox.bigquery.interpreter import Interpreter
from convergence_sandbox.bigquery.model import TableMeta, TableRef
from convergence_sandbox.bigquery.parameters import read_parameters
from convergence_sandbox.bigquery.result import QueryResult
from convergence_sandbox.bigquery.scripts import is_script, split
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.sql.types import to_schema
from convergence_sandbox.bigquery.statements import StatementRunner
from convergence_sandbox.bigquery.storage import Storage
from convergence_sandbox.bigquery.streams import Streams
from convergence_sandbox.bigquery.writes import WriteOptions


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query job's configuration.

    Attributes:
        sql: one statement or a script.
        project: the project of names without one.
        default_dataset: (project, dataset) of table names without one.
        parameters: `queryParameters` in REST form.
        parameter_mode: NAMED or POSITIONAL.
        dry_run: compile only; answers schema, tables and bytes.
        destination: the table to write, perhaps `table$20251125`; None keeps the rows.
        write_disposition: as in the job configuration.
        create_disposition: as in the job configuration.
        schema_update_options: as in the job configuration.
        options: partitioning and clustering of a destination to be made.
        maximum_bytes_billed: refuse a query that would process more.
    """

    sql: str
    project: str
    default_dataset: tuple[str, str] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()
    parameter_mode: str = "NAMED"
    dry_run: bool = False
    destination: TableRef | None = None
    write_disposition: str = "WRITE_EMPTY"
    create_disposition: str = "CREATE_IF_NEEDED"
    schema_update_options: Collection[str] = ()
    options: WriteOptions = field(default_factory=WriteOptions)
    maximum_bytes_billed: int | None = None

    def write_options(self) -> WriteOptions:
        """The options of the destination."""
        return replace(
            self.options,
            write=self.write_disposition,
            create=self.create_disposition,
            schema_updates=self.schema_update_options,
        ).checked()


class Executor:
    """Runs requests against one storage."""

    def __init__(self, storage: Storage, catalog: Catalog, streams: Streams | None) -> None:
        self._storage = storage
        self._catalog = catalog
        self._streams = streams

    def run(self, request: QueryRequest) -> QueryResult:
        """Run a statement or script to its end.

        Raises:
            BigQueryError: whatever BigQuery would answer, or 501.
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
            return runner.run_alone(cursor, statements[0].sql)

    def row_width(self, session: Session, meta: TableMeta) -> int:
        """The average bytes of a row, by BigQuery's sizes of types."""
        return row_width(session.cursor, meta)

    def with_view_schema(
        self, session: Session, meta: TableMeta, *, safe: bool = False
    ) -> TableMeta:
        """A view with the schema of its query; tables as they are.

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

"""A DML or DDL statement being run: its transaction, its compiler, its staged rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from convergence_sandbox.bigquery.database.storage import Storage, scalar
from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Session
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.streams import Streams
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.nodes import table_parts
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.sql.types import quote
from convergence_sandbox.bigquery.statements.estimate import bytes_processed

MATCHED_TWICE = "UPDATE/MERGE must match at most one source row for each target row"


@dataclass(slots=True)
class StatementJob:
    """One statement's means.

    Attributes:
        dry_run: compile and check, with no rows.
        streams: knows which tables have streamed rows; None where that does not matter.
        temporary: the script's temporary tables, to which DDL adds.
        sql: the statement's text.
    """

    storage: Storage
    session: Session
    context: Context
    dry_run: bool = False
    streams: Streams | None = None
    temporary: dict[str, TableMeta] = field(default_factory=dict)
    sql: str = ""

    def compiler(self) -> QueryCompiler:
        """Return a compiler for this statement."""
        return QueryCompiler(self.context)

    def target(self, node: exp.Expr) -> TableMeta:
        """Return the table that a statement names to be changed."""
        parts = table_parts(node)
        if len(parts) == 1 and parts[0].lower() in self.temporary:
            return self.temporary[parts[0].lower()]
        ref = self.context.table_ref(parts)
        meta = self.session.snapshot.table(ref)
        if meta.is_view:
            raise invalid_query(f"DML over table {ref} of type VIEW is not supported")
        self.context.referenced[ref] = None
        return meta

    def reject_streamed(self, meta: TableMeta, statement: str) -> None:
        """Reject changes to rows that are still in the streaming buffer, when so configured."""
        if self.streams is not None and self.streams.is_buffered(meta.physical):
            ref = meta.ref
            raise invalid_query(
                f"{statement} statement over table {ref.project}.{ref.dataset}.{ref.table} would"
                " affect rows in the streaming buffer, which is not supported"
            )

    def stage(self, sql: str) -> str:
        """Materialize a query in a temporary table; empty in a dry run."""
        name = quote(self.storage.unique("dml"))
        limit = " LIMIT 0" if self.dry_run else ""
        self.session.cursor.execute(
            f"CREATE TEMP TABLE {name} AS SELECT * FROM ({sql}) AS q{limit}"
        )
        return name

    def drop(self, name: str) -> None:
        """Drop a temporary table."""
        self.session.cursor.execute(f"DROP TABLE {name}")

    def count(self, sql: str) -> int:
        """Return a count."""
        return int(scalar(self.session.cursor, f"SELECT count(*) FROM {sql}") or 0)

    def mark(self, meta: TableMeta, sql: str) -> None:
        """Note the partitions that a query of partition ids gives."""
        rows = self.session.cursor.execute(sql).fetchall()
        partitions.mark_written(self.session.cursor, meta, {row[0] for row in rows})

    def mark_of(self, meta: TableMeta, rows: str) -> None:
        """Note the partitions of the stored rows whose numbers are `r` in `rows`."""
        key = partitions.partition_column(meta)
        column = None if key is None else f"target.{quote(key)}"
        self.mark(
            meta,
            f"SELECT DISTINCT {partitions.partition_id_sql(meta, column)}"
            f" FROM {tables.stored_name(meta)} AS target"
            f" WHERE target.rowid IN (SELECT r FROM {rows})",
        )

    def reject_twice(self, rows: str) -> None:
        """Reject rows of the target that are to be changed more than once."""
        if self.count(f"(SELECT r FROM {rows} GROUP BY r HAVING count(*) > 1) AS twice"):
            raise invalid_query(MATCHED_TWICE)

    def result(self, statement: str, meta: TableMeta, **counts: int) -> QueryResult:
        """Return the outcome with its counts."""
        stats = {"insertedRowCount": 0, "updatedRowCount": 0, "deletedRowCount": 0} | counts
        return QueryResult(
            statement,
            dml_stats=stats,
            affected_rows=sum(counts.values()),
            destination=meta.ref,
            total_bytes_processed=bytes_processed(self.session.cursor, self.context.instances),
        )

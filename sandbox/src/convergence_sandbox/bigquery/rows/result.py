"""What a query returns: schema, rows on demand, and the job's statistics.

Small results stay in memory. Large ones are written to an Arrow file and mapped, so that results
kept for paging do not add up to the process's memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rows.reading import StoredRows
from convergence_sandbox.bigquery.rows.wire import Wire, encode_rows
from convergence_sandbox.bigquery.sql.types import SqlType

IN_MEMORY_BYTES = 4 * 1024 * 1024


class Rows:
    """An immutable set of result rows, readable in pages."""

    def __init__(self, table: pa.Table, kinds: Sequence[SqlType]) -> None:
        self._kinds = tuple(kinds)
        self._table = table
        if table.nbytes > IN_MEMORY_BYTES:
            self._spill(table)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def page(
        self, start: int = 0, count: int | None = None, *, int64_timestamps: bool = True
    ) -> list[dict[str, Wire]]:
        """Return rows `start` to `start + count` in wire form."""
        part = self._table.slice(start, count)
        return encode_rows(part, self._kinds, int64_timestamps=int64_timestamps)

    def arrow(self, names: Sequence[str]) -> pa.Table:
        """Return all rows with these column names."""
        return self._table.rename_columns(list(names))

    def _spill(self, table: pa.Table) -> None:
        with tempfile.NamedTemporaryFile(prefix="result-", suffix=".arrow") as file:
            with pa.OSFile(file.name, "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
                out.write_table(table, max_chunksize=65_536)
            # The mapping outlives the name: the space is freed when the last reader goes.
            self._table = pa.ipc.open_file(pa.memory_map(file.name, "r")).read_all()


@dataclass(slots=True)
class QueryResult:
    """The outcome of one statement or script.

    Attributes:
        statement_type: BigQuery's name, such as `SELECT`, `MERGE`, `SCRIPT`.
        schema: the columns; empty for DDL and DML.
        row_count: rows of the result.
        dml_stats: `insertedRowCount`, `updatedRowCount`, `deletedRowCount` as integers, for DML.
        affected_rows: the DML counts' sum, `numDmlAffectedRows`; None when not DML.
        referenced_tables: tables read, views resolved.
        total_bytes_processed: an estimate by column widths and the partitions a filter leaves.
        destination: the table written, for DDL, DML and queries with a destination.
        ddl_operation: `CREATE`, `SKIP`, `REPLACE`, `ALTER`, `DROP`, for DDL.
        child_results: the statements of a script, in the order they ran.
    """

    statement_type: str
    schema: Schema = field(default_factory=Schema)
    row_count: int = 0
    dml_stats: dict[str, int] | None = None
    affected_rows: int | None = None
    referenced_tables: tuple[TableRef, ...] = ()
    total_bytes_processed: int = 0
    destination: TableRef | None = None
    ddl_operation: str | None = None
    child_results: tuple[QueryResult, ...] = ()
    sql: str = ""
    data: Rows | StoredRows | None = None

    def rows(
        self, start: int = 0, n: int | None = None, *, int64_timestamps: bool = True
    ) -> list[dict[str, Wire]]:
        """Return rows `start` to `start + n` in BigQuery's wire form, `{"f": [{"v": …}]}`."""
        if self.data is None:
            return []
        return self.data.page(start, n, int64_timestamps=int64_timestamps)

    def arrow(self) -> pa.Table:
        """The rows that no one gave a destination, as they are fetched, under their names."""
        if not isinstance(self.data, Rows):
            return pa.table({})
        return self.data.arrow([field.name for field in self.schema.fields])

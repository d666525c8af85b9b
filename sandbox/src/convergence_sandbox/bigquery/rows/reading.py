"""Rows of a stored table in wire form, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convergence_sandbox.bigquery.database.storage import Storage, scalar
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Catalog, Session
from convergence_sandbox.bigquery.resources.partitions import Destination
from convergence_sandbox.bigquery.rows.wire import Wire, encode_rows, output_sql
from convergence_sandbox.bigquery.sql.types import of_field, quote


def read_rows(
    session: Session,
    target: Destination,
    *,
    start: int = 0,
    count: int | None = None,
    selected: Sequence[str] = (),
    int64_timestamps: bool = True,
) -> tuple[list[dict[str, Wire]], int]:
    """Return rows `start` to `start + count` of a table or partition, and how many it has."""
    meta = tables.live_table(session, target.ref)
    rows = tables.stored_name(meta)
    if target.partition is not None:
        rows += f" WHERE {partitions.partition_condition(meta, target.partition)}"
    total = int(scalar(session.cursor, f"SELECT count(*) FROM {rows}"))
    requested = {name.lower() for name in selected}
    fields = [one for one in meta.schema.fields if not requested or one.name.lower() in requested]
    if not fields or count == 0:
        return [], total
    kinds = [of_field(one) for one in fields]
    columns = ", ".join(
        f"{output_sql(kind, quote(one.name))} AS {quote(one.name)}"
        for one, kind in zip(fields, kinds, strict=True)
    )
    limit = "" if count is None else f" LIMIT {int(count)}"
    page = session.cursor.sql(
        f"SELECT {columns} FROM {rows}{limit} OFFSET {int(start)}"
    ).to_arrow_table()
    return encode_rows(page, kinds, int64_timestamps=int64_timestamps), total


@dataclass(frozen=True, slots=True)
class StoredRows:
    """A query's rows where they were written: the destination is read when they are requested."""

    storage: Storage
    catalog: Catalog
    target: Destination
    total: int

    def __len__(self) -> int:
        return self.total

    def page(
        self, start: int = 0, count: int | None = None, *, int64_timestamps: bool = True
    ) -> list[dict[str, Wire]]:
        """Return rows `start` to `start + count` of the destination as it is now."""
        with self.storage.connection() as cursor, self.storage.transaction(cursor, write=False):
            session = Session(cursor, catalog=self.catalog)
            rows, _ = read_rows(
                session, self.target, start=start, count=count, int64_timestamps=int64_timestamps
            )
            return rows

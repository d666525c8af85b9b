"""Copy jobs: the rows of tables, or of single partitions, into another table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convergence_sandbox.bigquery.database.storage import Storage
from convergence_sandbox.bigquery.errors import invalid, not_implemented
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Session
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.resources.partitions import Destination
from convergence_sandbox.bigquery.rows.writes import Staged, WriteOptions, write_rows
from convergence_sandbox.bigquery.sql.types import of_field, quote


def copy_rows(
    session: Session,
    sources: Sequence[Destination],
    target: Destination,
    options: WriteOptions,
    *,
    storage: Storage,
) -> int:
    """Copy within the session's transaction; a table that is made takes the source's layout.

    Raises:
        BigQueryError: 404 for a missing table, 400 for sources whose columns differ or that do
            not fit, 501 for whole tables partitioned by ingestion time.
    """
    metas = [tables.live_table(session, source.ref) for source in sources]
    first = metas[0]
    columns = [(one.name, of_field(one)) for one in first.schema.fields]
    for meta, source in zip(metas, sources, strict=True):
        if [(one.name, of_field(one)) for one in meta.schema.fields] != columns:
            raise invalid(f"The schemas of {first.ref} and {meta.ref} differ")
        if meta.by_ingestion and source.partition is None:
            raise not_implemented(f"copying {meta.ref}, which is partitioned by ingestion time")
    name = storage.unique("copy")
    selects = [_select_rows(meta, source) for meta, source in zip(metas, sources, strict=True)]
    session.cursor.execute(f"CREATE TEMP TABLE {quote(name)} AS {' UNION ALL '.join(selects)}")
    try:
        shaped = replace(
            options,
            time_partitioning=first.time_partitioning if target.partition is None else None,
            range_partitioning=first.range_partitioning if target.partition is None else None,
            clustering=first.clustering,
            description=first.description,
        )
        layout = options if session.snapshot.find(target.ref) else shaped
        return write_rows(session, target, Staged(name, first.schema), layout, storage=storage)
    finally:
        session.cursor.execute(f"DROP TABLE temp.{quote(name)}")


def _select_rows(meta: TableMeta, source: Destination) -> str:
    columns = ", ".join(quote(one.name) for one in meta.schema.fields) or "*"
    where = (
        ""
        if source.partition is None
        else f" WHERE {partitions.partition_condition(meta, source.partition)}"
    )
    return f"SELECT {columns} FROM {tables.stored_name(meta)}{where}"

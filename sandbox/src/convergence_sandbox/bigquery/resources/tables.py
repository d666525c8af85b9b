"""Tables as DuckDB keeps them: made, widened, replaced and dropped next to their catalog entry."""

from __future__ import annotations

from dataclasses import replace

from convergence_sandbox.bigquery.database.storage import Storage
from convergence_sandbox.bigquery.errors import duplicate, invalid
from convergence_sandbox.bigquery.resources.catalog import Session, now_ms
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import TableMeta, TableRef, checked_table_id
from convergence_sandbox.bigquery.resources.partitions import INGESTION_COLUMN
from convergence_sandbox.bigquery.sql.types import SqlType, of_field, quote, stored_names

_PARTITION_TYPES = {
    "HOUR": {"TIMESTAMP", "DATETIME"},
    "DAY": {"DATE", "TIMESTAMP", "DATETIME"},
    "MONTH": {"DATE", "TIMESTAMP", "DATETIME"},
    "YEAR": {"DATE", "TIMESTAMP", "DATETIME"},
}
_CLUSTERABLE = {
    "STRING",
    "INTEGER",
    "NUMERIC",
    "BIGNUMERIC",
    "DATE",
    "DATETIME",
    "TIMESTAMP",
    "BOOLEAN",
}


def stored_name(meta: TableMeta) -> str:
    """Return the DuckDB name of the table's rows."""
    return f"{'temp' if meta.is_temporary else 'data'}.{quote(meta.physical)}"


def check_table(meta: TableMeta) -> None:
    """Reject partitioning, clustering or options that BigQuery would reject."""
    checked_table_id(meta.ref.table)
    if meta.is_view:
        if meta.schema.fields or meta.is_partitioned or meta.clustering:
            raise invalid("Schema, partitioning and clustering cannot be set for a view.")
        return
    if meta.time_partitioning is not None and meta.range_partitioning is not None:
        raise invalid("A table cannot be partitioned by both time and range.")
    if meta.require_partition_filter and not meta.is_partitioned:
        raise invalid("require_partition_filter can only be set on a partitioned table.")
    _check_partition_field(meta)
    _check_clustering(meta)


def _check_partition_field(meta: TableMeta) -> None:
    name = meta.partition_field
    if name is None:
        return
    field = meta.schema.find(name)
    if field is None:
        raise invalid(f"The field specified for partitioning cannot be found in the schema: {name}")
    time = meta.time_partitioning
    allowed = _PARTITION_TYPES[time.type] if time is not None else {"INTEGER"}
    if field.type not in allowed or field.mode == "REPEATED":
        raise invalid(
            f"The field specified for partitioning {name} has type {field.type} and mode"
            f" {field.mode}; it can be one of {', '.join(sorted(allowed))}, not REPEATED"
        )


def _check_clustering(meta: TableMeta) -> None:
    if len(meta.clustering) > 4:
        raise invalid("Too many clustering columns: at most 4 are allowed")
    for name in meta.clustering:
        field = meta.schema.find(name)
        if field is None:
            raise invalid(
                f"The field specified for clustering cannot be found in the schema: {name}"
            )
        if field.type not in _CLUSTERABLE or field.mode == "REPEATED":
            raise invalid(f"Field {name} of type {field.type} cannot be a clustering column")


def create_table(session: Session, meta: TableMeta, *, storage: Storage) -> TableMeta:
    """Make a new table or view, its dataset's default expirations applied.

    Raises:
        BigQueryError: 404 for the dataset, 409 for the table, 400 for an invalid definition.
    """
    dataset = session.snapshot.dataset(meta.ref.project, meta.ref.dataset)
    if session.snapshot.find(meta.ref) is not None:
        raise duplicate("Table", str(meta.ref))
    check_table(meta)
    expiry, partition_expiry = (
        dataset.default_table_expiration_ms,
        dataset.default_partition_expiration_ms,
    )
    meta = replace(meta, created_ms=now_ms())
    time = meta.time_partitioning
    if time is not None and time.expiration_ms is None and partition_expiry is not None:
        meta = replace(meta, time_partitioning=replace(time, expiration_ms=partition_expiry))
    elif expiry is not None and meta.expiration_ms is None and not meta.is_view:
        meta = replace(meta, expiration_ms=meta.created_ms + expiry)
    gone = session.snapshot.tables.get(meta.ref)
    if gone is not None:
        drop_table(session, gone)
    return session.put_table(create_rows(session, meta, storage=storage))


def create_rows(session: Session, meta: TableMeta, *, storage: Storage) -> TableMeta:
    """Give the table new, empty storage; views have none."""
    if meta.is_view:
        return meta
    meta = replace(meta, physical=storage.unique("t"))
    columns = [f"{quote(field.name)} {of_field(field).duck}" for field in meta.schema.fields]
    if meta.by_ingestion:
        columns.append(f"{quote(INGESTION_COLUMN)} TIMESTAMPTZ")
    # DuckDB has no table without columns; BigQuery does.
    listed = ", ".join(columns or ["_none INT"])
    keyword = "TEMP TABLE" if meta.is_temporary else "TABLE"
    session.cursor.execute(f"CREATE {keyword} {stored_name(meta)} ({listed})")
    return meta


def drop_rows(session: Session, meta: TableMeta) -> None:
    """Drop the storage and what is known of its partitions."""
    if meta.is_view:
        return
    session.cursor.execute(f"DROP TABLE IF EXISTS {stored_name(meta)}")
    session.cursor.execute("DELETE FROM meta.partitions WHERE physical = ?", [meta.physical])


def drop_table(session: Session, meta: TableMeta) -> None:
    """Drop a table or view with its rows."""
    drop_rows(session, meta)
    session.forget_table(meta.ref)


def live_table(session: Session, ref: TableRef) -> TableMeta:
    """Return a table that holds rows.

    Raises:
        BigQueryError: 404 when missing, 400 when it is a view.
    """
    meta = session.snapshot.table(ref)
    if meta.is_view:
        raise invalid(f"Cannot write to or read rows of {ref}: it is a view")
    return meta


def widen(session: Session, meta: TableMeta, schema: Schema, *, storage: Storage) -> TableMeta:
    """Bring the stored columns to `schema`, which `evolution` has approved.

    A table without columns gets new storage; others are altered in place, nested fields by
    rewriting the column that holds them.
    """
    if schema == meta.schema:
        return meta
    if not meta.schema.fields:
        drop_rows(session, meta)
        made = create_rows(session, replace(meta, schema=schema), storage=storage)
        return session.put_table(made)
    for field in schema.fields:
        old, kind = meta.schema.find(field.name), of_field(field)
        if old is None:
            session.cursor.execute(
                f"ALTER TABLE {stored_name(meta)} ADD COLUMN {quote(field.name)} {kind.duck}"
            )
        elif of_field(old) != kind:
            change = reshape_sql(of_field(old), kind, quote(field.name))
            session.cursor.execute(
                f"ALTER TABLE {stored_name(meta)} ALTER COLUMN {quote(field.name)}"
                f" TYPE {kind.duck} USING {change}"
            )
    return session.put_table(replace(meta, schema=schema))


def reshape_sql(old: SqlType, new: SqlType, sql: str, *, depth: int = 0) -> str:
    """Return the DuckDB expression that gives a stored value the fields of a wider type."""
    if old == new:
        return sql
    if new.element is not None and old.element is not None:
        name = f"w{depth}"
        inner = reshape_sql(old.element, new.element, name, depth=depth + 1)
        return f"list_transform({sql}, lambda {name}: {inner})"
    if new.kind == old.kind == "STRUCT":
        return _reshape_struct(old, new, sql, depth=depth)
    return f"CAST({sql} AS {new.duck})"


def _reshape_struct(old: SqlType, new: SqlType, sql: str, *, depth: int) -> str:
    had = {
        name.lower(): (name, kind)
        for name, (_, kind) in zip(stored_names(old), old.fields, strict=True)
    }
    parts = []
    for name, (_, kind) in zip(stored_names(new), new.fields, strict=True):
        if name.lower() in had:
            stored_name, old_kind = had[name.lower()]
            value = reshape_sql(old_kind, kind, f"({sql}).{quote(stored_name)}", depth=depth)
        else:
            value = f"CAST(NULL AS {kind.duck})"
        parts.append(f"{quote(name)} := {value}")
    return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"

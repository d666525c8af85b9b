"""Rows into tables: dispositions, schema options, and the atomic replace of one partition.

Rows are first staged in a temporary DuckDB table, checked there, and moved in one transaction. A
reader therefore sees the old table or partition or the new one, never a mixture.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from convergence_sandbox.bigquery.database.storage import Storage, scalar
from convergence_sandbox.bigquery.errors import BigQueryError, invalid, not_found, not_implemented
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.catalog import Session
from convergence_sandbox.bigquery.resources.evolution import widened_schema
from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.resources.partitioning import RangePartitioning, TimePartitioning
from convergence_sandbox.bigquery.resources.partitions import INGESTION_COLUMN, Destination
from convergence_sandbox.bigquery.sql.types import of_field, quote, text

WRITE_DISPOSITIONS = ("WRITE_TRUNCATE", "WRITE_APPEND", "WRITE_EMPTY")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a job writes its destination; names and values are those of the job configuration."""

    write: str = "WRITE_APPEND"
    create: str = "CREATE_IF_NEEDED"
    schema_updates: Collection[str] = ()
    time_partitioning: TimePartitioning | None = None
    range_partitioning: RangePartitioning | None = None
    clustering: tuple[str, ...] = ()
    description: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    expiration_ms: int | None = None

    def checked(self) -> WriteOptions:
        """Itself, its dispositions known to BigQuery."""
        if self.write == "WRITE_TRUNCATE_DATA":
            raise not_implemented("writeDisposition WRITE_TRUNCATE_DATA")
        if self.write not in WRITE_DISPOSITIONS:
            raise invalid(f"Invalid value for writeDisposition: {self.write} is not a valid value")
        if self.create not in {"CREATE_IF_NEEDED", "CREATE_NEVER"}:
            raise invalid(
                f"Invalid value for createDisposition: {self.create} is not a valid value"
            )
        return self


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows waiting in a temporary DuckDB table whose columns are those of `schema`.

    `from_query` says that the schema is a query's, which has no REQUIRED and no descriptions.
    """

    name: str
    schema: Schema
    from_query: bool = False


def write_rows(
    session: Session,
    target: Destination,
    staged: Staged,
    options: WriteOptions,
    *,
    storage: Storage,
) -> int:
    """Move staged rows into their destination and return their number.

    Raises:
        BigQueryError: the table is missing or not empty where the dispositions forbid it, the
            schema does not fit, or rows break REQUIRED or the partition decorator.
    """
    meta = _prepared(session, target, staged, options, storage=storage)
    _check_rows(session, meta, staged)
    if target.partition is not None:
        _check_partition(session, meta, target.partition, staged)
    if options.write == "WRITE_TRUNCATE":
        _clear(session, meta, target.partition)
    touched = _insert(session, meta, staged, target.partition)
    if target.partition is not None:
        touched.add(target.partition)
    elif options.write == "WRITE_TRUNCATE" and not meta.is_partitioned:
        touched.add("")
    partitions.mark_written(session.cursor, meta, touched)
    return int(scalar(session.cursor, f"SELECT count(*) FROM {quote(staged.name)}"))


def _prepared(
    session: Session,
    target: Destination,
    staged: Staged,
    options: WriteOptions,
    *,
    storage: Storage,
) -> TableMeta:
    session.snapshot.dataset(target.ref.project, target.ref.dataset)
    meta = session.snapshot.find(target.ref)
    if meta is None:
        if options.create == "CREATE_NEVER":
            raise not_found("Table", str(target.ref))
        return tables.create_table(session, _new_table(target, staged, options), storage=storage)
    meta = tables.live_table(session, target.ref)
    _check_layout(meta, options)
    if options.write == "WRITE_EMPTY" and not _is_empty(session, meta, target.partition):
        raise BigQueryError(f"Already Exists: Table {target.ref}", status=409, reason="duplicate")
    if options.write == "WRITE_TRUNCATE" and target.partition is None:
        return _overwritten(session, meta, staged, options, storage=storage)
    schema = widened_schema(meta, staged.schema, options=options.schema_updates)
    return tables.widen(session, meta, schema, storage=storage)


def _new_table(target: Destination, staged: Staged, options: WriteOptions) -> TableMeta:
    time = options.time_partitioning
    if target.partition is not None and time is None and options.range_partitioning is None:
        # A load into t$20251125 of a table not there yet makes an ingestion-time table.
        time = TimePartitioning("DAY")
    return TableMeta(
        target.ref,
        schema=staged.schema,
        time_partitioning=time,
        range_partitioning=options.range_partitioning,
        clustering=options.clustering,
        description=options.description,
        labels=options.labels,
        expiration_ms=options.expiration_ms,
    )


def _check_layout(meta: TableMeta, options: WriteOptions) -> None:
    """A job that names partitioning or clustering must name what the table has."""
    requested_time, requested_range = options.time_partitioning, options.range_partitioning
    if requested_time is not None and (
        meta.time_partitioning is None
        or (requested_time.type, requested_time.field)
        != (meta.time_partitioning.type, meta.time_partitioning.field)
    ):
        raise invalid(f"Incompatible table partitioning specification for table {meta.ref}")
    if requested_range is not None and requested_range != meta.range_partitioning:
        raise invalid(f"Incompatible table partitioning specification for table {meta.ref}")
    if (
        options.clustering
        and options.clustering != meta.clustering
        and (options.write != "WRITE_TRUNCATE")
    ):
        raise invalid(f"Incompatible clustering specification for table {meta.ref}")


def _is_empty(session: Session, meta: TableMeta, partition: str | None) -> bool:
    where = (
        "" if partition is None else (f" WHERE {partitions.partition_condition(meta, partition)}")
    )
    return not scalar(session.cursor, f"SELECT count(*) FROM {tables.stored_name(meta)}{where}")


def _overwritten(
    session: Session, meta: TableMeta, staged: Staged, options: WriteOptions, *, storage: Storage
) -> TableMeta:
    """Return the table with the rows' schema instead of its own, as WRITE_TRUNCATE does.

    A query's schema has no descriptions and no REQUIRED, so the table loses its own.
    """
    made = replace(meta, schema=staged.schema, clustering=options.clustering or meta.clustering)
    tables.check_table(made)
    if made == meta:
        return meta
    tables.drop_rows(session, meta)
    return session.put_table(tables.create_rows(session, made, storage=storage))


def _check_rows(session: Session, meta: TableMeta, staged: Staged) -> None:
    """REQUIRED and parameterized types, for rows that a query made (others were checked)."""
    if not staged.from_query:
        return
    for one in staged.schema.fields:
        column = meta.schema.find(one.name)
        if column is not None:
            check_column(session, column, quote(one.name), quote(staged.name))


def check_column(session: Session, column: Field, value: str, rows: str) -> None:
    """Reject NULL in a REQUIRED column, NULL in an array, or a value over the type's limits."""
    if column.mode == "REQUIRED" and scalar(
        session.cursor, f"SELECT count(*) FROM {rows} WHERE {value} IS NULL"
    ):
        raise invalid(f"Required field {column.name} cannot be null", location=column.name)
    if column.mode == "REPEATED":
        nulls = f"SELECT count(*) FROM {rows} WHERE list_count({value}) <> len({value})"
        if scalar(session.cursor, nulls):
            raise invalid(
                f"Array cannot have a null element; error in writing field {column.name}",
                location=column.name,
            )
        return
    limit = column.max_length
    if limit is not None:
        size = "length" if column.type == "STRING" else "octet_length"
        if scalar(session.cursor, f"SELECT count(*) FROM {rows} WHERE {size}({value}) > {limit}"):
            raise invalid(
                f"Field {column.name}: {column.type}({limit}) has maximum length {limit}",
                location=column.name,
            )
    if column.precision is not None and column.type == "NUMERIC":
        whole = column.precision - (column.scale or 0)
        over = f"abs(round({value}, {column.scale or 0})) >= CAST(1e{whole} AS DECIMAL(38,9))"
        if scalar(session.cursor, f"SELECT count(*) FROM {rows} WHERE {over}"):
            raise invalid(
                f"Field {column.name}: value is out of range of"
                f" NUMERIC({column.precision}, {column.scale or 0})",
                location=column.name,
            )


def stored_sql(column: Field, value: str) -> str:
    """Return the expression that stores a value in a column: scaled, and never a NULL array."""
    if column.mode == "REPEATED":
        return f"coalesce({value}, [])"
    if column.precision is not None and column.type == "NUMERIC":
        return f"CAST(round({value}, {column.scale or 0}) AS DECIMAL(38,9))"
    return value


def _check_partition(session: Session, meta: TableMeta, partition: str, staged: Staged) -> None:
    condition = partitions.partition_condition(meta, partition)
    if meta.by_ingestion:
        return
    outside = f"SELECT count(*) FROM {quote(staged.name)} WHERE ({condition}) IS NOT TRUE"
    if staged.schema.find(meta.partition_field or "") is None:
        raise invalid(f"The rows have no partitioning column {meta.partition_field}")
    if scalar(session.cursor, outside):
        raise invalid(
            "Some rows belong to different partitions rather than destination partition"
            f" {meta.ref.table}${partition}"
        )


def _clear(session: Session, meta: TableMeta, partition: str | None) -> None:
    """Empty the table or the partition before its new rows come."""
    if partition is not None:
        condition = partitions.partition_condition(meta, partition)
        session.cursor.execute(f"DELETE FROM {tables.stored_name(meta)} WHERE {condition}")
        return
    session.cursor.execute(f"DELETE FROM {tables.stored_name(meta)}")
    session.cursor.execute("DELETE FROM meta.partitions WHERE physical = ?", [meta.physical])


def _insert(session: Session, meta: TableMeta, staged: Staged, partition: str | None) -> set[str]:
    """Move the rows; returns the partitions they went to."""
    if not staged.schema.fields:
        return set()
    names, values = [], []
    for one in staged.schema.fields:
        column = meta.schema.find(one.name)
        if column is None:
            raise invalid(f"no such field: {one.name}.", location=one.name)
        names.append(quote(column.name))
        kind, supplied = of_field(column), of_field(one)
        value = quote(one.name)
        if kind != supplied:
            value = tables.reshape_sql(supplied, kind, value)
        values.append(stored_sql(column, value))
    for column in meta.schema.fields:
        if column.mode == "REPEATED" and staged.schema.find(column.name) is None:
            names.append(quote(column.name))
            values.append("[]")
    if meta.by_ingestion:
        names.append(quote(INGESTION_COLUMN))
        values.append(ingestion_moment(meta, partition))
    rows = quote(staged.name)
    session.cursor.execute(
        f"INSERT INTO {tables.stored_name(meta)} ({', '.join(names)})"
        f" SELECT {', '.join(values)} FROM {rows}"
    )
    return _touched(session, meta, rows, values[-1] if meta.by_ingestion else None)


def _touched(session: Session, meta: TableMeta, rows: str, moment: str | None) -> set[str]:
    sql = partitions.partition_id_sql(meta, moment)
    if not meta.is_partitioned:
        sql += " LIMIT 1"
        return {
            row[0] for row in session.cursor.execute(f"SELECT '' FROM {rows} LIMIT 1").fetchall()
        }
    return {
        row[0] for row in session.cursor.execute(f"SELECT DISTINCT {sql} FROM {rows}").fetchall()
    }


def ingestion_moment(meta: TableMeta, partition: str | None) -> str:
    """Return the `_PARTITIONTIME` of rows that arrive now, or in the named partition."""
    if partition is not None:
        return f"TIMESTAMPTZ {text(partitions.time_bounds(meta, partition)[0] + '+00')}"
    unit = (meta.time_partitioning.type if meta.time_partitioning else "DAY").lower()
    return f"date_trunc('{unit}', now())"

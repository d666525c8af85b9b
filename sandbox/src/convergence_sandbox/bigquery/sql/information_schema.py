"""INFORMATION_SCHEMA: TABLES, COLUMNS, COLUMN_FIELD_PATHS, PARTITIONS, VIEWS, SCHEMATA.

Built from the catalog while compiling; only PARTITIONS reads the tables, to count their rows.
https://cloud.google.com/bigquery/docs/information-schema-intro
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.fields import Field
from convergence_sandbox.bigquery.resources.model import DatasetMeta, TableMeta
from convergence_sandbox.bigquery.resources.partitions import partition_id_sql
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.literals import literal_sql
from convergence_sandbox.bigquery.sql.types import (
    INT64,
    SIMPLE,
    STRING,
    TIMESTAMP,
    SqlType,
    of_field,
    quote,
    text,
)

Columns = tuple[tuple[str, SqlType], ...]


def _columns(listed: str) -> Columns:
    return tuple(
        (keyword.partition(":")[0], SIMPLE[keyword.partition(":")[2] or "STRING"])
        for keyword in listed.split()
    )


_TABLES = _columns(
    "table_catalog table_schema table_name table_type is_insertable_into is_typed"
    " creation_time:TIMESTAMP ddl"
)
_COLUMNS = _columns(
    "table_catalog table_schema table_name column_name ordinal_position:INT64"
    " is_nullable data_type is_generated is_hidden is_system_defined"
    " is_partitioning_column clustering_ordinal_position:INT64 column_default"
)
_PATHS = _columns(
    "table_catalog table_schema table_name column_name field_path data_type description"
)
_VIEWS = _columns(
    "table_catalog table_schema table_name view_definition check_option use_standard_sql"
)
_PARTITIONS = _columns(
    "table_catalog table_schema table_name partition_id total_rows:INT64"
    " total_logical_bytes:INT64 last_modified_time:TIMESTAMP storage_tier"
)
_SCHEMATA = _columns(
    "catalog_name schema_name location creation_time:TIMESTAMP last_modified_time:TIMESTAMP"
)


def view_sql(context: Context, parts: list[str]) -> tuple[str, Columns]:
    """Return the DuckDB query and columns of an INFORMATION_SCHEMA view.

    Args:
        context: the compilation.
        parts: the reference's names; the last one is `INFORMATION_SCHEMA.<VIEW>`.
    """
    view = parts[-1].partition(".")[2].upper()
    if view == "SCHEMATA":
        project = (
            parts[0] if len(parts) > 1 and not parts[0].startswith("region-") else context.project
        )
        found = [meta for key, meta in context.snapshot.datasets.items() if key[0] == project]
        return _values_sql(_SCHEMATA, (_schema_row(one) for one in found)), _SCHEMATA
    if view not in _MAKERS:
        raise not_implemented(f"INFORMATION_SCHEMA.{view}")
    project, dataset = _dataset(context, parts, view)
    context.snapshot.dataset(project, dataset)
    metas = context.snapshot.tables_of(project, dataset)
    if view == "PARTITIONS":
        return _partitions_sql(metas), _PARTITIONS
    columns, rows = _MAKERS[view]
    return _values_sql(columns, (row for meta in metas for row in rows(context, meta))), columns


def _dataset(context: Context, parts: list[str], view: str) -> tuple[str, str]:
    if len(parts) == 3:
        return parts[0], parts[1]
    if len(parts) == 2:
        if parts[0].lower().startswith("region-"):
            raise not_implemented(f"INFORMATION_SCHEMA.{view} of a region")
        return context.project, parts[0]
    if context.dataset is not None:
        return context.dataset
    raise invalid_query(f"INFORMATION_SCHEMA.{view} must be qualified with a dataset")


def _values_sql(columns: Columns, rows: Iterable[tuple[Any, ...]]) -> str:
    made = [
        "("
        + ", ".join(literal_sql(value, kind) for value, (_, kind) in zip(row, columns, strict=True))
        + ")"
        for row in rows
    ]
    names = ", ".join(f"c{index}" for index in range(1, len(columns) + 1))
    if not made:
        nulls = ", ".join(
            f"CAST(NULL AS {kind.duck}) AS c{index}" for index, (_, kind) in enumerate(columns, 1)
        )
        return f"SELECT {nulls} WHERE FALSE"
    return f"SELECT {names} FROM (VALUES {', '.join(made)}) AS v({names})"


def _schema_row(meta: DatasetMeta) -> tuple[Any, ...]:
    return (
        meta.project,
        meta.dataset,
        meta.location,
        meta.created_ms * 1000,
        meta.modified_ms * 1000,
    )


def _table_rows(_: Context, meta: TableMeta) -> Iterator[tuple[Any, ...]]:
    ref = meta.ref
    kind = "VIEW" if meta.is_view else "BASE TABLE"
    yield (
        ref.project,
        ref.dataset,
        ref.table,
        kind,
        "NO" if meta.is_view else "YES",
        "NO",
        meta.created_ms * 1000,
        None,
    )


def _view_rows(_: Context, meta: TableMeta) -> Iterator[tuple[Any, ...]]:
    if meta.is_view:
        ref = meta.ref
        yield (ref.project, ref.dataset, ref.table, meta.view_query, None, "YES")


def _fields(context: Context, meta: TableMeta) -> tuple[Field, ...]:
    if not meta.is_view:
        return meta.schema.fields
    from convergence_sandbox.bigquery.sql.select import QueryCompiler
    from convergence_sandbox.bigquery.sql.types import to_schema

    inner = Context(context.snapshot, meta.ref.project, now=context.now)
    made = QueryCompiler(inner).view(meta)
    return to_schema([(one.name or "", one.type) for one in made.columns]).fields


def _column_rows(context: Context, meta: TableMeta) -> Iterator[tuple[Any, ...]]:
    ref = meta.ref
    clustered = {name.lower(): index for index, name in enumerate(meta.clustering, 1)}
    partition = (meta.partition_field or "").lower()
    for position, field in enumerate(_fields(context, meta), start=1):
        name = field.name.lower()
        yield (
            ref.project,
            ref.dataset,
            ref.table,
            field.name,
            position,
            "YES" if field.mode == "NULLABLE" else "NO",
            type_text(field),
            "NEVER",
            "NO",
            "NO",
            "YES" if name == partition else "NO",
            clustered.get(name),
            "NULL",
        )


def _path_rows(context: Context, meta: TableMeta) -> Iterator[tuple[Any, ...]]:
    for field in _fields(context, meta):
        yield from _paths(meta, field.name, "", field)


def _paths(meta: TableMeta, column: str, prefix: str, field: Field) -> Iterator[tuple[Any, ...]]:
    ref, path = meta.ref, f"{prefix}{field.name}"
    yield (ref.project, ref.dataset, ref.table, column, path, type_text(field), field.description)
    for child in field.fields:
        yield from _paths(meta, column, f"{path}.", child)


def type_text(field: Field) -> str:
    """Return a column's type as DDL writes it: `ARRAY<STRUCT<a INT64>>`, `NUMERIC(10, 2)`."""
    kind = of_field(field)
    if field.fields:
        inner = ", ".join(f"{child.name} {type_text(child)}" for child in field.fields)
        made = f"STRUCT<{inner}>"
    else:
        made = str(kind.element or kind)
        limits = [
            one for one in (field.max_length, field.precision, field.scale) if one is not None
        ]
        made += f"({', '.join(str(one) for one in limits)})" if limits else ""
    return f"ARRAY<{made}>" if field.mode == "REPEATED" else made


def _partitions_sql(metas: list[TableMeta]) -> str:
    """Return rows of each partition, and when each was last written."""
    queries = [_partitions_of(meta) for meta in metas if not meta.is_view]
    if not queries:
        return _values_sql(_PARTITIONS, ())
    return " UNION ALL ".join(queries)


def _partitions_of(meta: TableMeta) -> str:
    ref = meta.ref
    key = "partition_id"
    counted = (
        f"SELECT {partition_id_sql(meta)} AS {key}, count(*) AS n"
        f" FROM data.{quote(meta.physical)} GROUP BY 1"
    )
    written = f"SELECT {key}, modified FROM meta.partitions WHERE physical = {text(meta.physical)}"
    width = sum(8 for _ in meta.schema.fields)
    shown = f"nullif(coalesce(r.{key}, p.{key}), '')"
    # A partition emptied by its last write has no rows and is not listed, as in BigQuery.
    return (
        f"SELECT {text(ref.project)} AS c1, {text(ref.dataset)} AS c2, {text(ref.table)} AS c3,"
        f" {shown} AS c4, CAST(r.n AS BIGINT) AS c5, CAST(r.n * {width} AS BIGINT) AS c6,"
        f" coalesce(p.modified, make_timestamptz({meta.created_ms * 1000})) AS c7,"
        f" 'ACTIVE' AS c8 FROM ({counted}) AS r LEFT JOIN ({written}) AS p"
        f" ON r.{key} = p.{key}"
    )


_MAKERS = {
    "TABLES": (_TABLES, _table_rows),
    "COLUMNS": (_COLUMNS, _column_rows),
    "COLUMN_FIELD_PATHS": (_PATHS, _path_rows),
    "VIEWS": (_VIEWS, _view_rows),
    "PARTITIONS": (_PARTITIONS, _table_rows),
}
__all__ = ["INT64", "STRING", "TIMESTAMP", "type_text", "view_sql"]

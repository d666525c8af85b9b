"""CREATE TABLE, VIEW and SCHEMA.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlglot import exp

from convergence_sandbox.bigquery.errors import duplicate, invalid_query, not_implemented
from convergence_sandbox.bigquery.resources import tables
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import (
    TEMPORARY_DATASET,
    DatasetMeta,
    TableMeta,
    TableRef,
    checked_dataset_id,
    checked_labels,
)
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.nodes import reject_extra, table_parts
from convergence_sandbox.bigquery.sql.output import compile_query
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.sql.types import of_field, to_schema
from convergence_sandbox.bigquery.statements import dml
from convergence_sandbox.bigquery.statements.definitions import columns_of, options_of
from convergence_sandbox.bigquery.statements.estimate import bytes_processed
from convergence_sandbox.bigquery.statements.layout import clustering_of, partitioning_of
from convergence_sandbox.bigquery.statements.scripts import text_after_as
from convergence_sandbox.bigquery.statements.statement_job import StatementJob


def run_create(job: StatementJob, node: exp.Expr) -> QueryResult:
    """CREATE [OR REPLACE] [TEMP] TABLE | VIEW | SCHEMA [IF NOT EXISTS]."""
    reject_extra(node, "this", "kind", "replace", "exists", "properties", "expression")
    kind = str(node.args.get("kind")).upper()
    make = {"TABLE": _create_table, "VIEW": _create_view, "SCHEMA": _create_schema}.get(kind)
    if make is None:
        raise not_implemented(f"CREATE {kind}")
    return make(job, node)


def done(statement: str, operation: str, ref: TableRef | None = None) -> QueryResult:
    """Return the outcome of DDL."""
    return QueryResult(statement, ddl_operation=operation, destination=ref)


def milliseconds(micros: object) -> int | None:
    """Return a TIMESTAMP option as REST keeps it."""
    return None if micros is None else int(str(micros)) // 1000


def _properties(node: exp.Expr) -> list[exp.Expr]:
    found = node.args.get("properties")
    return list(found.expressions) if found is not None else []


def _reject_options(options: dict[str, Any]) -> None:
    for name in options:
        raise not_implemented(f"option {name}")


# --- datasets -------------------------------------------------------------------------------


def _create_schema(job: StatementJob, node: exp.Expr) -> QueryResult:
    project, dataset = dataset_name(job, node.this)
    options = options_of(_properties(node))
    made = DatasetMeta(
        project,
        checked_dataset_id(dataset),
        location=str(options.pop("location", None) or "US"),
        description=options.pop("description", None),
        friendly_name=options.pop("friendly_name", None),
        labels=checked_labels(dict(options.pop("labels", None) or [])),
    )
    _reject_options(options)
    if (project, dataset) in job.session.snapshot.datasets and node.args.get("exists"):
        return done("CREATE_SCHEMA", "SKIP")
    job.session.create_dataset(made)
    return done("CREATE_SCHEMA", "CREATE")


def dataset_name(job: StatementJob, node: exp.Expr) -> tuple[str, str]:
    """Return the project and dataset that a statement names."""
    parts = ".".join(table_parts(node)).split(".")
    return (parts[0], parts[1]) if len(parts) == 2 else (job.context.project, parts[0])


# --- tables ---------------------------------------------------------------------------------


def _create_table(job: StatementJob, node: exp.Expr) -> QueryResult:
    schema, query = node.this, node.args.get("expression")
    listed = schema.expressions if isinstance(schema, exp.Schema) else None
    properties = _properties(node)
    temporary = any(isinstance(one, exp.TemporaryProperty) for one in properties)
    ref = _table_name(job, schema if listed is None else schema.this, temporary=temporary)
    operation = _existing(job, node, ref)
    statement = "CREATE_TABLE" if query is None else "CREATE_TABLE_AS_SELECT"
    if operation == "SKIP":
        return done(statement, operation, ref)
    fields = () if listed is None else columns_of(listed)
    meta = _table_meta(ref, properties, Schema(fields))
    if query is None and listed is None:
        raise invalid_query("CREATE TABLE needs columns or a query")
    if query is None:
        _make(job, meta)
        return done(statement, operation, ref)
    made = _from_query(job, query, meta)
    made.ddl_operation = operation
    return made


def _table_name(job: StatementJob, node: exp.Expr, *, temporary: bool) -> TableRef:
    parts = table_parts(node)
    if not temporary:
        return job.context.table_ref(parts)
    if len(parts) != 1:
        raise invalid_query("CREATE TEMP TABLE cannot use a qualified table name")
    return TableRef(job.context.project, TEMPORARY_DATASET, parts[0])


def _existing(job: StatementJob, node: exp.Expr, ref: TableRef) -> str:
    """What to do about a table that is there: SKIP, REPLACE, or CREATE when there is none."""
    temporary = ref.dataset == TEMPORARY_DATASET
    if not temporary:
        job.session.snapshot.dataset(ref.project, ref.dataset)
    found = job.temporary.get(ref.table.lower()) if temporary else job.session.snapshot.find(ref)
    if found is None:
        return "CREATE"
    if node.args.get("exists"):
        return "SKIP"
    if not node.args.get("replace"):
        raise duplicate("Table", str(ref))
    if temporary:
        tables.drop_rows(job.session, job.temporary.pop(ref.table.lower()))
        return "REPLACE"
    if found.type != str(node.args.get("kind")).upper():
        raise invalid_query(f"{ref} is a {found.type} and cannot be replaced by another kind")
    tables.drop_table(job.session, found)
    return "REPLACE"


def _table_meta(ref: TableRef, properties: list[exp.Expr], schema: Schema) -> TableMeta:
    options = options_of(properties)
    time, span = partitioning_of(properties, options)
    meta = TableMeta(
        ref,
        schema=schema,
        time_partitioning=time,
        range_partitioning=span,
        clustering=clustering_of(properties),
        description=options.pop("description", None),
        friendly_name=options.pop("friendly_name", None),
        labels=checked_labels(dict(options.pop("labels", None) or [])),
        require_partition_filter=bool(options.pop("require_partition_filter", None)),
        expiration_ms=milliseconds(options.pop("expiration_timestamp", None)),
    )
    _reject_options(options)
    return meta


def _make(job: StatementJob, meta: TableMeta) -> TableMeta:
    if not meta.is_temporary:
        return tables.create_table(job.session, meta, storage=job.storage)
    if meta.is_partitioned:
        raise not_implemented("partitioned temporary tables")
    tables.check_table(meta)
    made = tables.create_rows(job.session, meta, storage=job.storage)
    job.temporary[meta.ref.table.lower()] = made
    return made


def _from_query(job: StatementJob, node: exp.Expr, meta: TableMeta) -> QueryResult:
    query = compile_query(node, job.context)
    schema = to_schema([(one.name or "", one.type) for one in query.columns])
    if meta.schema.fields:
        schema = _declared(meta.schema, schema)
    columns = ", ".join(f"c{index} AS v{index}" for index in range(1, len(query.columns) + 1))
    staged = job.stage(f"SELECT {columns} FROM ({query.sql}) AS q")
    size = bytes_processed(job.session.cursor, job.context.instances)
    made = _make(job, replace(meta, schema=schema))
    dml.insert_staged(job, made, made.schema.fields, staged)
    job.drop(staged)
    return QueryResult("CREATE_TABLE_AS_SELECT", destination=meta.ref, total_bytes_processed=size)


def _declared(declared: Schema, made: Schema) -> Schema:
    """Return the declared schema; its columns must have the query's types, in order."""
    if len(declared.fields) != len(made.fields):
        raise invalid_query(
            f"The number of columns in the column definition list ({len(declared.fields)}) does not"
            f" match the query's ({len(made.fields)})"
        )
    for one, other in zip(declared.fields, made.fields, strict=True):
        if of_field(one) != of_field(other):
            raise not_implemented(
                f"CREATE TABLE AS with column {one.name} of another type than the query's"
            )
    return declared


# --- views ----------------------------------------------------------------------------------


def _create_view(job: StatementJob, node: exp.Expr) -> QueryResult:
    if isinstance(node.this, exp.Schema):
        raise not_implemented("a view's column list")
    ref = _table_name(job, node.this, temporary=False)
    operation = _existing(job, node, ref)
    if operation == "SKIP":
        return done("CREATE_VIEW", operation, ref)
    options = options_of(_properties(node))
    meta = TableMeta(
        ref,
        view_query=text_after_as(job.sql),
        description=options.pop("description", None),
        friendly_name=options.pop("friendly_name", None),
        labels=checked_labels(dict(options.pop("labels", None) or [])),
        expiration_ms=milliseconds(options.pop("expiration_timestamp", None)),
    )
    _reject_options(options)
    made = tables.create_table(job.session, meta, storage=job.storage)
    context = Context(job.session.snapshot, ref.project, now=job.context.now)
    QueryCompiler(context).view(made)
    return done("CREATE_VIEW", operation, ref)

"""ALTER TABLE and DROP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlglot import exp

from convergence_sandbox.bigquery.errors import (
    duplicate,
    in_use,
    invalid_query,
    not_found,
    not_implemented,
)
from convergence_sandbox.bigquery.resources import tables
from convergence_sandbox.bigquery.resources.evolution import EVERYTHING, widened_schema
from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.resources.model import TableMeta, checked_labels
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.sql.casts import declared_type
from convergence_sandbox.bigquery.sql.coerce import convert_sql
from convergence_sandbox.bigquery.sql.nodes import reject_extra, table_parts
from convergence_sandbox.bigquery.sql.types import SqlType, of_field, quote, to_field
from convergence_sandbox.bigquery.statements.ddl import dataset_name, done, milliseconds
from convergence_sandbox.bigquery.statements.definitions import field_of, options_of
from convergence_sandbox.bigquery.statements.statement_job import StatementJob

_WIDER = {"INT64": {"NUMERIC", "BIGNUMERIC", "FLOAT64"}, "NUMERIC": {"BIGNUMERIC", "FLOAT64"}}


def run_alter(job: StatementJob, node: exp.Expr) -> QueryResult:
    """ALTER TABLE: ADD COLUMN, DROP COLUMN, DROP NOT NULL, SET DATA TYPE, SET OPTIONS."""
    reject_extra(node, "this", "kind", "exists", "actions")
    if str(node.args.get("kind")).upper() != "TABLE":
        raise not_implemented(f"ALTER {node.args.get('kind')}")
    ref = job.context.table_ref(table_parts(node.this))
    if job.session.snapshot.find(ref) is None and node.args.get("exists"):
        return done("ALTER_TABLE", "SKIP", ref)
    meta = tables.live_table(job.session, ref)
    for action in node.args["actions"]:
        act = _ACTIONS.get(type(action))
        if act is None:
            raise not_implemented(f"ALTER TABLE {action.sql('bigquery')}")
        meta = act(job, meta, action)
    return done("ALTER_TABLE", "ALTER", ref)


def _add_column(job: StatementJob, meta: TableMeta, node: exp.Expr) -> TableMeta:
    field = field_of(node)
    if meta.schema.find(field.name) is not None:
        if node.args.get("exists"):
            return meta
        raise duplicate("Column", field.name)
    schema = widened_schema(meta, Schema((*meta.schema.fields, field)), options=EVERYTHING)
    return tables.widen(job.session, meta, schema, storage=job.storage)


def _drop_column(job: StatementJob, meta: TableMeta, node: exp.Expr) -> TableMeta:
    if str(node.args.get("kind")).upper() != "COLUMN":
        raise not_implemented(f"ALTER TABLE {node.sql('bigquery')}")
    for one in node.args["tables"]:
        field = meta.schema.find(one.name)
        if field is None:
            if node.args.get("exists"):
                continue
            raise invalid_query(f"Column not found: {one.name}")
        if field.name in {meta.partition_field, *meta.clustering} or len(meta.schema.fields) == 1:
            raise invalid_query(
                f"Column {field.name} cannot be dropped: it is the only column or used for"
                " partitioning or clustering"
            )
        job.session.cursor.execute(
            f"ALTER TABLE {tables.stored_name(meta)} DROP COLUMN {quote(field.name)}"
        )
        kept = tuple(other for other in meta.schema.fields if other is not field)
        meta = job.session.put_table(replace(meta, schema=Schema(kept)))
    return meta


def _alter_column(job: StatementJob, meta: TableMeta, node: exp.Expr) -> TableMeta:
    field = meta.schema.find(node.this.name)
    if field is None:
        raise invalid_query(f"Column not found: {node.this.name}")
    if node.args.get("drop") and node.args.get("allow_null"):
        return _with_field(job, meta, field, replace(field, mode="NULLABLE"))
    if node.args.get("dtype") is None:
        raise not_implemented(f"ALTER COLUMN {node.sql('bigquery')}")
    reject_extra(node, "this", "dtype")
    return _retyped(job, meta, field, node.args["dtype"])


def _retyped(job: StatementJob, meta: TableMeta, field: Field, dtype: exp.Expr) -> TableMeta:
    kind, limits = declared_type(dtype)
    old = of_field(field)
    if limits.numbers:
        raise not_implemented("SET DATA TYPE with type parameters")
    if kind == old:
        return meta
    if kind.kind not in _WIDER.get(old.kind, set()):
        raise invalid_query(
            "ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type"
            f" ({old}) is assignable to the new type ({kind})"
        )
    change = convert_sql(quote(field.name), old, kind)
    job.session.cursor.execute(
        f"ALTER TABLE {tables.stored_name(meta)} ALTER COLUMN {quote(field.name)} TYPE {kind.duck}"
        f" USING {change}"
    )
    return _with_field(job, meta, field, _as_type(field, kind))


def _as_type(field: Field, kind: SqlType) -> Field:
    made = to_field(field.name, kind)
    return replace(field, type=made.type, precision=None, scale=None, max_length=None)


def _with_field(job: StatementJob, meta: TableMeta, old: Field, new: Field) -> TableMeta:
    fields = tuple(new if one is old else one for one in meta.schema.fields)
    return job.session.put_table(replace(meta, schema=Schema(fields)))


_SETTERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "description": ("description", lambda value: value),
    "friendly_name": ("friendly_name", lambda value: value),
    "labels": ("labels", lambda value: checked_labels(dict(value or []))),
    "require_partition_filter": ("require_partition_filter", bool),
    "expiration_timestamp": ("expiration_ms", milliseconds),
}


def _set_options(job: StatementJob, meta: TableMeta, node: exp.Expr) -> TableMeta:
    options = options_of([one for each in node.expressions for one in each.expressions])
    changes: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _SETTERS:
            raise not_implemented(f"option {name}")
        attribute, read = _SETTERS[name]
        changes[attribute] = read(value)
    changed = replace(meta, **changes)
    tables.check_table(changed)
    return job.session.put_table(changed)


_ACTIONS: dict[type[exp.Expr], Callable[[StatementJob, TableMeta, exp.Expr], TableMeta]] = {
    exp.ColumnDef: _add_column,
    exp.Drop: _drop_column,
    exp.AlterColumn: _alter_column,
    exp.AlterSet: _set_options,
}


def run_drop(job: StatementJob, node: exp.Expr) -> QueryResult:
    """DROP TABLE | VIEW | SCHEMA [IF EXISTS]."""
    reject_extra(node, "tables", "kind", "exists", "cascade", "restrict")
    kind = str(node.args.get("kind")).upper()
    named = node.args["tables"][0]
    if kind == "SCHEMA":
        return _drop_schema(job, node, named)
    if kind not in {"TABLE", "VIEW"}:
        raise not_implemented(f"DROP {kind}")
    parts = table_parts(named)
    if len(parts) == 1 and parts[0].lower() in job.temporary:
        tables.drop_rows(job.session, job.temporary.pop(parts[0].lower()))
        return done("DROP_TABLE", "DROP")
    ref = job.context.table_ref(parts)
    found = job.session.snapshot.find(ref)
    if found is None:
        if node.args.get("exists"):
            return done(f"DROP_{kind}", "SKIP", ref)
        raise not_found("Table", str(ref))
    if found.type != kind:
        raise invalid_query(f"{ref} is a {found.type}; use DROP {found.type}")
    tables.drop_table(job.session, found)
    return done(f"DROP_{kind}", "DROP", ref)


def _drop_schema(job: StatementJob, node: exp.Expr, named: exp.Expr) -> QueryResult:
    project, dataset = dataset_name(job, named)
    snapshot = job.session.snapshot
    if (project, dataset) not in snapshot.datasets:
        if node.args.get("exists"):
            return done("DROP_SCHEMA", "SKIP")
        raise not_found("Dataset", f"{project}:{dataset}")
    found = snapshot.tables_of(project, dataset)
    if found and not node.args.get("cascade"):
        raise in_use(f"Dataset {project}:{dataset} is still in use")
    for one in found:
        tables.drop_table(job.session, one)
    job.session.drop_dataset(snapshot.dataset(project, dataset))
    return done("DROP_SCHEMA", "DROP")

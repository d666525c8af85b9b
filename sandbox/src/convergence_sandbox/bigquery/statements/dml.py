"""INSERT, UPDATE, DELETE and TRUNCATE.

Each computes what it will change into a temporary table first: new values once, checked against
the columns, with the row numbers they are for. That finds rows matched twice, which BigQuery
rejects, and gives the counts and the partitions touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.resources import partitions, tables
from convergence_sandbox.bigquery.resources.fields import Field
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.writes import check_column, ingestion_moment, stored_sql
from convergence_sandbox.bigquery.sql.nodes import reject_extra, table_parts
from convergence_sandbox.bigquery.sql.relations import FromItem
from convergence_sandbox.bigquery.sql.scope import Scope
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.sql.types import quote
from convergence_sandbox.bigquery.statements.assigning import (
    assigned_output,
    assignments,
    named_columns,
    reject_width,
    values_row,
)
from convergence_sandbox.bigquery.statements.statement_job import StatementJob


def run_insert(job: StatementJob, node: exp.Expr) -> QueryResult:
    """INSERT INTO table [(columns)] VALUES … | query."""
    reject_extra(node, "this", "expression")
    schema = node.this
    if isinstance(schema, exp.Schema):
        meta = job.target(schema.this)
        columns = named_columns(meta, [one.name for one in schema.expressions])
    else:
        meta = job.target(schema)
        columns = list(meta.schema.fields)
    staged = job.stage(_insert_source(job, node.expression, columns))
    count = insert_staged(job, meta, columns, staged)
    job.drop(staged)
    return job.result("INSERT", meta, insertedRowCount=count)


def _insert_source(job: StatementJob, node: exp.Expr, columns: Sequence[Field]) -> str:
    """Return a query of the new rows, its columns `v1`, `v2`, … in the table's types."""
    compiler = job.compiler()
    if isinstance(node, exp.Values):
        scope = Scope(where="INSERT VALUES", allow_aggregates=False, allow_windows=False)
        rows = [values_row(compiler, row, columns, scope) for row in node.expressions]
        names = ", ".join(f"v{index}" for index in range(1, len(columns) + 1))
        listed = ", ".join(f"({', '.join(one.sql for one in row)})" for row in rows)
        return f"SELECT {names} FROM (VALUES {listed}) AS q({names})"
    made = compiler.query(node)
    reject_width(len(made.columns), len(columns))
    values = [assigned_output(made, index, column) for index, column in enumerate(columns)]
    listed = ", ".join(f"{one.sql} AS v{index}" for index, one in enumerate(values, 1))
    return f"SELECT {listed} FROM ({made.sql}) AS q"


def insert_staged(job: StatementJob, meta: TableMeta, columns: Sequence[Field], staged: str) -> int:
    """Insert `v1`, `v2`, … of the staged rows, checked; returns how many."""
    rows = f"(SELECT * FROM {staged}) AS rows"
    supplied = {one.name for one in columns}
    count = job.count(rows)
    for one in meta.schema.fields:
        if one.name not in supplied and one.mode == "REQUIRED" and count:
            raise invalid_query(f"Required field {one.name} cannot be null")
    for index, column in enumerate(columns, 1):
        check_column(job.session, column, f"v{index}", rows)
    names = [quote(one.name) for one in columns]
    values = [stored_sql(one, f"v{index}") for index, one in enumerate(columns, 1)]
    for one in meta.schema.fields:
        if one.name not in supplied and one.mode == "REPEATED":
            names.append(quote(one.name))
            values.append("[]")
    if meta.by_ingestion:
        names.append(quote(partitions.INGESTION_COLUMN))
        values.append(ingestion_moment(meta, None))
    job.session.cursor.execute(
        f"INSERT INTO {tables.stored_name(meta)} ({', '.join(names)})"
        f" SELECT {', '.join(values)} FROM {rows}"
    )
    key = _partition_value(meta, columns)
    job.mark(meta, f"SELECT DISTINCT {partitions.partition_id_sql(meta, key)} FROM {rows}")
    return count


def _partition_value(meta: TableMeta, columns: Sequence[Field]) -> str | None:
    """Return the staged value that says which partition a new row goes to."""
    key = partitions.partition_column(meta)
    if key is None:
        return None
    if meta.by_ingestion:
        return ingestion_moment(meta, None)
    for index, one in enumerate(columns, 1):
        if one.name.lower() == key.lower():
            return f"v{index}"
    return "CAST(NULL AS BIGINT)" if meta.range_partitioning else "CAST(NULL AS TIMESTAMP)"


# --- UPDATE and DELETE ----------------------------------------------------------------------


def target_item(compiler: QueryCompiler, node: exp.Expr) -> tuple[FromItem, str]:
    """Return the table to be changed as a FROM item, and the SQL of its row numbers."""
    alias = node.args.get("alias")
    parts = table_parts(node)
    name = alias.this.name if alias is not None and alias.this is not None else parts[-1]
    item = compiler.sources.table(parts, name)
    number = item.relations[0].instance or 0
    return item, f"{quote(compiler.context.instances[number].alias)}.rowid"


def _where(compiler: QueryCompiler, node: exp.Expr, scope: Scope, statement: str) -> str:
    where = node.args.get("where")
    if where is None:
        raise invalid_query(f"{statement} must have a WHERE clause")
    clause = scope.narrowed("WHERE clause", aggregates=False, windows=False)
    return compiler.sources.filter(where.this, clause)


def run_update(job: StatementJob, node: exp.Expr) -> QueryResult:
    """UPDATE table SET … [FROM …] WHERE …."""
    reject_extra(node, "this", "expressions", "from_", "where")
    meta = job.target(node.this)
    job.reject_streamed(meta, "UPDATE or DELETE")
    compiler = job.compiler()
    item, number = target_item(compiler, node.this)
    scope = Scope(
        relations=list(item.relations), allow_aggregates=False, allow_windows=False, where="UPDATE"
    )
    source = item.sql
    if node.args.get("from_") is not None:
        other = compiler.sources.item(node.args["from_"].this, scope)
        scope.relations.extend(other.relations)
        source = f"{source} CROSS JOIN {other.sql}"
    condition = _where(compiler, node, scope, "UPDATE")
    sets = assignments(compiler, node.expressions, meta, scope)
    values = "".join(f", {one.value.sql} AS v{index}" for index, one in enumerate(sets, 1))
    staged = job.stage(f"SELECT {number} AS r{values} FROM {source} WHERE {condition}")
    count = update_staged(job, meta, [one.column for one in sets], staged)
    job.drop(staged)
    return job.result("UPDATE", meta, updatedRowCount=count)


def update_staged(job: StatementJob, meta: TableMeta, columns: Sequence[Field], staged: str) -> int:
    """Set columns to `v1`, `v2`, … of the staged rows with number `r`; returns how many."""
    rows = f"(SELECT * FROM {staged}) AS rows"
    job.reject_twice(rows)
    for index, column in enumerate(columns, 1):
        check_column(job.session, column, f"v{index}", rows)
    job.mark_of(meta, rows)
    sets = ", ".join(
        f"{quote(one.name)} = {stored_sql(one, f'rows.v{index}')}"
        for index, one in enumerate(columns, 1)
    )
    job.session.cursor.execute(
        f"UPDATE {tables.stored_name(meta)} AS target SET {sets} FROM {rows}"
        " WHERE target.rowid = rows.r"
    )
    key = partitions.partition_column(meta)
    if key is not None and any(one.name.lower() == key.lower() for one in columns):
        moved = partitions.partition_id_sql(meta, _partition_value(meta, columns))
        job.mark(meta, f"SELECT DISTINCT {moved} FROM {rows}")
    return job.count(rows)


def run_delete(job: StatementJob, node: exp.Expr) -> QueryResult:
    """DELETE [FROM] table WHERE …."""
    reject_extra(node, "this", "tables", "where")
    named = node.this or (node.args.get("tables") or [None])[0]
    meta = job.target(named)
    job.reject_streamed(meta, "UPDATE or DELETE")
    compiler = job.compiler()
    item, number = target_item(compiler, named)
    scope = Scope(relations=list(item.relations), allow_aggregates=False, allow_windows=False)
    condition = _where(compiler, node, scope, "DELETE")
    staged = job.stage(f"SELECT {number} AS r FROM {item.sql} WHERE {condition}")
    count = delete_staged(job, meta, staged)
    job.drop(staged)
    return job.result("DELETE", meta, deletedRowCount=count)


def delete_staged(job: StatementJob, meta: TableMeta, staged: str) -> int:
    """Delete the rows with the staged numbers `r`; returns how many."""
    rows = f"(SELECT r FROM {staged}) AS rows"
    job.reject_twice(rows)
    job.mark_of(meta, rows)
    job.session.cursor.execute(
        f"DELETE FROM {tables.stored_name(meta)} WHERE rowid IN (SELECT r FROM {rows})"
    )
    return job.count(rows)


def run_truncate(job: StatementJob, node: exp.Expr) -> QueryResult:
    """TRUNCATE TABLE."""
    reject_extra(node, "expressions")
    meta = job.target(node.expressions[0])
    job.reject_streamed(meta, "TRUNCATE TABLE")
    stored = tables.stored_name(meta)
    count = job.count(stored)
    job.mark(meta, f"SELECT DISTINCT {partitions.partition_id_sql(meta)} FROM {stored}")
    job.session.cursor.execute(f"DELETE FROM {stored}")
    return job.result("TRUNCATE_TABLE", meta, deletedRowCount=count)

"""A whole query's result: its columns named, unique, and in the form that Arrow carries."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.rows.wire import output_sql
from convergence_sandbox.bigquery.sql.context import Context
from convergence_sandbox.bigquery.sql.select import Output, Query, QueryCompiler, named_columns
from convergence_sandbox.bigquery.sql.types import stored_names


def compile_query(node: exp.Expr, context: Context) -> Query:
    """Compile a whole query, its columns named and unique."""
    query = QueryCompiler(context).query(node)
    columns = named_columns(query.columns)
    if query.value_table and columns[0].type.kind == "STRUCT":
        return _unpacked(query)
    seen: set[str] = set()
    for one in columns:
        if (one.name or "").lower() in seen:
            raise invalid_query(
                "Duplicate column names in the result are not supported. Found"
                f" duplicate(s): {one.name}"
            )
        seen.add((one.name or "").lower())
    return replace(query, columns=tuple(columns))


def _unpacked(query: Query) -> Query:
    """SELECT AS STRUCT at the top: its fields are the result's columns."""
    kind = query.columns[0].type
    values = ", ".join(
        f"struct_extract(c1, '{name}') AS c{index}"
        for index, name in enumerate(stored_names(kind), 1)
    )
    columns = tuple(Output(name, one) for name, one in kind.fields)
    return replace(
        query,
        sql=f"SELECT {values} FROM ({query.sql}) AS q",
        columns=tuple(named_columns(columns)),
        value_table=False,
    )


def fetch_sql(query: Query) -> str:
    """Return the query with its columns in the form that Arrow carries."""
    if not any(one.type.holds("BIGNUMERIC") for one in query.columns):
        return query.sql
    values = ", ".join(
        f"{output_sql(one.type, f'c{index}')} AS c{index}"
        for index, one in enumerate(query.columns, 1)
    )
    return f"SELECT {values} FROM ({query.sql}) AS q"


def reject_null_elements(rows: pa.Table, columns: tuple[Output, ...]) -> None:
    """A result with a NULL inside an array is an error in BigQuery."""
    for index, one in enumerate(columns):
        if one.type.element is None:
            continue
        for chunk in rows.column(index).chunks:
            if chunk.flatten().null_count:
                raise invalid_query(
                    f"Array cannot have a null element; error in writing field {one.name}"
                )

"""MERGE: one join staged, each of its rows given the first clause that applies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.fields import Field
from convergence_sandbox.bigquery.resources.model import TableMeta
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.nodes import reject_extra
from convergence_sandbox.bigquery.sql.scope import Relation, Scope
from convergence_sandbox.bigquery.sql.select import QueryCompiler
from convergence_sandbox.bigquery.statements import dml
from convergence_sandbox.bigquery.statements.assigning import (
    assigned,
    assignments,
    named_columns,
    reject_width,
    values_row,
)
from convergence_sandbox.bigquery.statements.statement_job import StatementJob


@dataclass(frozen=True, slots=True)
class Clause:
    """One WHEN clause.

    Attributes:
        number: its place, from 1.
        kind: `matched`, `source` (a source row without target) or `target` (the reverse).
        condition: DuckDB SQL of its AND, or TRUE.
        action: INSERT, UPDATE or DELETE.
        columns: the columns it sets.
        values: their values, in order.
    """

    number: int
    kind: str
    condition: str
    action: str
    columns: tuple[Field, ...] = ()
    values: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sides:
    """What the clauses' expressions may name."""

    target: tuple[Relation, ...]
    source: tuple[Relation, ...]

    def scope(self, kind: str) -> Scope:
        seen = {
            "matched": [*self.target, *self.source],
            "source": [*self.source],
            "target": [*self.target],
        }
        return Scope(
            relations=seen[kind],
            allow_aggregates=False,
            allow_windows=False,
            where="MERGE WHEN clause",
        )


def run_merge(job: StatementJob, node: exp.Expr) -> QueryResult:
    """MERGE [INTO] table USING source ON condition WHEN …."""
    reject_extra(node, "this", "using", "on", "whens")
    meta = job.target(node.this)
    job.reject_streamed(meta, "UPDATE or DELETE")
    compiler = job.compiler()
    target, number = dml.target_item(compiler, node.this)
    source = compiler.sources.item(node.args["using"], Scope())
    sides = _Sides(target.relations, source.relations)
    condition = compiler.sources.filter(node.args["on"], sides.scope("matched"))
    clauses = [
        _clause(compiler, one, place, meta, sides)
        for place, one in enumerate(node.args["whens"].expressions, 1)
    ]
    staged = job.stage(_joined(target.sql, source.sql, condition, number, clauses=clauses))
    counts = _apply(job, meta, staged, clauses)
    job.drop(staged)
    return job.result("MERGE", meta, **counts)


def _clause(
    compiler: QueryCompiler, node: exp.Expr, number: int, meta: TableMeta, sides: _Sides
) -> Clause:
    reject_extra(node, "matched", "source", "condition", "then")
    by_source = bool(node.args.get("source"))
    kind = "matched" if node.args.get("matched") else "target" if by_source else "source"
    scope, test, then = sides.scope(kind), node.args.get("condition"), node.args["then"]
    condition = "TRUE" if test is None else compiler.expressions.condition(test, scope).sql
    if isinstance(then, exp.Var) and then.name.upper() == "DELETE" and kind != "source":
        return Clause(number, kind, condition, "DELETE")
    if isinstance(then, exp.Update) and kind != "source":
        sets = assignments(compiler, then.expressions, meta, scope)
        columns, values = [one.column for one in sets], [one.value for one in sets]
        return Clause(number, kind, condition, "UPDATE", tuple(columns), tuple(values))
    if isinstance(then, exp.Insert) and kind == "source":
        columns, values = _inserted(compiler, then, meta, scope)
        return Clause(number, kind, condition, "INSERT", tuple(columns), tuple(values))
    raise invalid_query(f"Invalid MERGE clause: {node.sql('bigquery')}")


def _inserted(
    compiler: QueryCompiler, node: exp.Expr, meta: TableMeta, scope: Scope
) -> tuple[list[Field], list[Expr]]:
    named = node.this
    if isinstance(named, exp.Var) and named.name.upper() == "ROW":
        fields = list(meta.schema.fields)
        supplied = [one for relation in scope.relations for one in relation.visible()]
        reject_width(len(supplied), len(fields))
        pairs = zip(supplied, fields, strict=True)
        return fields, [assigned(one.expr(), column) for one, column in pairs]
    names = [one.name for one in meta.schema.fields]
    if isinstance(named, exp.Tuple):
        names = [one.name for one in named.expressions]
    elif named is not None:
        names = [named.name]
    row = node.expression
    if isinstance(row, exp.Paren):
        row = row.this
    if not isinstance(row, exp.Expr):
        raise not_implemented(f"MERGE {node.sql('bigquery')}")
    columns = named_columns(meta, names)
    return columns, values_row(compiler, row, columns, scope)


def _joined(
    target: str, source: str, condition: str, number: str, *, clauses: Sequence[Clause]
) -> str:
    """Return the join with, for each row, the clause that applies and the values it writes."""
    kinds = {one.kind for one in clauses}
    join = {
        (True, True): "FULL JOIN",
        (True, False): "RIGHT JOIN",
        (False, True): "LEFT JOIN",
        (False, False): "JOIN",
    }["target" in kinds, "source" in kinds]
    where = {
        "matched": f"{number} IS NOT NULL AND mark.here",
        "source": f"{number} IS NULL",
        "target": "mark.here IS NULL",
    }
    branches = " ".join(
        f"WHEN {where[one.kind]} AND {one.condition} THEN {one.number}" for one in clauses
    )
    values = [f"{number} AS r", f"CASE {branches} END AS action"]
    for one in clauses:
        values += [f"{value.sql} AS a{one.number}_{i}" for i, value in enumerate(one.values, 1)]
    left = f"({source} CROSS JOIN (SELECT TRUE AS here) AS mark)"
    rows = f"SELECT {', '.join(values)} FROM {left} {join} {target} ON {condition}"
    return f"SELECT * FROM ({rows}) AS joined WHERE action IS NOT NULL"


def _apply(
    job: StatementJob, meta: TableMeta, staged: str, clauses: Sequence[Clause]
) -> dict[str, int]:
    job.reject_twice(f"(SELECT r FROM {staged} WHERE r IS NOT NULL) AS changed")
    counts = {"insertedRowCount": 0, "updatedRowCount": 0, "deletedRowCount": 0}
    # Inserts last: a row number staged for a change is then still that row's.
    for one in sorted(clauses, key=lambda clause: clause.action == "INSERT"):
        names = "".join(f", a{one.number}_{i} AS v{i}" for i in range(1, len(one.values) + 1))
        rows = f"(SELECT r{names} FROM {staged} WHERE action = {one.number}) AS part"
        if one.action == "DELETE":
            counts["deletedRowCount"] += dml.delete_staged(job, meta, rows)
        elif one.action == "UPDATE":
            counts["updatedRowCount"] += dml.update_staged(job, meta, one.columns, rows)
        else:
            counts["insertedRowCount"] += dml.insert_staged(job, meta, one.columns, rows)
    return counts

"""PARTITION BY and CLUSTER BY of DDL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.resources.partitioning import RangePartitioning, TimePartitioning

_DAY_MS = 86_400_000


def clustering_of(nodes: Sequence[exp.Expr]) -> tuple[str, ...]:
    """Return the columns of CLUSTER BY."""
    for node in nodes:
        if isinstance(node, exp.ClusterProperty | exp.Cluster):
            return tuple(one.name for one in node.expressions)
    return ()


def partitioning_of(
    nodes: Sequence[exp.Expr], options: dict[str, Any]
) -> tuple[TimePartitioning | None, RangePartitioning | None]:
    """The partitioning of PARTITION BY; takes `partition_expiration_days` off the options."""
    days = options.pop("partition_expiration_days", None)
    expiration = None if days is None else int(float(days) * _DAY_MS)
    for node in nodes:
        if not isinstance(node, exp.PartitionedByProperty):
            continue
        span = _range(node.this)
        if span is not None:
            return None, span
        kind, field = _time(node.this)
        return TimePartitioning(kind, field, expiration), None
    return None, None


def _time(node: exp.Expr) -> tuple[str, str | None]:
    if isinstance(node, exp.Column | exp.Identifier):
        return "DAY", _field(node.name)
    if isinstance(node, exp.Anonymous):
        name, args = str(node.this).upper(), node.expressions
        if name == "DATE" and len(args) == 1:
            return "DAY", _field(args[0].name)
        if name in {"DATE_TRUNC", "TIMESTAMP_TRUNC", "DATETIME_TRUNC"} and len(args) == 2:
            return args[1].name.upper(), _field(args[0].name)
    raise not_implemented(f"PARTITION BY {node.sql('bigquery')}")


def _field(name: str) -> str | None:
    return None if name.upper() in {"_PARTITIONDATE", "_PARTITIONTIME"} else name


def _range(node: exp.Expr) -> RangePartitioning | None:
    if not isinstance(node, exp.Anonymous) or str(node.this).upper() != "RANGE_BUCKET":
        return None
    column, points = node.expressions
    if not isinstance(points, exp.Anonymous) or str(points.this).upper() != "GENERATE_ARRAY":
        raise invalid_query("RANGE_BUCKET partitioning needs GENERATE_ARRAY(start, end, interval)")
    start, end, *step = [int(one.sql("bigquery")) for one in points.expressions]
    return RangePartitioning(column.name, start, end, step[0] if step else 1)

"""Reading sqlglot's syntax nodes without overlooking anything in them."""

from __future__ import annotations

from sqlglot import exp

from convergence_sandbox.bigquery.errors import not_implemented


def reject_extra(node: exp.Expr, *known: str) -> None:
    """Reject a node that carries more than the arguments its compiler reads."""
    for name, value in node.args.items():
        if name not in known and value not in (None, False, [], ""):
            raise not_implemented(
                f"{name.strip('_').upper()} of {type(node).__name__}: {node.sql('bigquery')}"
            )


def table_parts(node: exp.Expr) -> list[str]:
    """Return the names of a table reference, outermost first."""
    if not isinstance(node, exp.Table):
        raise not_implemented(f"{node.sql('bigquery')} as a table")
    return [part.name for part in node.parts]


def dotted_parts(node: exp.Expr) -> list[str]:
    """`a.b.c` as names; empty when something else than names is dotted."""
    if isinstance(node, exp.Column):
        if isinstance(node.this, exp.Dot):
            head = [part.name for part in reversed(_qualifiers(node))]
            return head + dotted_parts(node.this)
        return [part.name for part in node.parts]
    if isinstance(node, exp.Identifier):
        return [node.name]
    if isinstance(node, exp.Dot):
        head, tail = dotted_parts(node.this), dotted_parts(node.expression)
        return head + tail if head and tail else []
    return []


def _qualifiers(node: exp.Expr) -> list[exp.Expr]:
    return [node.args[key] for key in ("table", "db", "catalog") if node.args.get(key)]


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """Return the conditions that AND joins."""
    if isinstance(node, exp.Paren):
        return conjuncts(node.this)
    if isinstance(node, exp.And):
        return conjuncts(node.this) + conjuncts(node.expression)
    return [node]

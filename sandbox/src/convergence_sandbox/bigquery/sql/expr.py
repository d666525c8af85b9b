"""A compiled expression: DuckDB SQL with its GoogleSQL type and what the compiler must know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from convergence_sandbox.bigquery.sql.types import INT64, SqlType


class _NoLiteral:
    """Marks an expression that is not a literal, since None is a literal's value."""

    def __repr__(self) -> str:
        return "NO_LITERAL"


NO_LITERAL: Final = _NoLiteral()
NOTHING: Final[frozenset[Any]] = frozenset()


@dataclass(frozen=True, slots=True)
class Expr:
    """One compiled expression.

    Attributes:
        sql: DuckDB SQL, safe to embed anywhere (parenthesized or a call).
        type: its GoogleSQL type.
        literal: the Python value, for literals and parameters (they coerce more freely).
        is_parameter: the literal came as a query parameter or script variable.
        untyped_null: a bare NULL, which takes any type.
        any_type: not NULL, yet of whatever type is requested (ERROR never returns).
        free: columns it reads outside aggregates and group keys, as `alias.column`.
        origins: table instances whose partition column this is, unchanged or monotone.
        prunes: table instances whose partitions this condition limits by constants.
        operands: of FLOAT64 arithmetic, its SQL without the check for overflow, and its operands.
        aggregates: contains an aggregate function.
        windows: contains an analytic function.
        constant: reads no column and no subquery.
    """

    sql: str
    type: SqlType
    literal: Any = NO_LITERAL
    is_parameter: bool = False
    untyped_null: bool = False
    any_type: bool = False
    free: frozenset[str] = NOTHING
    origins: frozenset[int] = NOTHING
    prunes: frozenset[int] = NOTHING
    operands: tuple[str, ...] = ()
    aggregates: bool = False
    windows: bool = False
    constant: bool = True
    name: str | None = None

    @property
    def is_literal(self) -> bool:
        """Return whether the value is known at compile time."""
        return self.literal is not NO_LITERAL

    def retyped(self, sql: str, kind: SqlType, *, literal: Any = NO_LITERAL) -> Expr:  # noqa: ANN401
        """Return the same expression converted to another type."""
        return replace(
            self,
            sql=sql,
            type=kind,
            literal=literal,
            untyped_null=False,
            any_type=False,
            operands=(),
        )


def null_of(kind: SqlType) -> Expr:
    """NULL of a type."""
    return Expr(f"CAST(NULL AS {kind.duck})", kind, literal=None)


UNTYPED_NULL = Expr("CAST(NULL AS BIGINT)", INT64, literal=None, untyped_null=True)


def combine(sql: str, kind: SqlType, parts: Iterable[Expr]) -> Expr:
    """Return an expression over others: their columns, aggregates and windows add up."""
    parts = tuple(parts)
    return Expr(
        sql,
        kind,
        free=frozenset().union(*(part.free for part in parts)) if parts else NOTHING,
        aggregates=any(part.aggregates for part in parts),
        windows=any(part.windows for part in parts),
        constant=all(part.constant for part in parts),
    )

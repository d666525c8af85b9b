"""Arithmetic that is exact where BigQuery's is.

NUMERIC is DECIMAL(38,9): sums and comparisons are DuckDB's own. A product is computed with 18
decimals and rounded half away from zero to 9, as BigQuery does; where that intermediate does not
fit 38 digits DuckDB reports an overflow, and the statement is compiled again in exact mode, which
computes products and quotients in Python's decimal. So the common case is native and the rare one
is right. BIGNUMERIC is an unscaled BIGNUM: sums are native, products and quotients are Python's.
https://cloud.google.com/bigquery/docs/reference/standard-sql/operators#arithmetic_operators
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from convergence_sandbox.bigquery.errors import invalid_query
from convergence_sandbox.bigquery.rows.values import INT64_MAX, INT64_MIN
from convergence_sandbox.bigquery.sql.coerce import coerce, cost
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.literals import literal
from convergence_sandbox.bigquery.sql.types import (
    BIGNUMERIC,
    DATE,
    DATETIME,
    FLOAT64,
    INT64,
    INTERVAL,
    NUMERIC,
    TIMESTAMP,
    SqlType,
)

_DECIMAL = "DECIMAL(38,9)"
_OVERFLOW = "error('floating point error: double overflow')"


def arithmetic(sign: str, left: Expr, right: Expr, *, exact: bool, safe: bool = False) -> Expr:
    """`left sign right` for + - * /, typed as BigQuery types it.

    Args:
        sign: the operator.
        left: the first operand.
        right: the second operand.
        exact: compute NUMERIC products and quotients in Python's decimal.
        safe: NULL instead of an error (SAFE_ADD and its kin).
    """
    moment = None if safe else _moment_arithmetic(sign, left, right)
    if moment is not None:
        return moment
    kind = _result_type(sign, left, right)
    one, other = coerce(left, kind), coerce(right, kind)
    folded = None if safe else _folded(sign, left, right, kind)
    if folded is not None:
        return folded
    if kind == NUMERIC:
        sql = (
            _safe_numeric(sign, one, other)
            if safe
            else _numeric_sql(sign, left, right, exact=exact)
        )
        return combine(sql, kind, [left, right])
    if kind == FLOAT64 and not safe:
        return _floating(sign, one, other)
    return combine(_SQL[kind.kind](sign, one.sql, other.sql, safe), kind, [one, other])


def _floating(sign: str, one: Expr, other: Expr) -> Expr:
    """FLOAT64 arithmetic, an error when finite operands overflow.

    The check wraps a whole chain of operations once: checking each would repeat its operands, and
    theirs, without end.
    """
    left, *left_leaves = one.operands or (one.sql, one.sql)
    right, *right_leaves = other.operands or (other.sql, other.sql)
    chain = f"float_div({left}, {right})" if sign == "/" else f"({left} {sign} {right})"
    leaves = tuple(dict.fromkeys([*left_leaves, *right_leaves]))
    finite = " AND ".join(f"isfinite({leaf})" for leaf in leaves)
    sql = f"CASE WHEN isinf({chain}) AND {finite} THEN {_OVERFLOW} ELSE {chain} END"
    return replace(combine(sql, FLOAT64, [one, other]), operands=(chain, *leaves))


def _result_type(sign: str, left: Expr, right: Expr) -> SqlType:
    operand_types = {left.type, right.type}
    # A decimal type comes from an operand, never from a floating point literal alone.
    candidates = [one for one in (INT64, NUMERIC, BIGNUMERIC) if one in operand_types] + [FLOAT64]
    if sign == "/" and INT64 in candidates:
        candidates.remove(INT64)
    best: tuple[int, SqlType] | None = None
    for requested in candidates:
        costs = [cost(left, requested), cost(right, requested)]
        if None in costs:
            continue
        total = sum(each for each in costs if each is not None)
        if best is None or total < best[0]:
            best = (total, requested)
    integers = {left.type, right.type} == {INT64}
    if best is None or not (left.type.is_number and right.type.is_number):
        raise invalid_query(
            f"No matching signature for operator {sign} for argument types:"
            f" {left.type}, {right.type}"
        )
    return FLOAT64 if sign == "/" and integers else best[1]


def _folded(sign: str, left: Expr, right: Expr, kind: SqlType) -> Expr | None:
    """Integer literals computed now, so that `1 + 2` stays a literal."""
    if kind != INT64 or not (left.is_literal and right.is_literal):
        return None
    if left.literal is None or right.literal is None or sign == "/":
        return None
    value = {
        "+": left.literal + right.literal,
        "-": left.literal - right.literal,
        "*": left.literal * right.literal,
    }[sign]
    if not INT64_MIN <= value <= INT64_MAX:
        raise invalid_query(f"int64 overflow: {left.literal} {sign} {right.literal}")
    return literal(value, INT64)


def _numeric_sql(sign: str, left: Expr, right: Expr, *, exact: bool) -> str:
    one, other = coerce(left, NUMERIC).sql, coerce(right, NUMERIC).sql
    if sign in "+-":
        return f"({one} {sign} {other})"
    if exact:
        return f"numeric_{'mul' if sign == '*' else 'div'}_exact({one}, {other})"
    if sign == "/":
        return _quotient(one, other, right)
    # A whole factor adds no decimals: the other's nine are the product's.
    factors = (left.sql if left.type == INT64 else one, right.sql if right.type == INT64 else other)
    return f"CAST(({factors[0]} * {factors[1]}) AS {_DECIMAL})"


def _quotient(one: str, other: str, divisor: Expr) -> str:
    digits = _power_of_ten(divisor)
    if digits == 0:
        return one
    if digits is not None:
        tenth = f"CAST(1e-{digits} AS DECIMAL({digits},{digits}))"
        return f"CAST(({one} * {tenth}) AS {_DECIMAL})"
    # The macro copies its arguments, which a subquery had better not be.
    name = "numeric_div_exact" if "SELECT" in one + other else "numeric_div"
    return f"{name}({one}, {other})"


def _power_of_ten(divisor: Expr) -> int | None:
    """Return how many zeros a literal divisor 1, 10, … 10^9 has."""
    if not divisor.is_literal or divisor.literal is None:
        return None
    value = Decimal(divisor.literal)
    for digits in range(10):
        if value == Decimal(10) ** digits:
            return digits
    return None


def _safe_numeric(sign: str, one: Expr, other: Expr) -> str:
    name = {"+": "add", "-": "sub", "*": "mul", "/": "div"}[sign]
    return f"safe_numeric_{name}_exact({one.sql}, {other.sql})"


def _int64(sign: str, one: str, other: str, safe: bool) -> str:
    sql = f"({one} {sign} {other})"
    return f"TRY({sql})" if safe else sql


def _float64(sign: str, one: str, other: str, safe: bool) -> str:
    name = {"+": "add", "-": "sub", "*": "mul", "/": "div"}[sign]
    return f"{'safe_' if safe else ''}float_{name}({one}, {other})"


def _bignumeric(sign: str, one: str, other: str, safe: bool) -> str:
    name = {"+": "add", "-": "sub", "*": "mul", "/": "div"}[sign]
    return f"{'safe_' if safe else ''}big_{name}({one}, {other})"


_SQL = {"INT64": _int64, "FLOAT64": _float64, "BIGNUMERIC": _bignumeric}


def _moment_arithmetic(sign: str, left: Expr, right: Expr) -> Expr | None:
    """DATE ± days, and dates and times ± INTERVAL."""
    if sign == "+" and right.type in {DATE, DATETIME, TIMESTAMP} and left.type in {INT64, INTERVAL}:
        left, right = right, left
    if sign not in "+-" or left.type not in {DATE, DATETIME, TIMESTAMP}:
        return None
    if left.type == DATE and right.type == INT64:
        sql = f"date_checked({left.sql} {sign} CAST({right.sql} AS INTEGER))"
        return combine(sql, DATE, [left, right])
    if right.type == INTERVAL:
        if left.type == DATE:
            left = coerce(left, DATETIME)
        return combine(f"({left.sql} {sign} {right.sql})", left.type, [left, right])
    if left.type == right.type and sign == "-":
        days = f"to_days(CAST({left.sql} - {right.sql} AS INTEGER))"
        micros = f"to_microseconds(date_diff('microsecond', {right.sql}, {left.sql}))"
        sql = days if left.type == DATE else micros
        return combine(sql, INTERVAL, [left, right])
    return None


def negate(value: Expr) -> Expr:
    """`-value`."""
    if not value.type.is_number:
        raise invalid_query(f"No matching signature for operator - for argument type: {value.type}")
    if value.is_literal and value.literal is not None and not value.is_parameter:
        if value.type == INT64 and value.literal == INT64_MIN:
            raise invalid_query(f"int64 overflow: -({value.literal})")
        return literal(_negated(value.literal), value.type)
    return combine(f"(-{value.sql})", value.type, [value])


def _negated(value: Any) -> Any:  # noqa: ANN401  # int, float or Decimal
    # Unary minus would round a Decimal to the context's 28 digits.
    return value.copy_negate() if isinstance(value, Decimal) else -value


def numeric_average(total: str, count: str, *, exact: bool) -> str:
    """AVG of NUMERIC: the sum over the count, rounded half away from zero."""
    name = "numeric_div_exact" if exact else "numeric_div"
    return f"{name}({total}, CAST(nullif({count}, 0) AS {_DECIMAL}))"

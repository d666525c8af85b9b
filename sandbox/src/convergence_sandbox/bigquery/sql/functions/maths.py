"""Numbers: rounding, division, signs, logarithms.

https://cloud.google.com/bigquery/docs/reference/standard-sql/mathematical_functions
"""

from __future__ import annotations

from dataclasses import replace

from convergence_sandbox.bigquery.sql.coerce import coerce, cost, unify
from convergence_sandbox.bigquery.sql.expr import NO_LITERAL, Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, define, handler
from convergence_sandbox.bigquery.sql.numeric import arithmetic, negate
from convergence_sandbox.bigquery.sql.types import (
    BIGNUMERIC,
    FLOAT64,
    INT64,
    NUMERIC,
    STRING,
    SqlType,
)

define(
    {
        "SQRT": "FLOAT64 -> FLOAT64: sqrt_checked({0})",
        "EXP": "FLOAT64 -> FLOAT64: float_checked(exp({0}), {0})",
        "LN": "FLOAT64 -> FLOAT64: ln_checked({0})",
        "LOG10": "FLOAT64 -> FLOAT64: (ln_checked({0}) * 0 + log10({0}))",
        "LOG": [
            "FLOAT64 -> FLOAT64: ln_checked({0})",
            "FLOAT64, FLOAT64 -> FLOAT64: (ln_checked({0}) / ln_checked({1}))",
        ],
        "POW POWER": "FLOAT64, FLOAT64 -> FLOAT64: pow_checked({0}, {1})",
        "SIN": "FLOAT64 -> FLOAT64: sin({0})",
        "COS": "FLOAT64 -> FLOAT64: cos({0})",
        "TAN": "FLOAT64 -> FLOAT64: tan({0})",
        "ATAN": "FLOAT64 -> FLOAT64: atan({0})",
        "ATAN2": "FLOAT64, FLOAT64 -> FLOAT64: atan2({0}, {1})",
        "IS_INF": "FLOAT64 -> BOOL: isinf({0})",
        "IS_NAN": "FLOAT64 -> BOOL: isnan({0})",
        "BIT_COUNT": "INT64 -> INT64: CAST(bit_count({0}) AS BIGINT)",
        "RANGE_BUCKET": [
            "INT64, ARRAY<INT64> -> INT64: range_bucket({0}, {1})",
            "NUMERIC, ARRAY<NUMERIC> -> INT64: range_bucket({0}, {1})",
            "FLOAT64, ARRAY<FLOAT64> -> INT64: range_bucket({0}, {1})",
        ],
    }
)


@handler("RAND")
def rand(call: Call) -> Expr:
    """RAND(): uniform in [0, 1) for each row."""
    call.check_count(0)
    return Expr("random()", FLOAT64, constant=False)


def _number(call: Call, index: int, *kinds: SqlType) -> Expr:
    """Return an argument as the nearest of these number types."""
    made = call.arg(index)
    fitting = [(score, kind) for kind in kinds if (score := cost(made, kind)) is not None]
    if not fitting:
        raise call.mismatch([made])
    return coerce(made, min(fitting, key=lambda one: one[0])[1])


@handler("ROUND", "TRUNC")
def rounding(call: Call) -> Expr:
    """ROUND (half away from zero) and TRUNC, to any number of decimals."""
    call.check_count(1, 2)
    value = (
        _number(call, 0, FLOAT64, NUMERIC, BIGNUMERIC)
        if call.arg(0).type != INT64
        else coerce(call.arg(0), FLOAT64)
    )
    digits = coerce(call.arg(1), INT64) if len(call.nodes) == 2 else None
    count = "0" if digits is None else digits.sql
    parts = [value] if digits is None else [value, digits]
    keyword = call.name.lower()
    if value.type == NUMERIC and (digits is None or digits.is_literal):
        places = 0 if digits is None or digits.literal is None else int(digits.literal)
        sql = f"CAST({keyword}({value.sql}, {min(places, 9)}) AS DECIMAL(38,9))"
        if places >= 9:
            sql = value.sql
        return combine(sql, NUMERIC, parts)
    prefix = {"NUMERIC": "numeric", "BIGNUMERIC": "big", "FLOAT64": "float"}[value.type.kind]
    return combine(f"{prefix}_{keyword}({value.sql}, {count})", value.type, parts)


@handler("CEIL", "CEILING", "FLOOR")
def whole(call: Call) -> Expr:
    """CEIL and FLOOR."""
    call.check_count(1)
    value = (
        _number(call, 0, FLOAT64, NUMERIC, BIGNUMERIC)
        if call.arg(0).type != INT64
        else coerce(call.arg(0), FLOAT64)
    )
    keyword = "floor" if call.name == "FLOOR" else "ceil"
    if value.type == BIGNUMERIC:
        return combine(f"big_{keyword}({value.sql})", BIGNUMERIC, [value])
    if value.type == NUMERIC:
        return combine(f"numeric_{keyword}({value.sql})", NUMERIC, [value])
    return combine(f"{keyword}({value.sql})", FLOAT64, [value])


@handler("ABS", "SIGN")
def magnitude(call: Call) -> Expr:
    """ABS and SIGN, in the argument's type."""
    call.check_count(1)
    value = _number(call, 0, INT64, NUMERIC, BIGNUMERIC, FLOAT64)
    zero = {"INT64": "CAST(0 AS BIGINT)", "BIGNUMERIC": "CAST('0' AS BIGNUM)"}
    if call.name == "ABS":
        if value.type == BIGNUMERIC:
            sql = (
                f"CASE WHEN {value.sql} < {zero['BIGNUMERIC']} THEN -{value.sql}"
                f" ELSE {value.sql} END"
            )
        else:
            sql = f"abs({value.sql})"
        return combine(sql, value.type, [value])
    if value.type == BIGNUMERIC:
        return combine(f"big_sign({value.sql})", BIGNUMERIC, [value])
    return combine(f"CAST(sign({value.sql}) AS {value.type.duck})", value.type, [value])


@handler("DIV", "MOD")
def integer_division(call: Call) -> Expr:
    """DIV (towards zero) and MOD (the sign of the dividend); an error for a zero divisor."""
    call.check_count(2)
    (one, other), kind = unify(call.args(), what=f"function {call.name}")
    if kind == FLOAT64:
        raise call.mismatch([one, other])
    keyword = call.name.lower()
    if kind == INT64:
        return combine(f"int_{keyword}({one.sql}, {other.sql})", INT64, [one, other])
    prefix = "numeric" if kind == NUMERIC else "big"
    return combine(
        f"{prefix}_{keyword}int({one.sql}, {other.sql})"
        if keyword == "div"
        else f"{prefix}_mod({one.sql}, {other.sql})",
        kind,
        [one, other],
    )


@handler("IEEE_DIVIDE")
def ieee_divide(call: Call) -> Expr:
    """Division that gives infinity or NaN instead of an error."""
    call.check_count(2)
    one, other = coerce(call.arg(0), FLOAT64), coerce(call.arg(1), FLOAT64)
    return combine(f"ieee_divide({one.sql}, {other.sql})", FLOAT64, [one, other])


@handler("SAFE_DIVIDE", "SAFE_MULTIPLY", "SAFE_ADD", "SAFE_SUBTRACT")
def safe_arithmetic(call: Call) -> Expr:
    """Return the operator, with NULL instead of an error."""
    call.check_count(2)
    sign = {"SAFE_DIVIDE": "/", "SAFE_MULTIPLY": "*", "SAFE_ADD": "+", "SAFE_SUBTRACT": "-"}
    one, other = call.args()
    if not (one.type.is_number and other.type.is_number):
        raise call.mismatch([one, other])
    if call.name == "SAFE_DIVIDE":
        return _safe_divide(call, one, other)
    return arithmetic(sign[call.name], one, other, exact=call.compiler.exact, safe=True)


def _safe_divide(call: Call, one: Expr, other: Expr) -> Expr:
    """Division that a zero makes NULL; NUMERIC's quick division serves while it does not overflow.

    Where it does, exact mode computes again, and there an overflow is NULL too.
    """
    exact = call.compiler.exact
    if exact or NUMERIC not in {one.type, other.type}:
        return arithmetic("/", one, other, exact=exact, safe=True)
    if other.is_literal and other.literal:
        return arithmetic("/", one, other, exact=False)
    divisor = replace(other, sql=f"nullif({other.sql}, 0)", literal=NO_LITERAL)
    return arithmetic("/", one, divisor, exact=False)


@handler("SAFE_NEGATE")
def safe_negate(call: Call) -> Expr:
    """`-value`, or NULL on overflow."""
    call.check_count(1)
    made = negate(call.arg(0))
    return combine(f"TRY({made.sql})", made.type, [made])


@handler("ERROR")
def error(call: Call) -> Expr:
    """ERROR(message): fails when evaluated; takes any type from its context."""
    call.check_count(1)
    message = coerce(call.arg(0), STRING)
    sql = f"CAST(error({message.sql}) AS BIGINT)"
    return Expr(sql, INT64, any_type=True, free=message.free, constant=False)

"""DuckDB macros that the function table's templates call.

A macro's arguments are copied into it, so one that mentions an argument often is kept small.
`error('…')` fails the statement when its branch is evaluated.
"""

from __future__ import annotations

import re

_SCALAR = {
    # integers and floats
    "floor_div(a, b)": "(a // b) - CASE WHEN (a % b) <> 0 AND ((a < 0) <> (b < 0)) THEN 1 ELSE 0 END",
    "int_div(a, b)": "CASE WHEN b = 0 THEN error('division by zero: DIV') ELSE a // b END",
    "int_mod(a, b)": "CASE WHEN b = 0 THEN error('division by zero: MOD') ELSE a % b END",
    "float_add(a, b)": "a + b",
    "float_sub(a, b)": "a - b",
    "float_mul(a, b)": "a * b",
    "float_div(a, b)": "CASE WHEN b = 0 THEN error('division by zero: x / 0') ELSE a / b END",
    "safe_float_add(a, b)": "finite_or_null(a + b)",
    "safe_float_sub(a, b)": "finite_or_null(a - b)",
    "safe_float_mul(a, b)": "finite_or_null(a * b)",
    "safe_float_div(a, b)": "finite_or_null(CASE WHEN b = 0 THEN NULL ELSE a / b END)",
    "finite_or_null(x)": "CASE WHEN isfinite(x) THEN x END",
    "float_checked(x, a)": "CASE WHEN isinf(x) AND NOT isinf(a) THEN error('floating point error: double overflow') ELSE x END",
    "ieee_divide(a, b)": "CASE WHEN b <> 0 THEN a / b WHEN a = 0 OR isnan(a) THEN CAST('nan' AS DOUBLE)"
    " WHEN (a > 0) = (1 / b >= 0) THEN CAST('inf' AS DOUBLE) ELSE CAST('-inf' AS DOUBLE) END",
    "sqrt_checked(x)": "CASE WHEN x < 0 THEN error('Argument to SQRT cannot be negative') ELSE sqrt(x) END",
    "ln_checked(x)": "CASE WHEN x <= 0 THEN error('Argument to LN must be positive') ELSE ln(x) END",
    "float_round(x, n)": "round(x, CAST(n AS INTEGER))",
    "float_trunc(x, n)": "CASE WHEN n = 0 THEN trunc(x) ELSE trunc(x * pow(10, n)) / pow(10, n) END",
    "float_to_int(x)": "CASE WHEN isnan(x) OR abs(x) >= 9223372036854775808 THEN error('Illegal conversion of float to int64: ' || x) ELSE CAST(round(x) AS BIGINT) END",
    "safe_float_to_int(x)": "CASE WHEN isnan(x) OR abs(x) >= 9223372036854775808 THEN NULL ELSE CAST(round(x) AS BIGINT) END",
    "range_bucket(x, buckets)": "len(list_filter(buckets, lambda b: b <= x))",
    # NUMERIC
    "numeric_text(x)": "rtrim(rtrim(CAST(x AS VARCHAR), '0'), '.')",
    "numeric_to_int(x)": "CAST(x AS BIGINT)",
    "safe_numeric_to_int(x)": "TRY_CAST(x AS BIGINT)",
    "numeric_ceil(x)": "CAST(ceil(x) AS DECIMAL(38,9))",
    "numeric_floor(x)": "CAST(floor(x) AS DECIMAL(38,9))",
    # The stored integer of a DECIMAL(38,9), and back.
    "unscaled(x)": "CAST(x * CAST(1000000000 AS BIGINT) AS HUGEINT)",
    "rescaled(x)": "CAST(CAST(x AS DECIMAL(38,0)) * CAST(0.000000001 AS DECIMAL(9,9))"
    " AS DECIMAL(38,9))",
    "nonzero(x)": "CASE WHEN x = 0 THEN error('division by zero: x / 0') ELSE x END",
    # Half away from zero: floor((2n + d) / 2d) of the magnitudes, then the sign.
    "numeric_div(a, b)": "rescaled(sign(a) * sign(b)"
    " * ((abs(unscaled(a)) * CAST(2000000000 AS HUGEINT) + abs(unscaled(b)))"
    " // (2 * nonzero(abs(unscaled(b))))))",
    # BIGNUMERIC: BIGNUM holds the value times 10^38
    "big_digits(v)": "lpad(ltrim(v, '-'), CAST(greatest(39, length(ltrim(v, '-'))) AS INTEGER), '0')",
    "big_point(d)": "rtrim(rtrim(substring(d, 1, length(d) - 38) || '.' || right(d, 38), '0'), '.')",
    "big_text(x)": "CASE WHEN CAST(x AS VARCHAR) = '0' THEN '0' ELSE CASE WHEN starts_with(CAST(x AS VARCHAR), '-') THEN '-' ELSE '' END"
    " || big_point(big_digits(CAST(x AS VARCHAR))) END",
    "numeric_to_big(x)": "CAST(replace(CAST(x AS VARCHAR), '.', '') || '00000000000000000000000000000' AS BIGNUM)",
    "big_checked(x)": "CAST(big_in_range(CAST(x AS VARCHAR)) AS BIGNUM)",
    "big_add(a, b)": "big_checked(a + b)",
    "big_sub(a, b)": "big_checked(a - b)",
    # arrays
    "array_at(a, i)": "CASE WHEN i < 1 OR i > len(a) THEN error('Array index ' || (i - 1) || ' is out of bounds') ELSE a[i] END",
    "array_safe_at(a, i)": "CASE WHEN i < 1 THEN NULL ELSE a[i] END",
    "array_join(a, b)": "CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE list_concat(a, b) END",
    "array_text(a, sign, missing)": "CASE WHEN a IS NULL OR sign IS NULL THEN NULL WHEN len(a) = 0 THEN ''"
    " ELSE coalesce(array_to_string(list_transform(a, lambda e: coalesce(e, missing)), sign), '') END",
    "number_range(a, b, step)": "CASE WHEN step = 0 THEN error('Sequence step cannot be 0.') ELSE generate_series(a, b, step) END",
    # strings
    "replace_text(s, a, b)": "CASE WHEN a = '' THEN s ELSE replace(s, a, b) END",
    "substr_from(s, p)": "CASE WHEN p < 0 THEN greatest(length(s) + p + 1, 1) WHEN p = 0 THEN 1 ELSE p END",
    "substr_text(s, p, n)": "CASE WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative')"
    " ELSE substring(s, substr_from(s, p), coalesce(n, length(s))) END",
    "left_checked(s, n)": "CASE WHEN n < 0 THEN error('Second argument in LEFT() cannot be negative') ELSE left(s, n) END",
    "right_checked(s, n)": "CASE WHEN n < 0 THEN error('Second argument in RIGHT() cannot be negative') ELSE right(s, n) END",
    "repeat_checked(s, n)": "CASE WHEN n < 0 THEN error('Second argument in REPEAT() cannot be negative') ELSE repeat(s, n) END",
    "pad_left(s, n, p)": "CASE WHEN n < 0 OR p = '' THEN error('Invalid arguments to LPAD') ELSE lpad(s, CAST(n AS INTEGER), p) END",
    "pad_right(s, n, p)": "CASE WHEN n < 0 OR p = '' THEN error('Invalid arguments to RPAD') ELSE rpad(s, CAST(n AS INTEGER), p) END",
    "split_text(s, sign)": "string_split(s, sign)",
    "format_integer(x, width, zeros)": "CASE WHEN length(CAST(x AS VARCHAR)) >= width THEN CAST(x AS VARCHAR)"
    " WHEN NOT zeros THEN lpad(CAST(x AS VARCHAR), CAST(width AS INTEGER), ' ')"
    " WHEN x < 0 THEN '-' || lpad(substring(CAST(x AS VARCHAR), 2), CAST(width - 1 AS INTEGER), '0')"
    " ELSE lpad(CAST(x AS VARCHAR), CAST(width AS INTEGER), '0') END",
    # moments
    "micros_timestamp(x)": "CASE WHEN x < -62135596800000000 OR x >= 253402300800000000 THEN error('TIMESTAMP value is out of allowed range: ' || x) ELSE make_timestamptz(x) END",
    "date_checked(d)": "CASE WHEN d < DATE '0001-01-01' OR d > DATE '9999-12-31' THEN error('DATE value is out of allowed range') ELSE d END",
    "make_date_checked(y, m, d)": "make_date(y, m, d)",
    "make_datetime_checked(y, mo, d, h, mi, s)": "make_timestamp(y, mo, d, h, mi, CAST(s AS DOUBLE))",
    "make_time_checked(h, m, s)": "make_time(h, m, CAST(s AS DOUBLE))",
    "week_number(d, first)": "floor_div(CAST(CAST(d AS DATE) - DATE '1970-01-01' AS BIGINT) + 3 + first, 7)",
    "week_of_year(d, first)": "(dayofyear(d) + 6 - ((dayofweek(d) - first + 7) % 7)) // 7",
    "micro_text(m)": "CASE WHEN m = 0 THEN '' WHEN m % 1000 = 0 THEN '.' || lpad(CAST(m // 1000 AS VARCHAR), 3, '0') ELSE '.' || lpad(CAST(m AS VARCHAR), 6, '0') END",
    "datetime_text(x)": "strftime(x, '%Y-%m-%d %H:%M:%S') || micro_text(date_part('microsecond', x) % 1000000)",
    "time_text(x)": "left(CAST(x AS VARCHAR), 8) || micro_text(date_part('microsecond', x) % 1000000)",
    "text_to_timestamp_in(s, z)": "micros_timestamp(text_to_micros(s, z))",
    "text_to_timestamp(s)": "micros_timestamp(text_to_micros(s, 'UTC'))",
    "safe_text_to_timestamp(s)": "micros_timestamp(safe_text_to_micros(s, 'UTC'))",
    # JSON
    "json_or_null(s)": "CASE WHEN json_valid(s) THEN CAST(s AS JSON) END",
    "json_scalar_at(j, p)": "CASE WHEN json_type(j, p) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(j, p) END",
    "json_scalar_text(j)": "json_scalar_at(j, '$')",
    "json_part_text(j, p)": "CASE WHEN json_type(j, p) = 'NULL' THEN NULL ELSE CAST(json_extract(j, p) AS VARCHAR) END",
    "json_elements(j, p)": "CASE WHEN json_type(j, p) = 'ARRAY' THEN CAST(json_extract(j, p) AS JSON[]) END",
    "json_scalars(j, p)": "CASE WHEN len(list_filter(json_elements(j, p), lambda e: json_type(e) IN ('OBJECT', 'ARRAY'))) > 0"
    " THEN NULL ELSE list_transform(json_elements(j, p), lambda e: json_scalar_at(e, '$')) END",
    "json_at(j, k)": "json_extract(j, '$.\"' || replace(k, '\"', '\\\"') || '\"')",
    "json_nth(j, i)": "CASE WHEN i < 0 THEN NULL ELSE json_extract(j, '$[' || i || ']') END",
    "json_text_name(s)": "CAST(to_json(s) AS VARCHAR)",
    "json_integer(x)": "CASE WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN '\"' || x || '\"' ELSE CAST(x AS VARCHAR) END",
    "json_decimal(v)": "CASE WHEN contains(v, '.') OR length(v) > 16 THEN '\"' || v || '\"' ELSE v END",
    "json_numeric(x)": "json_decimal(numeric_text(x))",
    "json_big(x)": "json_decimal(big_text(x))",
    "json_float(x)": "CASE WHEN isnan(x) THEN '\"NaN\"' WHEN isinf(x) THEN CASE WHEN x > 0 THEN '\"Infinity\"' ELSE '\"-Infinity\"' END ELSE float_text(x) END",
    "json_kind(j)": "CASE json_type(j) WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'array' WHEN 'VARCHAR' THEN 'string'"
    " WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' ELSE 'number' END",
    "json_as_string(j)": "CASE WHEN json_type(j) = 'VARCHAR' THEN json_extract_string(j, '$') ELSE error('The provided JSON input is not a string') END",
    "json_as_bool(j)": "CASE WHEN json_type(j) = 'BOOLEAN' THEN CAST(j AS BOOLEAN) ELSE error('The provided JSON input is not a boolean') END",
    "json_as_int(j)": "CASE WHEN json_type(j) IN ('BIGINT', 'UBIGINT') THEN CAST(j AS BIGINT) ELSE error('The provided JSON input is not an integer') END",
    "json_as_float(j)": "CASE WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN CAST(j AS DOUBLE) ELSE error('The provided JSON input is not a number') END",
}


def _ordered() -> list[str]:
    """The macros, each after those it calls, as DuckDB wants them made."""
    names = {head.partition("(")[0]: (head, body) for head, body in _SCALAR.items()}
    made: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in made:
            return
        for called in re.findall(r"(\w+)\(", names[name][1]):
            if called in names:
                visit(called)
        made[name] = None

    for name in names:
        visit(name)
    return [f"CREATE OR REPLACE MACRO {names[name][0]} AS {names[name][1]}" for name in made]


MACROS = tuple(_ordered())

"""What DuckDB cannot compute as BigQuery does, for one row, in Python.

Arguments are never NULL. A ValueError is BigQuery's error; the `safe_` form gives NULL instead.
BIGNUMERIC values are the text of their unscaled integers.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from convergence_sandbox.bigquery.rows import values
from convergence_sandbox.bigquery.sql.functions.farmhash import fingerprint64
from convergence_sandbox.bigquery.sql.functions.moments import format_moment, parse_moment

NUMERIC = "DECIMAL(38,9)"
_SCALE = Decimal(10) ** values.BIGNUMERIC_SCALE


def _round_numeric(value: Decimal) -> Decimal:
    try:
        return values.to_numeric(value)
    except ValueError:
        raise ValueError(f"numeric overflow: {value:.6E}") from None


def _divisor(value: Decimal) -> Decimal:
    if value == 0:
        raise ValueError("division by zero: x / 0")
    return value


def _big(text: str) -> Decimal:
    return values.WIDE.divide(Decimal(text), _SCALE)


_ONE = 10**values.BIGNUMERIC_SCALE


def _divided(value: int, by: int) -> str:
    """Return an unscaled quotient, rounded half away from zero."""
    quotient = (2 * abs(value) + abs(by)) // (2 * abs(by))
    return _in_range(str(quotient if (value < 0) == (by < 0) else -quotient))


def _big_mul(one: str, other: str) -> str:
    return _divided(int(one) * int(other), _ONE)


def _big_div(one: str, other: str) -> str:
    by = int(other)
    if by == 0:
        raise ValueError("division by zero: x / 0")
    return _divided(int(one) * _ONE, by)


def _unscaled(value: Decimal) -> str:
    try:
        return str(values.to_bignumeric(value))
    except ValueError:
        raise ValueError(f"bignumeric overflow: {value:.6E}") from None


def _rounded(value: Decimal, digits: int, *, limit: int) -> Decimal:
    return value if digits >= limit else values.round_decimal(value, max(digits, -60))


def _truncated(value: Decimal, digits: int, *, limit: int) -> Decimal:
    if digits >= limit:
        return value
    context = values.WIDE.copy()
    context.rounding = "ROUND_DOWN"
    return value.quantize(Decimal(1).scaleb(-digits), context=context)


def _directed(value: Decimal, rounding: str) -> Decimal:
    return value.to_integral_value(rounding=rounding)


def _from_float(value: float) -> Decimal:
    if not math.isfinite(value):
        raise ValueError(f"Invalid NUMERIC value: {value}")
    return Decimal(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def _pow(base: float, power: float) -> float:
    try:
        return math.pow(base, power)
    except (OverflowError, ValueError):
        raise ValueError(f"Floating point error in function: POW({base}, {power})") from None


def _to_int64(value: Decimal) -> int:
    made = int(value.to_integral_value(rounding="ROUND_HALF_UP"))
    if not values.INT64_MIN <= made <= values.INT64_MAX:
        raise ValueError(f"int64 overflow: {value}")
    return made


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text if len(text) % 2 == 0 else f"0{text}")
    except ValueError:
        raise ValueError(f"Failed to decode invalid hexadecimal string: {text}") from None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("Failed to decode invalid base64 string") from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("Invalid UTF-8 in CAST from BYTES to STRING") from None


def _title(text: str) -> str:
    made, start = [], True
    for one in text:
        made.append(one.upper() if start else one.lower())
        start = not one.isalnum()
    return "".join(made)


def _translate(text: str, source: str, target: str) -> str:
    table: dict[int, str | None] = {}
    for index, one in enumerate(source):
        table.setdefault(ord(one), target[index] if index < len(target) else None)
    return text.translate(table)


def _moment_text(pattern: str, value: dt.datetime, kind: str, zone_name: str) -> str:
    return format_moment(pattern, value, kind, zone_name)


def _format_decimal(value: Decimal, spec: str) -> str:
    """`%f` of an exact number: rounded half away from zero, unlike Python's own."""
    width, _, digits = spec.partition(".")
    text = f"{values.round_decimal(value, int(digits or 6)):f}"
    return text.zfill(int(width)) if width.startswith("0") else text.rjust(int(width or 0))


def _in_range(text: str) -> str:
    if abs(int(text)) > values.BIGNUMERIC_UNSCALED_MAX:
        raise ValueError("bignumeric overflow")
    return text


_V, _B, _D = "VARCHAR", "BIGINT", "DOUBLE"
# name: (function, argument types, result type)
KERNELS: dict[str, tuple[Callable[..., Any], list[str], str]] = {
    "numeric_add_exact": (
        lambda a, b: _round_numeric(values.WIDE.add(a, b)),
        [NUMERIC] * 2,
        NUMERIC,
    ),
    "numeric_sub_exact": (
        lambda a, b: _round_numeric(values.WIDE.subtract(a, b)),
        [NUMERIC] * 2,
        NUMERIC,
    ),
    "numeric_mul_exact": (
        lambda a, b: _round_numeric(values.WIDE.multiply(a, b)),
        [NUMERIC] * 2,
        NUMERIC,
    ),
    "numeric_div_exact": (
        lambda a, b: _round_numeric(values.WIDE.divide(a, _divisor(b))),
        [NUMERIC] * 2,
        NUMERIC,
    ),
    "numeric_mod": (lambda a, b: values.WIDE.remainder(a, _divisor(b)), [NUMERIC] * 2, NUMERIC),
    "numeric_divint": (
        lambda a, b: _directed(values.WIDE.divide(a, _divisor(b)), "ROUND_DOWN"),
        [NUMERIC] * 2,
        NUMERIC,
    ),
    "numeric_round": (lambda x, n: _round_numeric(_rounded(x, n, limit=9)), [NUMERIC, _B], NUMERIC),
    "numeric_trunc": (lambda x, n: _truncated(x, n, limit=9), [NUMERIC, _B], NUMERIC),
    "float_to_numeric": (lambda x: _round_numeric(_from_float(x)), [_D], NUMERIC),
    "text_to_numeric": (lambda s: values.to_numeric(values.parse_decimal(s)), [_V], NUMERIC),
    "udf_big_mul": (_big_mul, [_V] * 2, _V),
    "udf_big_div": (_big_div, [_V] * 2, _V),
    "udf_big_add": (lambda a, b: _unscaled(values.WIDE.add(_big(a), _big(b))), [_V] * 2, _V),
    "udf_big_sub": (lambda a, b: _unscaled(values.WIDE.subtract(_big(a), _big(b))), [_V] * 2, _V),
    "udf_big_mod": (
        lambda a, b: _unscaled(values.WIDE.remainder(_big(a), _divisor(_big(b)))),
        [_V] * 2,
        _V,
    ),
    "udf_big_divint": (
        lambda a, b: _unscaled(
            _directed(values.WIDE.divide(_big(a), _divisor(_big(b))), "ROUND_DOWN")
        ),
        [_V] * 2,
        _V,
    ),
    "udf_big_round": (lambda x, n: _unscaled(_rounded(_big(x), n, limit=38)), [_V, _B], _V),
    "udf_big_trunc": (lambda x, n: _unscaled(_truncated(_big(x), n, limit=38)), [_V, _B], _V),
    "udf_big_ceil": (lambda x: _unscaled(_directed(_big(x), "ROUND_CEILING")), [_V], _V),
    "udf_big_floor": (lambda x: _unscaled(_directed(_big(x), "ROUND_FLOOR")), [_V], _V),
    "udf_big_sign": (lambda x: _unscaled(Decimal((int(x) > 0) - (int(x) < 0))), [_V], _V),
    "big_in_range": (_in_range, [_V], _V),
    "udf_float_to_big": (lambda x: _unscaled(_from_float(x)), [_D], _V),
    "udf_text_to_big": (lambda s: str(values.to_bignumeric(values.parse_decimal(s))), [_V], _V),
    "udf_big_to_float": (lambda x: float(_big(x)), [_V], _D),
    "udf_big_to_int": (lambda x: _to_int64(_big(x)), [_V], _B),
    "udf_big_to_numeric": (lambda x: _round_numeric(_big(x)), [_V], NUMERIC),
    "float_text": (_float_text, [_D], _V),
    "pow_checked": (_pow, [_D] * 2, _D),
    "text_to_int": (values.parse_int64, [_V], _B),
    "text_to_float": (values.parse_float64, [_V], _D),
    "text_to_bool": (values.parse_bool, [_V], "BOOLEAN"),
    "text_to_date": (values.parse_date, [_V], "DATE"),
    "text_to_time": (values.parse_time, [_V], "TIME"),
    "text_to_datetime": (values.parse_datetime, [_V], "TIMESTAMP"),
    "text_to_micros": (values.parse_timestamp, [_V] * 2, _B),
    "bytes_to_text": (_decoded, ["BLOB"], _V),
    "lossy_text": (lambda data: data.decode(errors="replace"), ["BLOB"], _V),
    "text_from_hex": (_hex, [_V], "BLOB"),
    "text_from_base64": (_base64, [_V], "BLOB"),
    "title_case": (_title, [_V], _V),
    "translate_text": (_translate, [_V] * 3, _V),
    "sha512_bytes": (lambda data: hashlib.sha512(data).digest(), ["BLOB"], "BLOB"),
    "farm_fingerprint": (fingerprint64, ["BLOB"], _B),
    "format_text": (lambda value, spec: spec % value, [_V, _V], _V),
    "format_float": (lambda value, spec: spec % value, [_D, _V], _V),
    "format_decimal": (_format_decimal, [NUMERIC, _V], _V),
    "format_moment": (_moment_text, [_V, "TIMESTAMP", _V, _V], _V),
    "parse_moment": (parse_moment, [_V] * 4, _B),
    "normal_json": (values.parse_json, [_V], _V),
}

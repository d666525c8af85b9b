"""Values in BigQuery's JSON wire form: strings in `{"f": [{"v": …}]}`.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list and the behaviour of the
official client, which requests timestamps as integer microseconds.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from convergence_sandbox.bigquery.sql.types import SqlType, quote, stored_names

Wire = Any
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def output_sql(kind: SqlType, sql: str, *, depth: int = 0) -> str:
    """Return the DuckDB expression that fetches a value of this type through Arrow.

    BIGNUM has no Arrow form, so BIGNUMERIC travels as text, at any depth.
    """
    if not kind.holds("BIGNUMERIC"):
        return sql
    if kind.kind == "BIGNUMERIC":
        return f"big_text({sql})"
    if kind.element is not None:
        name = f"w{depth}"
        inner = output_sql(kind.element, name, depth=depth + 1)
        return f"list_transform({sql}, lambda {name}: {inner})"
    parts = ", ".join(
        f"{quote(name)} := {output_sql(one, f'({sql}).{quote(name)}', depth=depth)}"
        for name, (_, one) in zip(stored_names(kind), kind.fields, strict=True)
    )
    return f"CASE WHEN ({sql}) IS NULL THEN NULL ELSE struct_pack({parts}) END"


def encode_rows(
    table: pa.Table, kinds: Sequence[SqlType], *, int64_timestamps: bool = True
) -> list[dict[str, Wire]]:
    """Return rows of an Arrow table (fetched by `output_sql`) in wire form.

    Args:
        table: the rows.
        kinds: the type of each column, in order.
        int64_timestamps: microseconds as an integer, else seconds as a decimal number.
    """
    encode = _Encoder(int64_timestamps=int64_timestamps)
    columns = [encode.column(table.column(index), kind) for index, kind in enumerate(kinds)]
    return [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]


class _Encoder:
    def __init__(self, *, int64_timestamps: bool) -> None:
        self._int64_timestamps = int64_timestamps

    def column(self, column: pa.ChunkedArray, kind: SqlType) -> list[Wire]:
        if kind.kind == "INT64":
            return list(pc.cast(column, pa.string()).to_pylist())
        if kind.kind == "STRING":
            return list(column.to_pylist())
        encode = self.value(kind)
        return [encode(value) for value in column.to_pylist()]

    def value(self, kind: SqlType) -> Callable[[Any], Wire]:
        """Return the function that encodes one Python value of this type, None included."""
        if kind.element is not None:
            return self._array(self.value(kind.element))
        if kind.kind == "STRUCT":
            return self._struct(kind)
        if kind.kind == "TIMESTAMP" and not self._int64_timestamps:
            return _nullable(_timestamp_seconds)
        return _nullable(_SCALARS[kind.kind])

    def _array(self, encode: Callable[[Any], Wire]) -> Callable[[Any], Wire]:
        return lambda values: [{"v": encode(value)} for value in values or ()]

    def _struct(self, kind: SqlType) -> Callable[[Any], Wire]:
        children = [
            (name, self.value(one))
            for name, (_, one) in zip(stored_names(kind), kind.fields, strict=True)
        ]
        return _nullable(
            lambda value: {"f": [{"v": encode(value[name])} for name, encode in children]}
        )


def _nullable(encode: Callable[[Any], Wire]) -> Callable[[Any], Wire]:
    return lambda value: None if value is None else encode(value)


def _format_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def decimal_text(value: Decimal) -> str:
    """Return a decimal as BigQuery writes it: no exponent, no trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def timestamp_micros(value: dt.datetime) -> int:
    """Microseconds since the epoch."""
    return (value - _EPOCH) // _MICROSECOND


def _timestamp_seconds(value: dt.datetime) -> str:
    micros = timestamp_micros(value)
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}" if micros >= 0 else repr(micros / 1e6)


def _time(value: dt.time) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")


def _datetime(value: dt.datetime) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")


def _interval(value: Any) -> str:  # noqa: ANN401  # pyarrow.MonthDayNano, which has no stubs
    months, days, nanos = value.months, value.days, value.nanoseconds
    years, months = divmod(abs(months), 12)
    sign = "-" if value.months < 0 else ""
    seconds, fraction = divmod(abs(nanos) // 1000, 1_000_000)
    tail = f".{fraction:06d}".rstrip("0") if fraction else ""
    clock = f"{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}{tail}"
    return f"{sign}{years}-{months} {days} {'-' if nanos < 0 else ''}{clock}"


_SCALARS: dict[str, Callable[[Any], Wire]] = {
    "INT64": str,
    "FLOAT64": _format_float,
    "NUMERIC": decimal_text,
    "BIGNUMERIC": str,
    "BOOL": lambda value: "true" if value else "false",
    "STRING": str,
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "DATE": lambda value: value.isoformat(),
    "TIME": _time,
    "DATETIME": _datetime,
    "TIMESTAMP": lambda value: str(timestamp_micros(value)),
    "JSON": str,
    "INTERVAL": _interval,
}

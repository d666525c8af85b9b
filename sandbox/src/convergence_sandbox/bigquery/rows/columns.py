"""The quick way in for plain rows: a chunk is checked column by column instead of value by value.

Takes only what is beyond doubt. Anything else is left to the row reader, which also knows how to
name what is wrong; so the two never disagree on what is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import methodcaller
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.rows.validate import RowError, RowReader

Values = list[Any]
Kinds = frozenset[type]

_NUMERIC = pa.decimal128(38, 9)
_PLAIN_NUMBER = r"^-?[0-9]{1,29}(\.[0-9]{1,9})?$"
_PLAIN_DAY = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}$"
_PLAIN_MOMENT = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_UTC = r"(Z|\+00:00)$"


def plain_table(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pa.Table | None:
    """The rows as an Arrow table of the schema's types, or None when one needs a closer look.

    Args:
        rows: JSON objects as decoded, numbers with a point as Decimal.
        schema: the columns.
    """
    names = frozenset(field.name for field in schema.fields)
    if not rows or any(type(row) is not dict for row in rows):
        return None
    # A name in another case is the same column, but the row reader's to find.
    if not all(map(names.issuperset, rows)):
        return None
    columns: dict[str, pa.Array] = {}
    for field in schema.fields:
        made = _column(field, list(map(methodcaller("get", field.name), rows)))
        if made is None:
            return None
        columns[field.name] = made
    return pa.table(columns)


def _column(field: Field, values: Values) -> pa.Array | None:
    convert = _CONVERTERS.get(field.type)
    limited = field.max_length is not None or field.precision is not None
    if convert is None or limited or field.mode == "REPEATED":
        return _closely(field, values)
    try:
        made = convert(values, frozenset(map(type, values)) - {type(None)})
    except (pa.ArrowException, OverflowError, ValueError):
        made = None
    if made is None:
        return _closely(field, values)
    return None if field.mode == "REQUIRED" and made.null_count else made


def _closely(field: Field, values: Values) -> pa.Array | None:
    """Return the column by the row reader itself; None when it rejects a value."""
    reader = RowReader(Schema((field,)))
    try:
        rows = [reader.read({field.name: value}) for value in values]
    except RowError:
        return None
    return reader.table(rows).column(0).combine_chunks()


def _text(values: Values, kinds: Kinds) -> pa.Array | None:
    return pa.array(values, pa.string()) if kinds <= {str} else None


def _string(values: Values, kinds: Kinds) -> pa.Array | None:
    made = _text(values, kinds)
    if made is None or pc.any(pc.match_substring(made, "\0")).as_py():
        return None
    return made


def _integer(values: Values, kinds: Kinds) -> pa.Array | None:
    return pa.array(values, pa.int64()) if kinds <= {int} else None


def _boolean(values: Values, kinds: Kinds) -> pa.Array | None:
    return pa.array(values, pa.bool_()) if kinds <= {bool} else None


def _float(values: Values, kinds: Kinds) -> pa.Array | None:
    if not kinds <= {int, float, Decimal}:
        return None
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _numeric(values: Values, kinds: Kinds) -> pa.Array | None:
    if kinds <= {int}:
        return pa.array(values, pa.int64()).cast(_NUMERIC)
    if kinds <= {Decimal}:
        return pa.array(values, _NUMERIC)
    return _parsed(_text(values, kinds), _PLAIN_NUMBER, _NUMERIC)


def _date(values: Values, kinds: Kinds) -> pa.Array | None:
    return _parsed(_text(values, kinds), _PLAIN_DAY, pa.date32())


def _timestamp(values: Values, kinds: Kinds) -> pa.Array | None:
    text = _text(values, kinds)
    if text is None or not _all_match(text, _PLAIN_MOMENT + _UTC):
        return None
    naive = pc.replace_substring_regex(text, _UTC, "")
    return naive.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))


def _parsed(text: pa.Array | None, pattern: str, kind: pa.DataType) -> pa.Array | None:
    if text is None or not _all_match(text, pattern):
        return None
    return text.cast(kind)


def _all_match(text: pa.Array, pattern: str) -> bool:
    """Return whether every value that is there matches."""
    return pc.all(pc.match_substring_regex(text, pattern)).as_py() is not False


_CONVERTERS: dict[str, Callable[[Values, Kinds], pa.Array | None]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "BOOLEAN": _boolean,
    "FLOAT": _float,
    "NUMERIC": _numeric,
    "DATE": _date,
    "TIMESTAMP": _timestamp,
}

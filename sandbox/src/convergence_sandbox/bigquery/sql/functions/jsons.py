"""JSON: reading values out of text and JSON, and writing them.

Paths are BigQuery's JSONPath: `$`, `.name`, `['name']`, `[0]`.
https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
"""

from __future__ import annotations

import re

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, define, handler
from convergence_sandbox.bigquery.sql.types import JSON, STRING, SqlType, array, stored_names, text

define(
    {
        "JSON_TYPE": "JSON -> STRING: json_kind({0})",
        "BOOL": "JSON -> BOOL: json_as_bool({0})",
        "INT64": "JSON -> INT64: json_as_int({0})",
        "FLOAT64": "JSON -> FLOAT64: json_as_float({0})",
        "LAX_STRING": "JSON -> STRING: json_scalar_text({0})",
    }
)
_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]'"]+)|\[(?P<index>\d+)\]|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]"""
    r"""|\["(?P<double>(?:[^"\\]|\\.)*)"\]|\."(?P<dotted>(?:[^"\\]|\\.)*)\""""
)


def duckdb_path(path: str) -> str:
    """BigQuery's path in DuckDB's spelling.

    Raises:
        BigQueryError: the path is malformed.
    """
    if not path.startswith("$"):
        raise invalid_query(f"JSONPath must start with '$': {path}")
    made, position = "$", 1
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            raise invalid_query(f"Unsupported operator or malformed JSONPath: {path}")
        if found["index"] is not None:
            made += f"[{found['index']}]"
        else:
            name = next(
                found[key]
                for key in ("name", "quoted", "double", "dotted")
                if found[key] is not None
            )
            made += '."' + name.replace("\\'", "'").replace('"', '\\"') + '"'
        position = found.end()
    return made


def _source(call: Call) -> tuple[Expr, str]:
    """Return the document and the DuckDB path literal."""
    call.check_count(1, 2)
    value = call.arg(0)
    if value.type not in {STRING, JSON} and not value.untyped_null:
        raise call.mismatch([value])
    if len(call.nodes) == 1:
        return value, "'$'"
    path = coerce(call.arg(1), STRING)
    if not path.is_literal or path.literal is None:
        raise invalid_query(f"JSONPath must be a string literal or query parameter in {call.name}")
    return value, text(duckdb_path(path.literal))


def _document(value: Expr) -> str:
    """Return the document as valid JSON, or NULL when a STRING is none."""
    return value.sql if value.type == JSON else f"json_or_null({value.sql})"


@handler("JSON_VALUE", "JSON_EXTRACT_SCALAR", safe=True)
def json_value(call: Call) -> Expr:
    """Return a scalar as text; NULL for objects, arrays and JSON null."""
    value, path = _source(call)
    return combine(f"json_scalar_at({_document(value)}, {path})", STRING, [value])


@handler("JSON_QUERY", "JSON_EXTRACT", safe=True)
def json_query(call: Call) -> Expr:
    """Return a value as JSON: text from STRING, JSON from JSON."""
    value, path = _source(call)
    if value.type == JSON:
        return combine(f"json_extract({value.sql}, {path})", JSON, [value])
    return combine(f"json_part_text({_document(value)}, {path})", STRING, [value])


@handler("JSON_QUERY_ARRAY", "JSON_EXTRACT_ARRAY", safe=True)
def json_query_array(call: Call) -> Expr:
    """Return the elements of an array, as JSON."""
    value, path = _source(call)
    if value.type == JSON:
        return combine(f"json_elements({value.sql}, {path})", array(JSON), [value])
    sql = f"list_transform(json_elements({_document(value)}, {path}), lambda j: CAST(j AS VARCHAR))"
    return combine(sql, array(STRING), [value])


@handler("JSON_VALUE_ARRAY", "JSON_EXTRACT_STRING_ARRAY", safe=True)
def json_value_array(call: Call) -> Expr:
    """Return the scalar elements of an array, as text; NULL when one is not a scalar."""
    value, path = _source(call)
    return combine(f"json_scalars({_document(value)}, {path})", array(STRING), [value])


@handler("PARSE_JSON", safe=True)
def parse_json(call: Call) -> Expr:
    """PARSE_JSON(text)."""
    call.check_count(1)
    value = coerce(call.arg(0), STRING)
    return combine(f"CAST({call.udf('normal_json')}({value.sql}) AS JSON)", JSON, [value])


@handler("TO_JSON", "TO_JSON_STRING")
def to_json(call: Call) -> Expr:
    """Any value as JSON or as its text."""
    call.check_count(1, 2)
    if len(call.nodes) == 2:
        raise not_implemented(f"{call.name} with options")
    value = call.arg(0)
    kind = JSON if call.name == "TO_JSON" else STRING
    made = json_sql(value.sql, value.type, depth=0)
    if kind == JSON:
        return combine(f"CAST(normal_json({made}) AS JSON)", JSON, [value])
    return combine(made, STRING, [value])


def json_sql(sql: str, kind: SqlType, *, depth: int) -> str:
    """Return the JSON text of a value: `null` for NULL, numbers above 2^53 and decimals exact."""
    if kind.element is not None:
        name = f"j{depth}"
        inner = json_sql(name, kind.element, depth=depth + 1)
        return (
            f"coalesce('[' || array_to_string(list_transform({sql}, lambda {name}: {inner}),"
            f" ',') || ']', 'null')"
        )
    if kind.kind == "STRUCT":
        parts = " || ',' || ".join(
            f"json_text_name({text(field_name or '')}) || ':' || "
            + json_sql(f"struct_extract({sql}, {text(stored)})", one, depth=depth)
            for stored, (field_name, one) in zip(stored_names(kind), kind.fields, strict=True)
        )
        return f"CASE WHEN ({sql}) IS NULL THEN 'null' ELSE '{{' || {parts} || '}}' END"
    template = _JSON_TEXT.get(kind.kind)
    if template is None:
        raise not_implemented(f"TO_JSON of {kind}")
    return f"coalesce({template.format(sql)}, 'null')"


_JSON_TEXT = {
    "INT64": "json_integer({0})",
    "FLOAT64": "json_float({0})",
    "NUMERIC": "json_numeric({0})",
    "BIGNUMERIC": "json_big({0})",
    "BOOL": "CAST({0} AS VARCHAR)",
    "STRING": "json_text_name({0})",
    "BYTES": "('\"' || base64({0}) || '\"')",
    "DATE": "('\"' || strftime({0}, '%Y-%m-%d') || '\"')",
    "TIME": "('\"' || time_text({0}) || '\"')",
    "DATETIME": "('\"' || replace(datetime_text({0}), ' ', 'T') || '\"')",
    "TIMESTAMP": "('\"' || replace(datetime_text(CAST({0} AS TIMESTAMP)), ' ', 'T') || 'Z\"')",
    "JSON": "CAST({0} AS VARCHAR)",
}


@handler("JSON_OBJECT")
def json_object(call: Call) -> Expr:
    """JSON_OBJECT(key, value, …)."""
    args = call.args()
    if len(args) % 2:
        raise call.mismatch(args)
    pairs = []
    for key, value in zip(args[::2], args[1::2], strict=True):
        if key.type != STRING:
            raise call.mismatch(args)
        name = f"json_text_name({key.sql})"
        pairs.append(f"{name} || ':' || {json_sql(value.sql, value.type, depth=0)}")
    body = " || ',' || ".join(pairs) or "''"
    return combine(f"CAST(normal_json('{{' || {body} || '}}') AS JSON)", JSON, args)


@handler("JSON_ARRAY")
def json_array(call: Call) -> Expr:
    """JSON_ARRAY(value, …)."""
    args = call.args()
    body = " || ',' || ".join(json_sql(one.sql, one.type, depth=0) for one in args) or "''"
    return combine(f"CAST('[' || {body} || ']' AS JSON)", JSON, args)

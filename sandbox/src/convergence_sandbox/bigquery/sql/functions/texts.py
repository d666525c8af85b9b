"""Strings, bytes, hashes and regular expressions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions
"""

from __future__ import annotations

import re

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.casts import cast
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.functions.registry import Call, define, handler
from convergence_sandbox.bigquery.sql.types import (
    BOOL,
    FLOAT64,
    INT64,
    NUMERIC,
    STRING,
    array,
    text,
)

define(
    {
        "UPPER": "STRING -> STRING: upper({0})",
        "LOWER": "STRING -> STRING: lower({0})",
        "LENGTH": ["STRING -> INT64: length({0})", "BYTES -> INT64: octet_length({0})"],
        "CHAR_LENGTH CHARACTER_LENGTH": "STRING -> INT64: length({0})",
        "BYTE_LENGTH OCTET_LENGTH": [
            "STRING -> INT64: strlen({0})",
            "BYTES -> INT64: octet_length({0})",
        ],
        "STARTS_WITH": "STRING, STRING -> BOOL: starts_with({0}, {1})",
        "ENDS_WITH": "STRING, STRING -> BOOL: ends_with({0}, {1})",
        "STRPOS": "STRING, STRING -> INT64: strpos({0}, {1})",
        "INSTR": "STRING, STRING -> INT64: strpos({0}, {1})",
        "CONTAINS_SUBSTR": "STRING, STRING -> BOOL: contains(lower({0}), lower({1}))",
        "REPEAT": "STRING, INT64 -> STRING: repeat_checked({0}, {1})",
        "REVERSE": "STRING -> STRING: reverse({0})",
        "REPLACE": "STRING, STRING, STRING -> STRING: replace_text({0}, {1}, {2})",
        "TRIM": [
            "STRING -> STRING: trim({0}, ' \t\n\v\f\r')",
            "STRING, STRING -> STRING: trim({0}, {1})",
        ],
        "LTRIM": [
            "STRING -> STRING: ltrim({0}, ' \t\n\v\f\r')",
            "STRING, STRING -> STRING: ltrim({0}, {1})",
        ],
        "RTRIM": [
            "STRING -> STRING: rtrim({0}, ' \t\n\v\f\r')",
            "STRING, STRING -> STRING: rtrim({0}, {1})",
        ],
        "SUBSTR SUBSTRING": "STRING, INT64, INT64? -> STRING: substr_text({0}, {1}, {2})",
        "LEFT": "STRING, INT64 -> STRING: left_checked({0}, {1})",
        "RIGHT": "STRING, INT64 -> STRING: right_checked({0}, {1})",
        "LPAD": "STRING, INT64, STRING? -> STRING: pad_left({0}, {1}, coalesce({2}, ' '))",
        "RPAD": "STRING, INT64, STRING? -> STRING: pad_right({0}, {1}, coalesce({2}, ' '))",
        "INITCAP": "STRING -> STRING: title_case({0})",
        "SPLIT": "STRING, STRING? -> ARRAY<STRING>: split_text({0}, coalesce({1}, ','))",
        "ASCII": "STRING -> INT64: ascii({0})",
        "CHR": "INT64 -> STRING: chr(CAST({0} AS INTEGER))",
        "TO_HEX": "BYTES -> STRING: lower(hex({0}))",
        "FROM_HEX": "STRING -> BYTES: {safe}text_from_hex({0})",
        "TO_BASE64": "BYTES -> STRING: base64({0})",
        "FROM_BASE64": "STRING -> BYTES: {safe}text_from_base64({0})",
        "SAFE_CONVERT_BYTES_TO_STRING": "BYTES -> STRING: lossy_text({0})",
        "MD5": ["STRING -> BYTES: unhex(md5({0}))", "BYTES -> BYTES: unhex(md5({0}))"],
        "SHA1": ["STRING -> BYTES: unhex(sha1({0}))", "BYTES -> BYTES: unhex(sha1({0}))"],
        "SHA256": ["STRING -> BYTES: unhex(sha256({0}))", "BYTES -> BYTES: unhex(sha256({0}))"],
        "SHA512": [
            "STRING -> BYTES: sha512_bytes(encode({0}))",
            "BYTES -> BYTES: sha512_bytes({0})",
        ],
        "FARM_FINGERPRINT": [
            "STRING -> INT64: farm_fingerprint(encode({0}))",
            "BYTES -> INT64: farm_fingerprint({0})",
        ],
        "TRANSLATE": "STRING, STRING, STRING -> STRING: translate_text({0}, {1}, {2})",
    }
)


@handler("GENERATE_UUID")
def generate_uuid(call: Call) -> Expr:
    """GENERATE_UUID(): a random version 4 UUID for each row."""
    call.check_count(0)
    return Expr("CAST(gen_random_uuid() AS VARCHAR)", STRING, constant=False)


@handler("FORMAT")
def form(call: Call) -> Expr:
    """FORMAT('%d of %s', …) for the specifiers that print one value each."""
    call.check_count(1, 100)
    pattern, *values = call.args()
    if not pattern.is_literal or pattern.type != STRING or pattern.literal is None:
        raise not_implemented("FORMAT with a pattern that is not a literal")
    pieces = _format_pieces(pattern.literal, values)
    if not pieces:
        return combine("''", STRING, values)
    return combine(f"({' || '.join(pieces)})", STRING, values)


_SPECIFIER = re.compile(
    r"%(?P<flags>[-+ #0']*)(?P<width>\d*)(?:\.(?P<precision>\d+))?(?P<kind>.)", re.DOTALL
)


def _format_pieces(pattern: str, values: list[Expr]) -> list[str]:
    pieces, rest, end = [], list(values), 0
    for found in _SPECIFIER.finditer(pattern):
        if found.start() > end:
            pieces.append(text(pattern[end : found.start()]))
        end = found.end()
        if found["kind"] == "%":
            pieces.append("'%'")
            continue
        if not rest:
            raise invalid_query("Too few arguments to FORMAT for pattern " + repr(pattern))
        pieces.append(_format_one(found, rest.pop(0)))
    if end < len(pattern):
        pieces.append(text(pattern[end:]))
    if rest:
        raise invalid_query("Too many arguments to FORMAT for pattern " + repr(pattern))
    return pieces


def _format_one(found: re.Match[str], value: Expr) -> str:
    kind, flags, width = found["kind"], found["flags"], found["width"]
    spec = f"{flags}{width}" + ("" if found["precision"] is None else f".{found['precision']}")
    if kind == "t" and not spec:
        return cast(value, STRING, safe=False).sql
    if kind == "s" and value.type == STRING and "#" not in flags:
        return f"format_text({value.sql}, '%{spec}s')" if spec else value.sql
    if kind in "di" and value.type == INT64 and flags in {"", "0"} and not found["precision"]:
        return f"format_integer({value.sql}, {width or 0}, {'TRUE' if flags else 'FALSE'})"
    if kind == "f" and value.type in {NUMERIC, INT64} and "'" not in flags:
        return f"format_decimal({coerce(value, NUMERIC).sql}, '{spec or '.6'}')"
    if kind in "feEgG" and value.type == FLOAT64 and "'" not in flags:
        return f"format_float({value.sql}, '%{spec}{kind}')"
    raise not_implemented(f"FORMAT specifier {found[0]} for {value.type}")


def _pattern(call: Call, index: int = 1) -> tuple[Expr, int]:
    """Return a regular expression argument and how many groups it captures.

    DuckDB's engine is RE2, as BigQuery's is.
    """
    made = coerce(call.arg(index), STRING)
    if not made.is_literal or made.literal is None:
        raise not_implemented(f"{call.name} with a pattern that is not a literal")
    groups = len(re.findall(r"(?<!\\)(?:\\\\)*\((?!\?(?!P<))", _without_classes(made.literal)))
    if groups > 1 and call.name not in {"REGEXP_CONTAINS", "REGEXP_REPLACE"}:
        raise invalid_query(
            "Regular expressions passed into extraction functions must not have"
            " more than 1 capturing group"
        )
    return made, groups


def _without_classes(pattern: str) -> str:
    return re.sub(r"\[(?:\\.|[^\]\\])*\]", "", pattern)


@handler("REGEXP_CONTAINS")
def regexp_contains(call: Call) -> Expr:
    """REGEXP_CONTAINS(text, pattern)."""
    call.check_count(2)
    value = coerce(call.arg(0), STRING)
    pattern, _ = _pattern(call)
    return combine(f"regexp_matches({value.sql}, {pattern.sql})", BOOL, [value, pattern])


@handler("REGEXP_EXTRACT", "REGEXP_SUBSTR")
def regexp_extract(call: Call) -> Expr:
    """Return the first match, or its group; NULL when there is none."""
    call.check_count(2)
    value = coerce(call.arg(0), STRING)
    pattern, groups = _pattern(call)
    sql = (
        f"CASE WHEN regexp_matches({value.sql}, {pattern.sql}) THEN"
        f" regexp_extract({value.sql}, {pattern.sql}, {groups}) END"
    )
    return combine(sql, STRING, [value, pattern])


@handler("REGEXP_EXTRACT_ALL")
def regexp_extract_all(call: Call) -> Expr:
    """Return every match, or its group."""
    call.check_count(2)
    value = coerce(call.arg(0), STRING)
    pattern, groups = _pattern(call)
    sql = f"regexp_extract_all({value.sql}, {pattern.sql}, {groups})"
    return combine(sql, array(STRING), [value, pattern])


@handler("REGEXP_REPLACE")
def regexp_replace(call: Call) -> Expr:
    r"""Return every match replaced; `\1` is a group."""
    call.check_count(3)
    value = coerce(call.arg(0), STRING)
    pattern, _ = _pattern(call)
    new = coerce(call.arg(2), STRING)
    sql = f"regexp_replace({value.sql}, {pattern.sql}, {new.sql}, 'g')"
    return combine(sql, STRING, [value, pattern, new])


@handler(
    "CODE_POINTS_TO_STRING",
    "TO_CODE_POINTS",
    "NORMALIZE",
    "NORMALIZE_AND_CASEFOLD",
    "SOUNDEX",
    "REGEXP_INSTR",
    "EDIT_DISTANCE",
    "COLLATE",
)
def rejected(call: Call) -> Expr:
    """Known to BigQuery, not done here."""
    raise not_implemented(f"function {call.name}")

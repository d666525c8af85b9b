"""Functions against the values BigQuery documents, and what the stand-in rejects by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(None)
    yield made
    made.close()


def plain(value: Any) -> Any:
    """A wire value without its `v` and `f` wrappers: lists for arrays, tuples for structs."""
    if isinstance(value, list):
        return [plain(one["v"]) for one in value]
    if isinstance(value, dict):
        return tuple(plain(one["v"]) for one in value["f"])
    return value


def value_of(engine: Engine, expression: str) -> Any:
    return plain(engine.query(f"SELECT {expression}", project="p").rows()[0]["f"][0]["v"])


TEXTS = {
    "UPPER('aé')": "AÉ",
    "LENGTH('naïve')": "5",
    "BYTE_LENGTH('naïve')": "6",
    "SUBSTR('apple', 2)": "pple",
    "SUBSTR('apple', 0, 2)": "ap",
    "SUBSTR('apple', -2)": "le",
    "SUBSTR('apple', -9, 2)": "ap",
    "LEFT('apple', 2) || RIGHT('apple', 2)": "aple",
    "TRIM('  a ')": "a",
    "TRIM('xxaxx', 'x')": "a",
    "LPAD('abc', 5, 'de')": "deabc",
    "RPAD('abc', 2)": "ab",
    "REPLACE('abc', '', 'x')": "abc",
    "SPLIT('a,,b')": ["a", "", "b"],
    "SPLIT('', ',')": [""],
    "STRPOS('abc', 'z')": "0",
    "CONCAT('a', NULL)": None,
    "INITCAP('hello wORLD-two')": "Hello World-Two",
    "REGEXP_EXTRACT('gpt-4o-2024-08-06', r'(\\d{4}-\\d{2}-\\d{2})$')": "2024-08-06",
    "REGEXP_EXTRACT('abc', 'x')": None,
    "REGEXP_EXTRACT_ALL('a1b2', r'[a-z](\\d)')": ["1", "2"],
    "REGEXP_REPLACE('abc', '(b)', r'<\\1>')": "a<b>c",
    "FORMAT('%05d|%-4s|%.2f|%t', 42, 'ab', NUMERIC '2.675', DATE '2024-01-01')":
        "00042|ab  |2.68|2024-01-01",
    "'a_b' LIKE r'a\\_b'": "true",
    "'axb' LIKE r'a\\_b'": "false",
    "TO_HEX(SHA256('abc'))":
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "TO_HEX(MD5('a'))": "0cc175b9c0f1b6a831c399e269772661",
    "TO_BASE64(b'abc')": "YWJj",
    "FROM_HEX('616263') = b'abc'": "true",
    # The documentation's example, and farmhash's own.
    "FARM_FINGERPRINT('1footrue')": "-1541654101129638711",
    "FARM_FINGERPRINT('2applefalse')": "2794438866806483259",
    "FARM_FINGERPRINT('3true')": "-4880158226897771312",
    "FARM_FINGERPRINT('abc')": "2640714258260161385",
}  # fmt: skip
MOMENTS = {
    "DATE(TIMESTAMP '2024-05-15 03:00:00+00', 'US/Pacific')": "2024-05-14",
    "DATE_TRUNC(DATE '2024-05-15', WEEK)": "2024-05-12",
    "DATE_TRUNC(DATE '2024-05-15', WEEK(MONDAY))": "2024-05-13",
    "DATE_TRUNC(DATE '2024-05-15', QUARTER)": "2024-04-01",
    "DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH)": "2024-02-29",
    "DATE_SUB('2024-01-01', INTERVAL 1 DAY)": "2023-12-31",
    "DATE_DIFF(DATE '2024-01-07', DATE '2024-01-06', WEEK)": "1",
    "DATE_DIFF(DATE '2024-01-08', DATE '2024-01-07', ISOWEEK)": "1",
    "DATE_DIFF(DATE '2024-01-07', DATE '2024-01-06', ISOWEEK)": "0",
    "DATE_DIFF(DATE '2017-12-31', DATE '2016-12-31', YEAR)": "1",
    "TIMESTAMP_DIFF(TIMESTAMP '2001-02-01 01:00:00', TIMESTAMP '2001-02-01 00:00:01', HOUR)": "0",
    "TIMESTAMP_DIFF(TIMESTAMP '2018-08-14', TIMESTAMP '2018-10-14', DAY)": "-61",
    "UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5')": "-1",
    "UNIX_MICROS(TIMESTAMP_TRUNC(TIMESTAMP '2024-05-15 06:00:00', DAY, 'America/New_York'))":
        "1715745600000000",
    "LAST_DAY(DATE '2024-02-01')": "2024-02-29",
    "EXTRACT(DAYOFWEEK FROM DATE '2024-05-15')": "4",
    "EXTRACT(WEEK FROM DATE '2024-01-06')": "0",
    "EXTRACT(ISOWEEK FROM DATE '2021-01-03')": "53",
    "EXTRACT(HOUR FROM TIMESTAMP '2024-05-15 03:00:00+00' AT TIME ZONE 'US/Pacific')": "20",
    "FORMAT_DATE('%A %b %e, %Y Q%Q', DATE '2024-05-01')": "Wednesday May  1, 2024 Q2",
    "FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%E3SZ', TIMESTAMP '2024-05-01 01:02:03.1')":
        "2024-05-01T01:02:03.100Z",
    "FORMAT_TIMESTAMP('%F %T %Z', TIMESTAMP '2024-05-01', 'America/New_York')":
        "2024-04-30 20:00:00 EDT",
    "PARSE_DATE('%Y%m%d', '20240229')": "2024-02-29",
    "UNIX_MICROS(PARSE_TIMESTAMP('%Y-%m-%dT%H:%M:%SZ', '1970-01-01T00:00:01Z'))": "1000000",
    "SAFE.PARSE_DATE('%Y-%m-%d', '2024-02-30')": None,
    "GENERATE_DATE_ARRAY('2024-01-01', '2024-01-03')": ["2024-01-01", "2024-01-02", "2024-01-03"],
    "GENERATE_DATE_ARRAY('2024-01-03', '2024-01-01')": [],
    "CAST(TIMESTAMP '2024-01-01 00:00:00.1+02' AS STRING)": "2023-12-31 22:00:00.100+00",
    "CAST(DATETIME '2024-01-01T01:02:03' AS STRING)": "2024-01-01 01:02:03",
    "DATETIME(TIMESTAMP '2024-01-01', 'Asia/Tokyo')": "2024-01-01T09:00:00",
    "TIME_ADD(TIME '23:00:00', INTERVAL 2 HOUR)": "01:00:00",
}  # fmt: skip
NUMBERS = {
    "ROUND(2.5)": "3.0",
    "ROUND(NUMERIC '-2.5')": "-3",
    "ROUND(1234.5, -2)": "1200.0",
    "TRUNC(NUMERIC '-1.999', 2)": "-1.99",
    "CAST(2.5 AS INT64)": "3",
    "CAST(NUMERIC '-1.5' AS INT64)": "-2",
    "CAST('0x1F' AS INT64)": "31",
    "CAST(1.0 AS STRING)": "1",
    "CAST(1e20 AS STRING)": "1e+20",
    "CAST(NUMERIC '1.50' AS STRING)": "1.5",
    "CAST(0.1 AS NUMERIC)": "0.1",
    "CAST('1.2345678905' AS NUMERIC)": "1.234567891",
    "SAFE_CAST('x' AS INT64)": None,
    "SAFE_CAST('2024-13-01' AS DATE)": None,
    "DIV(-7, 2)": "-3",
    "MOD(-7, 2)": "-1",
    "7 / 2": "3.5",
    "SAFE_DIVIDE(1, 0)": None,
    "IEEE_DIVIDE(1, 0)": "Infinity",
    "CAST('inf' AS FLOAT64) + 1": "Infinity",
    "1.5 * 2 - 0.5 / 4": "2.875",
    "SAFE_ADD(9223372036854775807, 1)": None,
    "GREATEST(1, 2.5)": "2.5",
    "GREATEST(1, NULL)": None,
    "IF(NULL, 'a', 'b')": "b",
    "NULLIF(1, 1)": None,
    "COALESCE(NULL, NULL, 3)": "3",
    "CASE 1 WHEN 2 THEN 'x' END": None,
    "NULL IN (1)": None,
    "1 IN UNNEST([])": "false",
    "GENERATE_ARRAY(5, 1, -2)": ["5", "3", "1"],
}
COLLECTIONS = {
    "[1, 2, 3][OFFSET(1)]": "2",
    "[1, 2, 3][SAFE_ORDINAL(4)]": None,
    "ARRAY_TO_STRING(['a', NULL, 'b'], ',')": "a,b",
    "ARRAY_TO_STRING(['a', NULL, 'b'], ',', '?')": "a,?,b",
    "ARRAY_CONCAT([1], [2, 3])": ["1", "2", "3"],
    "ARRAY(SELECT AS STRUCT x, x * 2 AS y FROM UNNEST([1, 2]) AS x ORDER BY x DESC)":
        [("2", "4"), ("1", "2")],
    "(SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 2) FROM UNNEST([1, 3, 2]) AS x)": ["3", "2"],
    "(SELECT STRING_AGG(DISTINCT x, '|' ORDER BY x) FROM UNNEST(['b', 'a', 'b']) AS x)": "a|b",
    "(SELECT COUNTIF(x > 1) FROM UNNEST([1, 2, 3]) AS x)": "2",
    "(SELECT LOGICAL_OR(x > 2) FROM UNNEST([1, 2, 3]) AS x)": "true",
    "(SELECT ANY_VALUE(x HAVING MAX y) FROM UNNEST([STRUCT('a' AS x, 1 AS y), ('b', 2)]))": "b",
    "JSON_VALUE('{\"a\": {\"b\": [1, \"x\"]}}', '$.a.b[1]')": "x",
    "JSON_VALUE('{\"a b\": 1}', \"$['a b']\")": "1",
    "JSON_VALUE('{\"a\": {}}', '$.a')": None,
    "JSON_VALUE('no json', '$.a')": None,
    "JSON_QUERY('{\"a\": {\"b\": 1}}', '$.a')": '{"b":1}',
    "JSON_QUERY_ARRAY('[1, \"a\"]')": ["1", '"a"'],
    "JSON_VALUE_ARRAY('[1, \"a\"]')": ["1", "a"],
    "PARSE_JSON('{\"b\": 1, \"a\": [1.5]}')": '{"a":[1.5],"b":1}',
    "INT64(PARSE_JSON('{\"x\": 7}').x)": "7",
    # Decimals with a fraction and integers past 2^53 are quoted, so that no reader rounds them.
    "TO_JSON_STRING(STRUCT(1 AS a, 'x\"y' AS b, [1, 2] AS c, NUMERIC '1.5' AS d,"
    " 9007199254740993 AS e, DATE '2024-01-01' AS f, CAST(NULL AS STRING) AS g))":
        '{"a":1,"b":"x\\"y","c":[1,2],"d":"1.5","e":"9007199254740993","f":"2024-01-01","g":null}',
}  # fmt: skip
DOCUMENTED = TEXTS | MOMENTS | NUMBERS | COLLECTIONS


@pytest.mark.parametrize("expression", DOCUMENTED)
def test_a_function_gives_its_documented_value(engine: Engine, expression: str) -> None:
    assert value_of(engine, expression) == DOCUMENTED[expression]


REJECTED = {
    "1 / 0": "division by zero",
    "9223372036854775807 + 1": "int64 overflow",
    "1e200 * 1e200": "double overflow",
    "(SELECT x * x + 1 FROM UNNEST([1e200]) AS x)": "double overflow",
    "CAST('x' AS INT64)": "Bad int64 value: x",
    "PARSE_DATE('%Y', 'x')": "Failed to parse",
    "[1][OFFSET(1)]": "Array index 1 is out of bounds",
    "'a' = 1": "No matching signature for operator = for argument types: STRING, INT64",
    "UPPER(1)": "No matching signature for function UPPER for argument types: INT64",
    "DATE '2024-02-30'": "Invalid date",
    "nowhere": "Unrecognized name: nowhere",
    "STRUCT(1 AS a).b": "Field name b does not exist in STRUCT<a INT64>",
    "[1] = [1]": "not defined for arguments of type ARRAY<INT64>",
    "ERROR('on purpose')": "on purpose",
    "(SELECT x FROM UNNEST([1, 2]) AS x)": "Scalar subquery produced more than one element",
    "CAST(DATE '2024-01-01' AS INT64)": "Invalid cast from DATE to INT64",
    "DATE(TIMESTAMP '2024-01-01', 'Mars/Base')": "Invalid time zone: Mars/Base",
    "SUM(1) OVER (ORDER BY SUM(nowhere))": "Unrecognized name",
    "@missing": "Query parameter 'missing' not found",
    "1 +": "Syntax error",
}


@pytest.mark.parametrize("expression", REJECTED)
def test_what_bigquery_rejects_is_an_invalid_query(engine: Engine, expression: str) -> None:
    with pytest.raises(BigQueryError) as raised:
        value_of(engine, expression)
    assert (raised.value.status, raised.value.reason) == (400, "invalidQuery")
    assert REJECTED[expression] in raised.value.message


UNDONE = (
    "SELECT ST_GEOGPOINT(1, 2)",
    "SELECT CAST(DATE '2024-01-01' AS STRING FORMAT 'YYYY')",
    "SELECT * FROM UNNEST([1]) TABLESAMPLE SYSTEM (10 PERCENT)",
    "SELECT * FROM (SELECT 1 AS a) PIVOT(SUM(a) FOR a IN (1))",
    "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a) SELECT * FROM a",
    "EXPORT DATA OPTIONS(uri = 'gs://x/*') AS SELECT 1",
    "CREATE FUNCTION f(x INT64) AS (x + 1)",
    "CALL d.p()",
    "SELECT NET.HOST('x')",
    "SELECT FORMAT('%T', 1)",
    "SELECT @@error.message",
)


@pytest.mark.parametrize("sql", UNDONE)
def test_what_is_not_done_here_is_rejected_by_name(engine: Engine, sql: str) -> None:
    with pytest.raises(BigQueryError) as raised:
        engine.query(sql, project="p")
    assert (raised.value.status, raised.value.reason) == (501, "notImplemented")
    assert raised.value.location

"""Expressions whose value BigQuery's reference gives, or that follow from it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from google.api_core import exceptions

from conformance.client import Ask

D = Decimal
NUMBERS = [
    ("NUMERIC '10' / 3", D("3.333333333")),
    ("NUMERIC '2' / 3", D("0.666666667")),
    ("NUMERIC '-2' / 3", D("-0.666666667")),
    ("NUMERIC '1' / CAST(3 AS INT64)", D("0.333333333")),
    ("NUMERIC '0.000000001' / 2", D("0.000000001")),
    ("NUMERIC '1.000000001' * NUMERIC '1.000000001'", D("1.000000002")),
    ("NUMERIC '12345678901234567890.5' + 1", D("12345678901234567891.5")),
    ("CAST(1000000 AS NUMERIC) * NUMERIC '0.0125' / 1000000", D("0.0125")),
    ("ROUND(NUMERIC '2.5')", D("3")),
    ("ROUND(NUMERIC '-2.5')", D("-3")),
    ("ROUND(NUMERIC '1.0000000005', 9)", D("1.000000001")),
    ("ROUND(BIGNUMERIC '0.00000000055', 10)", D("0.0000000006")),
    ("BIGNUMERIC '1' / 3", D("0.33333333333333333333333333333333333333")),
    ("BIGNUMERIC '0.0000000125' * 3", D("0.0000000375")),
    ("CAST(BIGNUMERIC '0.0000000005' AS NUMERIC)", D("0.000000001")),
    ("SUM(x) FROM UNNEST([NUMERIC '0.1', NUMERIC '0.2']) AS x", D("0.3")),
    ("AVG(x) FROM UNNEST([NUMERIC '1', NUMERIC '2']) AS x", D("1.5")),
    ("SUM(x) FROM UNNEST([1, 2]) AS x", 3),
    ("7 / 2", 3.5),
    ("DIV(-7, 2)", -3),
    ("MOD(-7, 2)", -1),
    ("SAFE_DIVIDE(1, 0)", None),
    ("SAFE_CAST('x' AS INT64)", None),
    ("CAST('0x1F' AS INT64)", 31),
    ("CAST(2.5 AS INT64)", 3),
    ("SAFE_ADD(9223372036854775807, 1)", None),
    ("CAST(NUMERIC '1.10' AS STRING)", "1.1"),
    ("IEEE_DIVIDE(1, 0)", float("inf")),
    ("GREATEST(1, 3, 2)", 3),
]
TIMES = [
    ("DATE(TIMESTAMP '2025-11-25 07:30:00+00', 'US/Pacific')", dt.date(2025, 11, 24)),
    ("DATE(TIMESTAMP '2025-11-25 07:30:00+00')", dt.date(2025, 11, 25)),
    ("TIMESTAMP('2025-11-25', 'America/New_York')", dt.datetime(2025, 11, 25, 5, tzinfo=dt.UTC)),
    (
        "STRING(DATETIME(TIMESTAMP '2025-07-01 00:00:00+00', 'Europe/Berlin'))",
        "2025-07-01 02:00:00",
    ),
    ("DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH)", dt.date(2024, 2, 29)),
    ("DATE_SUB(DATE '2025-03-01', INTERVAL 1 DAY)", dt.date(2025, 2, 28)),
    ("DATE_DIFF(DATE '2025-11-25', DATE '2025-10-25', DAY)", 31),
    ("DATE_DIFF(DATE '2025-03-01', DATE '2025-02-28', MONTH)", 1),
    ("DATE_TRUNC(DATE '2025-11-25', MONTH)", dt.date(2025, 11, 1)),
    ("DATE_TRUNC(DATE '2025-11-25', WEEK)", dt.date(2025, 11, 23)),
    ("DATE_TRUNC(DATE '2025-11-25', ISOWEEK)", dt.date(2025, 11, 24)),
    ("LAST_DAY(DATE '2025-02-03')", dt.date(2025, 2, 28)),
    ("EXTRACT(DAYOFWEEK FROM DATE '2025-11-23')", 1),
    ("EXTRACT(ISOWEEK FROM DATE '2025-12-29')", 1),
    ("FORMAT_DATE('%Y%m%d', DATE '2025-11-25')", "20251125"),
    (
        "FORMAT_TIMESTAMP('%Y-%m-%d %H', TIMESTAMP '2025-11-25 01:00:00+00', 'Asia/Tokyo')",
        "2025-11-25 10",
    ),
    ("PARSE_DATE('%Y%m%d', '20251125')", dt.date(2025, 11, 25)),
    ("UNIX_SECONDS(TIMESTAMP '1970-01-02 00:00:00+00')", 86400),
    ("TIMESTAMP_SECONDS(86400)", dt.datetime(1970, 1, 2, tzinfo=dt.UTC)),
    (
        "TIMESTAMP_TRUNC(TIMESTAMP '2025-11-25 01:30:00+00', DAY)",
        dt.datetime(2025, 11, 25, tzinfo=dt.UTC),
    ),
    ("TIMESTAMP_DIFF(TIMESTAMP '2025-11-25 01:30:00+00', TIMESTAMP '2025-11-25', HOUR)", 1),
    ("ARRAY_LENGTH(GENERATE_DATE_ARRAY('2025-11-01', '2025-11-30'))", 30),
]
TEXTS = [
    ("CONCAT('a', 'b')", "ab"),
    ("'a' || NULL", None),
    ("SUBSTR('abcdef', 2, 3)", "bcd"),
    ("SUBSTR('abcdef', -2)", "ef"),
    ("SPLIT('a,b,c')", ["a", "b", "c"]),
    ("STRING_AGG(x, '|' ORDER BY x DESC) FROM UNNEST(['a', 'b']) AS x", "b|a"),
    ("REGEXP_CONTAINS('gpt-4o-mini', r'^gpt-4o')", True),
    ("REGEXP_EXTRACT('gpt-4o-2024-08-06', r'(\\d{4}-\\d{2}-\\d{2})$')", "2024-08-06"),
    ("REGEXP_REPLACE('a1b2', r'[0-9]', '')", "ab"),
    ("STARTS_WITH('gpt-4o', 'gpt')", True),
    ("LPAD('7', 3, '0')", "007"),
    ("FORMAT('%s-%d-%.2f', 'a', 5, 1.5)", "a-5-1.50"),
    ("TO_HEX(SHA256('abc'))", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("FARM_FINGERPRINT('abc')", 2640714258260161385),
    ("UPPER('gpt')", "GPT"),
    ("CHAR_LENGTH('naïve')", 5),
    ("BYTE_LENGTH('naïve')", 6),
    ("IFNULL(NULL, 'x')", "x"),
    ("NULLIF('x', 'x')", None),
    ("COALESCE(NULL, NULL, 3)", 3),
    ("IF(NULL, 'a', 'b')", "b"),
]
NESTED = [
    ("ARRAY_AGG(x ORDER BY x DESC LIMIT 2) FROM UNNEST([1, 3, 2]) AS x", [3, 2]),
    ("ARRAY_AGG(x IGNORE NULLS ORDER BY x) FROM UNNEST([2, NULL, 1]) AS x", [1, 2]),
    ("ARRAY(SELECT x * 2 FROM UNNEST([1, 2]) AS x ORDER BY x)", [2, 4]),
    ("ARRAY_CONCAT([1], [2, 3])", [1, 2, 3]),
    ("ARRAY_TO_STRING(['a', 'b'], '-')", "a-b"),
    ("[10, 20][OFFSET(1)]", 20),
    ("[10, 20][ORDINAL(1)]", 10),
    ("[10, 20][SAFE_OFFSET(5)]", None),
    ("STRUCT(1 AS a, STRUCT('x' AS c) AS b).b.c", "x"),
    ("3 IN UNNEST([1, 2, 3])", True),
    ('JSON_VALUE(JSON \'{"a": {"b": "x"}}\', \'$.a.b\')', "x"),
    ("JSON_VALUE('{\"a\": 1.5}', '$.a')", "1.5"),
    ("JSON_QUERY(JSON '{\"a\": [1, 2]}', '$.a')", [1, 2]),
    ("JSON_VALUE(JSON '{\"a\": null}', '$.a')", None),
    ("TO_JSON_STRING(STRUCT(1 AS a, 'x' AS b))", '{"a":1,"b":"x"}'),
    ("INT64(JSON '5')", 5),
    ("PARSE_JSON('{\"a\":1}')", {"a": 1}),
    ("COUNTIF(x > 1) FROM UNNEST([1, 2, 3]) AS x", 2),
    ("ANY_VALUE(x) FROM UNNEST([7]) AS x", 7),
    ("LOGICAL_AND(x) FROM UNNEST([TRUE, FALSE]) AS x", False),
    ("APPROX_COUNT_DISTINCT(x) FROM UNNEST([1, 1, 2]) AS x", 2),
    ("MAX_BY(k, v) FROM UNNEST([STRUCT('a' AS k, 1 AS v), ('b', 2)])", "b"),
]


@pytest.mark.parametrize(("sql", "value"), [*NUMBERS, *TIMES, *TEXTS, *NESTED])
def test_an_expression_has_bigquerys_value(ask: Ask, sql: str, value: object) -> None:
    [(found,)] = ask(f"SELECT {sql}")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "sql",
    [
        "1/0",
        "NUMERIC '1' / 0",
        "CAST('x' AS INT64)",
        "9223372036854775807 + 1",
        "NUMERIC '99999999999999999999999999999' * 10",
        "[1][OFFSET(3)]",
        "ERROR('on purpose')",
        "PARSE_DATE('%Y', 'x')",
        "CAST('2025-02-30' AS DATE)",
        "(SELECT x FROM UNNEST([1, 2]) AS x)",
    ],
)
def test_what_must_fail_fails_as_an_invalid_query(ask: Ask, sql: str) -> None:
    with pytest.raises(exceptions.BadRequest) as caught:
        ask(f"SELECT {sql}")
    assert caught.value.errors[0]["reason"] == "invalidQuery"


def test_qualify_keeps_the_newest_row_of_each_key(ask: Ask) -> None:
    assert ask("""
        SELECT k, v FROM UNNEST([STRUCT('a' AS k, 1 AS v), ('a', 2), ('b', 3)])
        WHERE TRUE
        QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) = 1 ORDER BY k
    """) == [("a", 2), ("b", 3)]


def test_repeated_records_are_unnested_with_their_row(ask: Ask) -> None:
    assert ask("""
        WITH bills AS (
          SELECT 'x' AS sku, NUMERIC '10' AS cost,
            [STRUCT('promo' AS name, NUMERIC '-1' AS amount), ('sud', NUMERIC '-2')] AS credits
          UNION ALL
          SELECT 'y', NUMERIC '5', ARRAY<STRUCT<name STRING, amount NUMERIC>>[]
        )
        SELECT sku, cost + IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0) AS net
        FROM bills ORDER BY sku
    """) == [("x", D("7")), ("y", D("5"))]


def test_a_correlated_unnest_joins_and_left_joins(ask: Ask) -> None:
    data = "WITH t AS (SELECT 1 AS id, [10, 20] AS xs UNION ALL SELECT 2, [])"
    assert ask(f"{data} SELECT id, x FROM t, UNNEST(xs) AS x ORDER BY x") == [(1, 10), (1, 20)]
    assert ask(
        f"{data} SELECT id, x, o FROM t LEFT JOIN UNNEST(xs) AS x WITH OFFSET AS o ORDER BY id, o"
    ) == [(1, 10, 0), (1, 20, 1), (2, None, None)]


def test_star_except_and_replace(ask: Ask) -> None:
    data = "(SELECT 1 AS a, 2 AS b, 3 AS c)"
    assert ask(f"SELECT * EXCEPT (b) FROM {data}") == [(1, 3)]
    assert ask(f"SELECT * REPLACE (9 AS b) FROM {data}") == [(1, 9, 3)]


def test_grouping_by_position_alias_and_rollup(ask: Ask) -> None:
    data = "UNNEST([STRUCT('a' AS k, 1 AS v), ('a', 2), ('b', 3)])"
    assert ask(f"SELECT k, SUM(v) FROM {data} GROUP BY 1 ORDER BY 1") == [("a", 3), ("b", 3)]
    assert ask(f"SELECT k, SUM(v) AS s FROM {data} GROUP BY ROLLUP(k) ORDER BY k") == [
        (None, 6),
        ("a", 3),
        ("b", 3),
    ]


def test_windows_with_frames(ask: Ask) -> None:
    assert ask("""
        SELECT x, SUM(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s,
          LAG(x) OVER (ORDER BY x) AS before
        FROM UNNEST([1, 2, 3]) AS x ORDER BY x
    """) == [(1, 1, None), (2, 3, 1), (3, 5, 2)]


def test_nulls_sort_first_ascending_and_last_descending(ask: Ask) -> None:
    assert ask("SELECT x FROM UNNEST([2, NULL, 1]) AS x ORDER BY x") == [(None,), (1,), (2,)]
    assert ask("SELECT x FROM UNNEST([2, NULL, 1]) AS x ORDER BY x DESC") == [(2,), (1,), (None,)]


def test_set_operations(ask: Ask) -> None:
    assert ask("SELECT 1 AS a UNION DISTINCT SELECT 1 UNION DISTINCT SELECT 2 ORDER BY a") == [
        (1,),
        (2,),
    ]
    assert ask("SELECT 1 INTERSECT DISTINCT SELECT 2") == []
    assert ask("SELECT 1 EXCEPT DISTINCT SELECT 2") == [(1,)]

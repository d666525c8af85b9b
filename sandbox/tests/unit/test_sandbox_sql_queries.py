"""Queries: names, grouping, joins, windows, set operations, views, partition filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError

USAGE = """
CREATE TABLE d.usage (
  day DATE NOT NULL, ts TIMESTAMP, model STRING, tokens INT64, cost NUMERIC,
  credits ARRAY<STRUCT<name STRING, amount NUMERIC>>
) PARTITION BY day OPTIONS (require_partition_filter = TRUE);
INSERT INTO d.usage VALUES
  ('2025-11-01', '2025-11-01 23:30:00+00', 'a', 10, 1.5, [('promo', -0.5), ('sud', -0.25)]),
  ('2025-11-01', '2025-11-01 01:00:00+00', 'b', 20, 2.25, []),
  ('2025-11-02', '2025-11-02 00:00:00+00', 'a', 30, 4, NULL);
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(None)
    made.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    made.query(USAGE, project="p")
    made.query(
        "CREATE VIEW d.costs AS SELECT day, model AS Model, cost FROM p.d.usage", project="p"
    )
    yield made
    made.close()


def query_rows(engine: Engine, sql: str, **request: Any) -> list[tuple[Any, ...]]:
    result = engine.query(sql, project="p", default_dataset=("p", "d"), **request)
    return [tuple(cell["v"] for cell in row["f"]) for row in result.rows()]


def rejected(engine: Engine, sql: str) -> str:
    with pytest.raises(BigQueryError) as raised:
        query_rows(engine, sql)
    assert raised.value.status == 400
    return raised.value.message


def test_repeated_credits_net_by_a_scalar_subquery(engine: Engine) -> None:
    sql = """
        SELECT model, SUM(cost + IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0)) AS net
        FROM usage WHERE day >= '2025-11-01' GROUP BY model ORDER BY model"""
    assert query_rows(engine, sql) == [("a", "4.75"), ("b", "2.25")]


def test_unnest_joins_and_keeps_rows_on_the_left(engine: Engine) -> None:
    inner = (
        "SELECT model, c.name FROM usage AS u, u.credits AS c WHERE day = '2025-11-01' ORDER BY 2"
    )
    assert query_rows(engine, inner) == [("a", "promo"), ("a", "sud")]
    left = """SELECT model, c.name, o FROM usage LEFT JOIN UNNEST(credits) AS c WITH OFFSET AS o
              WHERE day = '2025-11-01' ORDER BY model, o"""
    assert query_rows(engine, left) == [("a", "promo", "0"), ("a", "sud", "1"), ("b", None, None)]


def test_a_day_in_another_zone(engine: Engine) -> None:
    sql = """SELECT DATE(ts, 'America/Los_Angeles') AS d, SUM(tokens) FROM usage
             WHERE day IN ('2025-11-01', '2025-11-02') GROUP BY d ORDER BY d"""
    assert query_rows(engine, sql) == [("2025-10-31", "20"), ("2025-11-01", "40")]


def test_qualify_keeps_the_newest(engine: Engine) -> None:
    sql = """SELECT model, tokens FROM usage WHERE day > '2025-01-01'
             QUALIFY ROW_NUMBER() OVER (PARTITION BY model ORDER BY ts DESC) = 1 ORDER BY model"""
    assert query_rows(engine, sql) == [("a", "30"), ("b", "20")]
    assert "requires analytic function" in rejected(
        engine, "SELECT model FROM usage WHERE day > '2025-01-01' QUALIFY model = 'a'"
    )


def test_an_alias_wins_in_group_having_and_order_but_not_inside_an_aggregate(
    engine: Engine,
) -> None:
    sql = """SELECT UPPER(model) AS model, SUM(tokens) AS tokens FROM usage
             WHERE day > '2025-01-01' GROUP BY model HAVING SUM(tokens) > 20
             ORDER BY tokens DESC"""
    assert query_rows(engine, sql) == [("A", "40")]


def test_loose_columns_are_rejected(engine: Engine) -> None:
    message = rejected(engine, "SELECT model, SUM(cost) FROM usage WHERE day > '2025-01-01'")
    assert message == ("SELECT list expression references column model which is neither grouped nor"
                    " aggregated")  # fmt: skip


def test_names_are_resolved_or_rejected_as_bigquery_does(engine: Engine) -> None:
    two = "FROM UNNEST([STRUCT(1 AS x)]) AS a, UNNEST([STRUCT(2 AS x)]) AS b"
    assert rejected(engine, f"SELECT x {two}") == "Column name x is ambiguous"
    assert query_rows(engine, f"SELECT a.x, b.x AS y {two}") == [("1", "2")]
    assert "Did you mean tokens" in rejected(
        engine, "SELECT token FROM usage WHERE day = '2025-11-01'"
    )
    assert "Duplicate column names" in rejected(engine, "SELECT 1 AS a, 2 AS a")
    assert "must be qualified with a dataset" in _unqualified(engine)


def _unqualified(engine: Engine) -> str:
    with pytest.raises(BigQueryError) as raised:
        engine.query("SELECT * FROM usage", project="p")
    return raised.value.message


def test_a_missing_table_or_dataset_is_not_found(engine: Engine) -> None:
    for sql, name in (
        ("SELECT * FROM d.nope", "Table p:d.nope"), ("SELECT * FROM n.t", "Dataset p:n")
    ):  # fmt: skip
        with pytest.raises(BigQueryError) as raised:
            query_rows(engine, sql)
        assert (raised.value.status, raised.value.reason) == (404, "notFound")
        assert raised.value.message == f"Not found: {name}"


@pytest.mark.parametrize(
    "where",
    [
        "day = '2025-11-01'",
        "day BETWEEN '2025-11-01' AND '2025-11-02' AND tokens > 1",
        "day IN ('2025-11-01')",
        "day IN UNNEST(@days)",
        "day >= DATE_SUB(@today, INTERVAL 30 DAY)",
        "(day = '2025-11-01' OR day = '2025-11-02')",
        "day IS NOT NULL",
        "TIMESTAMP(day) >= '2025-11-01'",
    ],
)
def test_a_filter_by_constants_satisfies_the_table(engine: Engine, where: str) -> None:
    days = {"type": "ARRAY", "arrayType": {"type": "DATE"}}
    parameters = [
        {"name": "days", "parameterType": days,
         "parameterValue": {"arrayValues": [{"value": "2025-11-01"}]}},
        {"name": "today", "parameterType": {"type": "DATE"},
         "parameterValue": {"value": "2025-11-21"}},
    ]  # fmt: skip
    assert query_rows(engine, f"SELECT tokens FROM usage WHERE {where}", parameters=parameters)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM usage",
        "SELECT * FROM usage WHERE tokens > 1",
        "SELECT * FROM usage WHERE day = '2025-11-01' OR tokens > 1",
        "SELECT * FROM usage WHERE day = (SELECT MAX(d) FROM UNNEST([DATE '2025-11-01']) AS d)",
        "SELECT * FROM costs",
        "SELECT a.model FROM usage AS a JOIN usage AS b USING (day) WHERE a.day = '2025-11-01'",
        "DELETE FROM usage WHERE tokens > 1",
        "UPDATE usage SET tokens = 1 WHERE TRUE",
    ],
)
def test_a_table_that_wants_a_partition_filter_rejects_queries_without(
    engine: Engine, sql: str
) -> None:
    message = rejected(engine, sql)
    assert (
        "without a filter over column(s) 'day' that can be used for partition elimination"
        in message
    )


def test_a_filter_reaches_through_views_and_subqueries(engine: Engine) -> None:
    assert query_rows(engine, "SELECT SUM(cost) FROM costs WHERE day = '2025-11-01'") == [("3.75",)]
    grouped = "SELECT day, SUM(cost) AS c FROM costs GROUP BY day"
    assert query_rows(engine, f"SELECT c FROM ({grouped}) WHERE day = '2025-11-02'") == [("4",)]
    both = "SELECT day, cost FROM costs UNION ALL SELECT day, -cost FROM costs"
    assert query_rows(engine, f"SELECT SUM(cost) FROM ({both}) WHERE day = '2025-11-02'") == [
        ("0",)
    ]


def test_set_operations_join_types_and_reject_others(engine: Engine) -> None:
    mixed = "SELECT 1 AS x UNION ALL SELECT 2.5 ORDER BY x DESC"
    assert query_rows(engine, mixed) == [("2.5",), ("1.0",)]
    assert query_rows(engine, "SELECT 1 INTERSECT DISTINCT SELECT 1") == [("1",)]
    assert "incompatible types: INT64, STRING" in rejected(engine, "SELECT 1 UNION ALL SELECT 'a'")
    assert "mismatched column count" in rejected(engine, "SELECT 1 UNION ALL SELECT 1, 2")


def test_nulls_sort_first_ascending_and_last_descending(engine: Engine) -> None:
    data = "FROM UNNEST([2, NULL, 1]) AS x"
    assert query_rows(engine, f"SELECT x {data} ORDER BY x") == [(None,), ("1",), ("2",)]
    assert query_rows(engine, f"SELECT x {data} ORDER BY x DESC") == [("2",), ("1",), (None,)]


def test_windows_with_names_frames_and_aggregates(engine: Engine) -> None:
    sql = """SELECT x, SUM(x) OVER w AS running, LAG(x, 1, 0) OVER w AS before,
                    x / SUM(x) OVER () AS share
             FROM UNNEST([1, 2, 3]) AS x
             WINDOW w AS (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) ORDER BY x"""
    assert [row[:3] for row in query_rows(engine, sql)] == [
        ("1", "1", "0"), ("2", "3", "1"), ("3", "6", "2")
    ]  # fmt: skip
    nested = "SELECT x, SUM(COUNT(*)) OVER (ORDER BY x) FROM UNNEST([1, 1, 2]) AS x GROUP BY x"
    assert sorted(query_rows(engine, nested)) == [("1", "2"), ("2", "3")]


def test_correlated_subqueries_and_exists(engine: Engine) -> None:
    sql = """SELECT x, (SELECT SUM(y) FROM UNNEST([1, 2, 3]) AS y WHERE y < x) AS below
             FROM UNNEST([1, 3]) AS x
             WHERE EXISTS (SELECT 1 FROM UNNEST([3]) AS z WHERE z >= x) ORDER BY x"""
    assert query_rows(engine, sql) == [("1", None), ("3", "3")]


def test_star_except_replace_and_using(engine: Engine) -> None:
    one, two = "(SELECT 1 AS k, 2 AS a, 3 AS b)", "(SELECT 1 AS k, 4 AS c)"
    chosen = "SELECT * EXCEPT (b) REPLACE (a * 10 AS a)"
    assert query_rows(engine, f"{chosen} FROM {one} JOIN {two} USING (k)") \
        == [("1", "20", "4")]  # fmt: skip
    assert "does not exist" in rejected(engine, f"SELECT * EXCEPT (z) FROM {one}")


def test_a_null_inside_an_array_cannot_leave_a_query(engine: Engine) -> None:
    data = "FROM UNNEST([1, NULL]) AS x"
    assert "Array cannot have a null element" in rejected(engine, f"SELECT ARRAY_AGG(x) {data}")
    assert len(query_rows(engine, f"SELECT ARRAY_AGG(x IGNORE NULLS) {data}")) == 1


def test_a_dry_run_tells_schema_tables_and_the_bytes_a_filter_leaves(engine: Engine) -> None:
    def dry(where: str) -> int:
        sql = f"SELECT tokens, cost FROM d.usage WHERE {where}"
        result = engine.query(sql, project="p", dry_run=True)
        assert [field.type for field in result.schema.fields] == ["INTEGER", "NUMERIC"]
        assert [str(ref) for ref in result.referenced_tables] == ["p:d.usage"]
        return result.total_bytes_processed

    # tokens 8, cost 16 and the filtered day 8 bytes for each of 2 and 3 rows
    assert dry("day = '2025-11-01'") == 2 * 32
    assert dry("day >= '2025-11-01'") == 3 * 32


def test_bytes_over_the_limit_are_rejected_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(BigQueryError) as raised:
        query_rows(
            engine, "SELECT cost FROM usage WHERE day = '2025-11-01'", maximum_bytes_billed=10
        )
    assert raised.value.reason == "bytesBilledLimitExceeded"


def test_parameters_of_every_shape(engine: Engine) -> None:
    struct = {
        "type": "STRUCT",
        "structTypes": [
            {"name": "a", "type": {"type": "INT64"}},
            {"name": "b", "type": {"type": "STRING"}},
        ],
    }
    parameters = [
        {"parameterType": {"type": "NUMERIC"}, "parameterValue": {"value": "1.5"}},
        {"parameterType": {"type": "ARRAY", "arrayType": {"type": "INT64"}},
         "parameterValue": {"arrayValues": [{"value": "1"}, {"value": "2"}]}},
        {"parameterType": struct, "parameterValue": {
            "structValues": {"a": {"value": "7"}, "b": {"value": "x'y"}}}},
        {"parameterType": {"type": "DATE"}, "parameterValue": {"value": None}},
    ]  # fmt: skip
    # The last `?` of the text is compiled first: places, not order of compilation, count.
    sql = """SELECT ? * 2 AS n, (SELECT SUM(x) FROM UNNEST(?) AS x) AS s, p.b, p.a
             FROM (SELECT ? AS p) WHERE ? IS NULL"""
    got = query_rows(engine, sql, parameters=parameters, parameter_mode="POSITIONAL")
    assert got == [("3", "3", "x'y", "7")]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS new",
        "SELECT * FROM (SELECT 1 AS n) AS new",
        "WITH new AS (SELECT 1 AS n) SELECT * FROM new",
    ],
)
def test_a_reserved_keyword_is_no_alias_without_backticks(engine: Engine, sql: str) -> None:
    assert "Unexpected keyword NEW" in rejected(engine, sql)
    engine.query(sql.replace("new", "`new`"), project="p")

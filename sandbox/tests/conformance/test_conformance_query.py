from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, cast

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter, StructQueryParameter

from conformance.client import Ask, Client, Job, Make

MOMENT = dt.datetime(2025, 11, 25, 1, 2, 3, 456789, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("sql", "kind", "value"),
    [
        ("1", "INTEGER", 1),
        ("9223372036854775807", "INTEGER", 9223372036854775807),
        ("1.5", "FLOAT", 1.5),
        ("NUMERIC '1.10'", "NUMERIC", Decimal("1.1")),
        ("BIGNUMERIC '0.1'", "BIGNUMERIC", Decimal("0.1")),
        ("'naïve 😀'", "STRING", "naïve 😀"),
        ("b'ab\\x00'", "BYTES", b"ab\x00"),
        ("TRUE", "BOOLEAN", True),
        ("DATE '2025-11-25'", "DATE", dt.date(2025, 11, 25)),
        ("TIME '01:02:03.5'", "TIME", dt.time(1, 2, 3, 500_000)),
        ("DATETIME '2025-11-25 01:02:03.456789'", "DATETIME", MOMENT.replace(tzinfo=None)),
        ("TIMESTAMP '2025-11-25 01:02:03.456789+00'", "TIMESTAMP", MOMENT),
        (
            "TIMESTAMP '1969-12-31 23:59:59.999999+00'",
            "TIMESTAMP",
            dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
        ),
        ("JSON '{\"a\": [1, null]}'", "JSON", {"a": [1, None]}),
        ("[1, 2]", "INTEGER", [1, 2]),
        ("STRUCT(1 AS a, 'x' AS b)", "RECORD", {"a": 1, "b": "x"}),
        ("[STRUCT(1 AS a, [STRUCT('x' AS c)] AS b)]", "RECORD", [{"a": 1, "b": [{"c": "x"}]}]),
        ("CAST(NULL AS STRING)", "STRING", None),
        ("CAST(NULL AS ARRAY<INT64>)", "INTEGER", []),
        ("CAST('inf' AS FLOAT64)", "FLOAT", float("inf")),
    ],
)
def test_a_value_of_each_type_comes_back(
    client: Client, sql: str, kind: str, value: object
) -> None:
    found = client.query_and_wait(f"SELECT {sql} AS v")
    assert [field.field_type for field in found.schema] == [kind]
    assert [row["v"] for row in found] == [value]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (ScalarQueryParameter("p", "STRING", "it's `x`; DROP"), "it's `x`; DROP"),
        (ScalarQueryParameter("p", "INT64", -(2**63)), -(2**63)),
        (ScalarQueryParameter("p", "FLOAT64", 0.1), 0.1),
        (ScalarQueryParameter("p", "NUMERIC", Decimal("1.000000001")), Decimal("1.000000001")),
        (ScalarQueryParameter("p", "BIGNUMERIC", Decimal("1e-38")), Decimal("1e-38")),
        (ScalarQueryParameter("p", "BOOL", False), False),
        (ScalarQueryParameter("p", "BYTES", cast("Any", b"\x00\xff")), b"\x00\xff"),
        (ScalarQueryParameter("p", "DATE", dt.date(2025, 11, 25)), dt.date(2025, 11, 25)),
        (ScalarQueryParameter("p", "TIMESTAMP", MOMENT), MOMENT),
        (
            ScalarQueryParameter("p", "DATETIME", MOMENT.replace(tzinfo=None)),
            MOMENT.replace(tzinfo=None),
        ),
        (ScalarQueryParameter("p", "STRING", None), None),
        (ScalarQueryParameter("p", "DATE", None), None),
        (ArrayQueryParameter("p", "INT64", [1, 2, 3]), [1, 2, 3]),
        (ArrayQueryParameter("p", "STRING", []), []),
        (ArrayQueryParameter("p", "DATE", [dt.date(2025, 11, 25)]), [dt.date(2025, 11, 25)]),
        (
            StructQueryParameter(
                "p",
                ScalarQueryParameter("a", "INT64", 1),
                ArrayQueryParameter("b", "STRING", ["x"]),
            ),
            {"a": 1, "b": ["x"]},
        ),
        (
            ArrayQueryParameter(
                "p",
                "STRUCT",
                [
                    StructQueryParameter(None, ScalarQueryParameter("a", "INT64", 1)),
                    StructQueryParameter(None, ScalarQueryParameter("a", "INT64", 2)),
                ],
            ),
            [{"a": 1}, {"a": 2}],
        ),
    ],
    ids=lambda value: getattr(value, "type_", getattr(value, "array_type", None)),
)
def test_a_parameter_of_each_type_goes_in(ask: Ask, parameter: object, value: object) -> None:
    assert ask("SELECT @p AS v", parameter) == [(value,)]


def test_parameters_by_position(ask: Ask) -> None:
    first = ScalarQueryParameter(None, "INT64", 1)
    second = ScalarQueryParameter(None, "STRING", "x")
    assert ask("SELECT ?, ?", first, second) == [(1, "x")]


def test_an_array_parameter_filters(ask: Ask, make: Make) -> None:
    table = make([("org", "STRING"), ("n", "INTEGER")], "('a', 1), ('b', 2), ('c', 3)")
    orgs = ArrayQueryParameter("orgs", "STRING", ["a", "c"])
    sql = f"SELECT org FROM `{table.reference}` WHERE org IN UNNEST(@orgs) ORDER BY org"
    assert ask(sql, orgs) == [("a",), ("c",)]


def test_a_struct_parameter_is_read_by_field(ask: Ask) -> None:
    rows = ArrayQueryParameter(
        "rows",
        "STRUCT",
        [
            StructQueryParameter(
                None,
                ScalarQueryParameter("k", "STRING", "a"),
                ScalarQueryParameter("v", "NUMERIC", Decimal("1.5")),
            ),
            StructQueryParameter(
                None,
                ScalarQueryParameter("k", "STRING", "b"),
                ScalarQueryParameter("v", "NUMERIC", None),
            ),
        ],
    )
    assert ask("SELECT r.k, r.v FROM UNNEST(@rows) AS r ORDER BY r.k", rows) == [
        ("a", Decimal("1.5")),
        ("b", None),
    ]


def test_a_missing_parameter_is_400(ask: Ask) -> None:
    with pytest.raises(exceptions.BadRequest):
        ask("SELECT @nothing")


@pytest.mark.parametrize("method", ["QUERY", "INSERT"])
def test_a_large_result_comes_in_pages(client: Client, method: str) -> None:
    sql = "SELECT n, REPEAT('x', 20) AS s FROM UNNEST(GENERATE_ARRAY(1, 30000)) AS n ORDER BY n"
    rows = client.query(sql, api_method=method).result(page_size=7000)
    assert rows.total_rows == 30000
    numbers = []
    sizes = []
    for page in rows.pages:
        sizes.append(page.num_items)
        numbers += [row["n"] for row in page]
    assert numbers == list(range(1, 30001))
    # The first page of jobs.query is as large as BigQuery likes; its request names no size.
    assert method == "QUERY" or max(sizes) <= 7000


def test_query_and_wait_pages_too(client: Client) -> None:
    sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 250)) AS n ORDER BY n"
    assert [row["n"] for row in client.query_and_wait(sql, page_size=100)] == list(range(1, 251))
    assert len(list(client.query_and_wait(sql, max_results=30))) == 30


def test_a_result_can_be_read_again_from_its_job(client: Client) -> None:
    job = client.query("SELECT n FROM UNNEST([3, 1, 2]) AS n ORDER BY n")
    job.result()
    again = client.get_job(job.job_id)
    assert [row["n"] for row in again.result()] == [1, 2, 3]
    assert [row["n"] for row in again.result(start_index=1)] == [2, 3]


def test_an_empty_result_has_a_schema(client: Client) -> None:
    rows = client.query_and_wait("SELECT 1 AS a, 'x' AS b LIMIT 0")
    assert [field.name for field in rows.schema] == ["a", "b"]
    assert (rows.total_rows, list(rows)) == (0, [])


def test_a_default_dataset_completes_names(ask: Ask, make: Make, dataset: str) -> None:
    table = make([("a", "INTEGER")], "(1)")
    default = bigquery.DatasetReference.from_string(dataset)
    assert ask(f"SELECT a FROM {table.table_id}", default_dataset=default) == [(1,)]


def test_a_dry_run_tells_schema_and_size_and_runs_nothing(
    client: Client, make: Make, ask: Ask
) -> None:
    table = make([("a", "INTEGER")], "(1), (2)")
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    job = client.query(f"SELECT a FROM `{table.reference}`", job_config=config)
    assert job.state == "DONE"
    assert job.total_bytes_processed == 16
    assert [field.name for field in job.schema] == ["a"]
    assert job.statement_type == "SELECT"
    assert [ref.table_id for ref in job.referenced_tables] == [table.table_id]
    client.query(f"DELETE FROM `{table.reference}` WHERE TRUE", job_config=config)
    assert ask(f"SELECT COUNT(*) FROM `{table.reference}`") == [(2,)]


def test_a_dry_run_of_bad_sql_is_rejected(client: Client) -> None:
    config = bigquery.QueryJobConfig(dry_run=True)
    with pytest.raises(exceptions.BadRequest) as caught:
        client.query("SELEKT 1", job_config=config)
    assert caught.value.errors[0]["reason"] == "invalidQuery"


def test_statistics_of_a_query(client: Client, make: Make) -> None:
    table = make([("a", "INTEGER"), ("b", "STRING")], "(1, 'x'), (2, 'y')")
    config = bigquery.QueryJobConfig(use_query_cache=False, labels={"org": "acme"})
    job = client.query(f"SELECT a FROM `{table.reference}`", job_config=config)
    job.result()
    found = client.get_job(job.job_id)
    assert (found.statement_type, found.cache_hit) == ("SELECT", False)
    assert found.total_bytes_processed == 16
    assert found.total_bytes_billed == 10 * 1024 * 1024
    assert found.labels == {"org": "acme"}
    assert found.created <= found.started <= found.ended
    assert found.query == f"SELECT a FROM `{table.reference}`"


def test_a_query_over_its_bytes_limit_is_rejected(client: Client, make: Make, ask: Ask) -> None:
    table = make([("a", "INTEGER")], "(1)")
    enough = 10 * 1024 * 1024  # what BigQuery bills at least for each table
    with pytest.raises(exceptions.BadRequest) as caught:
        ask(
            f"SELECT a FROM `{table.reference}`",
            maximum_bytes_billed=enough - 1,
            use_query_cache=False,
        )
    assert caught.value.errors[0]["reason"] == "bytesBilledLimitExceeded"
    assert ask(f"SELECT a FROM `{table.reference}`", maximum_bytes_billed=enough) == [(1,)]


@pytest.fixture
def daily(make: Make) -> Any:
    return make(
        [("day", "DATE"), ("n", "INTEGER")],
        "('2025-11-24', 1), ('2025-11-25', 2)",
        time_partitioning=bigquery.TimePartitioning(field="day"),
        require_partition_filter=True,
    )


@pytest.mark.parametrize("where", ["", "WHERE n = 1", "WHERE n = 1 OR day = '2025-11-24'"])
def test_a_required_partition_filter_is_required(
    ask: Ask, daily: bigquery.Table, where: str
) -> None:
    with pytest.raises(exceptions.BadRequest) as caught:
        ask(f"SELECT n FROM `{daily.reference}` {where}")
    assert "filter" in caught.value.message


@pytest.mark.parametrize(
    "where",
    [
        "day = '2025-11-24'",
        "day BETWEEN '2025-11-01' AND '2025-11-24'",
        "day IN ('2025-11-24')",
        "day < DATE '2025-11-25' AND n > 0",
        "day = @day",
    ],
)
def test_a_partition_filter_is_seen(ask: Ask, daily: bigquery.Table, where: str) -> None:
    day = ScalarQueryParameter("day", "DATE", dt.date(2025, 11, 24))
    parameters = [day] if "@" in where else []
    assert ask(f"SELECT n FROM `{daily.reference}` WHERE {where}", *parameters) == [(1,)]


def write_result(
    client: Client, sql: str, target: str, *parameters: object, **options: object
) -> Job:
    config = bigquery.QueryJobConfig(
        destination=target, query_parameters=list(parameters), **options
    )
    job = client.query(sql, job_config=config)
    job.result()
    return job


def test_a_query_writes_its_destination(client: Client, ask: Ask, name: str) -> None:
    job = write_result(client, "SELECT 1 AS a, 'x' AS b", name)
    assert job.destination.table_id == name.rpartition(".")[2]
    assert ask(f"SELECT a, b FROM `{name}`") == [(1, "x")]
    with pytest.raises(exceptions.Conflict) as caught:
        write_result(client, "SELECT 2 AS a, 'y' AS b", name)
    assert caught.value.errors[0]["reason"] == "duplicate"
    write_result(client, "SELECT 2 AS a, 'y' AS b", name, write_disposition="WRITE_APPEND")
    assert len(ask(f"SELECT a FROM `{name}`")) == 2
    write_result(client, "SELECT 3 AS other", name, write_disposition="WRITE_TRUNCATE")
    assert ask(f"SELECT * FROM `{name}`") == [(3,)]


def test_a_query_replaces_one_partition(client: Client, ask: Ask, daily: bigquery.Table) -> None:
    day = ScalarQueryParameter("day", "DATE", dt.date(2025, 11, 25))
    target = f"{daily.reference}$20251125"
    sql = "SELECT @day AS day, n FROM UNNEST([7, 8]) AS n"
    for _ in range(2):
        write_result(client, sql, target, day, write_disposition="WRITE_TRUNCATE")
    found = ask(f"SELECT n FROM `{daily.reference}` WHERE day > '2025-01-01' ORDER BY n")
    assert found == [(1,), (7,), (8,)]


def test_a_query_does_not_write_another_day(
    client: Client, ask: Ask, daily: bigquery.Table
) -> None:
    target = f"{daily.reference}$20251125"
    with pytest.raises(exceptions.BadRequest):
        write_result(
            client,
            "SELECT DATE '2025-11-26' AS day, 1 AS n",
            target,
            write_disposition="WRITE_TRUNCATE",
        )
    assert ask(f"SELECT n FROM `{daily.reference}` WHERE day = '2025-11-25'") == [(2,)]


def test_a_query_makes_a_partitioned_destination(client: Client, name: str) -> None:
    write_result(
        client,
        "SELECT DATE '2025-11-25' AS day, 1 AS n",
        name,
        time_partitioning=bigquery.TimePartitioning(field="day"),
        clustering_fields=["n"],
    )
    table = client.get_table(name)
    assert (table.time_partitioning.field, table.clustering_fields) == ("day", ["n"])


def test_a_destination_gets_a_column_when_allowed(client: Client, ask: Ask, name: str) -> None:
    write_result(client, "SELECT 1 AS a", name)
    with pytest.raises(exceptions.BadRequest):
        write_result(client, "SELECT 2 AS a, 3 AS b", name, write_disposition="WRITE_APPEND")
    write_result(
        client,
        "SELECT 2 AS a, 3 AS b",
        name,
        write_disposition="WRITE_APPEND",
        schema_update_options=["ALLOW_FIELD_ADDITION"],
    )
    assert ask(f"SELECT a, b FROM `{name}` ORDER BY a") == [(1, None), (2, 3)]


def test_projects_see_each_other_by_name(client: Client, make: Make, ask: Ask) -> None:
    table = make([("a", "INTEGER")], "(1)")
    whole = f"{table.project}.{table.dataset_id}.{table.table_id}"
    quoted = ".".join(f"`{part}`" for part in whole.split("."))
    assert ask(f"SELECT a FROM {quoted}") == ask(f"SELECT a FROM `{whole}`") == [(1,)]


def test_rows_become_arrow(client: Client) -> None:
    rows = client.query_and_wait("SELECT 1 AS a, NUMERIC '1.5' AS b")
    table = rows.to_arrow(create_bqstorage_client=False)
    assert table.to_pylist() == [{"a": 1, "b": Decimal("1.5")}]

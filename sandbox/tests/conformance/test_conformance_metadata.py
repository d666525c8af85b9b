from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from google.cloud import bigquery

from conformance.client import Ask, Client, Make


@pytest.fixture
def table(make: Make) -> Any:
    return make(
        [
            ("day", "DATE", "REQUIRED"),
            ("n", "INTEGER"),
            ("tags", "STRING", "REPEATED"),
            ("amount", "NUMERIC"),
        ],
        "('2025-11-24', 1, [], 1), ('2025-11-25', 2, [], 1), ('2025-11-25', 3, [], 1)",
        time_partitioning=bigquery.TimePartitioning(field="day"),
        clustering_fields=["n"],
    )


def test_information_schema_lists_tables_and_views(
    ask: Ask, table: bigquery.Table, client: Client, dataset: str, name: str
) -> None:
    view = bigquery.Table(name)
    view.view_query = "SELECT 1 AS a"
    client.create_table(view)
    found: dict[str, str] = dict(
        ask(
            f"SELECT table_name, table_type FROM `{dataset}`.INFORMATION_SCHEMA.TABLES"
            f" WHERE table_name IN ('{table.table_id}', '{name.rpartition('.')[2]}')"
        )
    )
    assert found == {table.table_id: "BASE TABLE", name.rpartition(".")[2]: "VIEW"}


def test_information_schema_lists_columns(ask: Ask, table: bigquery.Table, dataset: str) -> None:
    assert ask(
        "SELECT column_name, ordinal_position, is_nullable, data_type, is_partitioning_column,"
        f" clustering_ordinal_position FROM `{dataset}`.INFORMATION_SCHEMA.COLUMNS"
        f" WHERE table_name = '{table.table_id}' ORDER BY ordinal_position"
    ) == [
        ("day", 1, "NO", "DATE", "YES", None),
        ("n", 2, "YES", "INT64", "NO", 1),
        ("tags", 3, "NO", "ARRAY<STRING>", "NO", None),
        ("amount", 4, "YES", "NUMERIC", "NO", None),
    ]


def partitions(ask: Ask, table: bigquery.Table) -> dict[str, tuple[int, dt.datetime]]:
    rows = ask(
        "SELECT partition_id, total_rows, last_modified_time"
        f" FROM `{table.project}.{table.dataset_id}.INFORMATION_SCHEMA.PARTITIONS`"
        f" WHERE table_name = '{table.table_id}'"
    )
    return {one: (total, modified) for one, total, modified in rows}


def test_information_schema_tells_when_a_partition_was_written(
    ask: Ask, table: bigquery.Table, client: Client
) -> None:
    before = partitions(ask, table)
    assert {one: total for one, (total, _) in before.items()} == {"20251124": 1, "20251125": 2}
    job = client.load_table_from_json(
        [{"day": "2025-11-25", "n": 9}],
        f"{table.reference}$20251125",
        job_config=bigquery.LoadJobConfig(write_disposition="WRITE_TRUNCATE", autodetect=False),
    ).result()
    after = partitions(ask, table)
    assert after["20251124"] == before["20251124"]
    assert after["20251125"][0] == 1
    assert before["20251125"][1] < after["20251125"][1] <= job.ended + dt.timedelta(seconds=1)


def test_a_table_tells_how_many_rows_it_has(client: Client, table: bigquery.Table) -> None:
    found = client.get_table(table)
    assert found.num_rows == 3
    assert found.num_bytes > 0
    assert found.modified >= found.created


def test_a_default_dataset_reaches_information_schema(
    ask: Ask, table: bigquery.Table, dataset: str
) -> None:
    default = bigquery.DatasetReference.from_string(dataset)
    sql = f"SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES WHERE table_name = '{table.table_id}'"
    assert ask(sql, default_dataset=default) == [(1,)]

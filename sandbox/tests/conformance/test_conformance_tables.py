from __future__ import annotations

import datetime as dt
from itertools import islice

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Ask, Client, Make, schema_fields

EVERY_TYPE = [
    bigquery.SchemaField("s", "STRING", "REQUIRED", description="a name", max_length=20),
    bigquery.SchemaField("b", "BYTES"),
    bigquery.SchemaField("i", "INTEGER", description="a count"),
    bigquery.SchemaField("f", "FLOAT"),
    bigquery.SchemaField("n", "NUMERIC", precision=20, scale=4),
    bigquery.SchemaField("bn", "BIGNUMERIC"),
    bigquery.SchemaField("ok", "BOOLEAN"),
    bigquery.SchemaField("ts", "TIMESTAMP"),
    bigquery.SchemaField("d", "DATE"),
    bigquery.SchemaField("t", "TIME"),
    bigquery.SchemaField("dtm", "DATETIME"),
    bigquery.SchemaField("j", "JSON"),
    bigquery.SchemaField(
        "r",
        "RECORD",
        "REPEATED",
        description="nested",
        fields=[
            bigquery.SchemaField("x", "STRING", "REQUIRED", description="inside"),
            bigquery.SchemaField(
                "y", "RECORD", fields=[bigquery.SchemaField("z", "INTEGER", "REPEATED")]
            ),
        ],
    ),
]


def test_every_type_mode_and_description_comes_back(client: Client, name: str) -> None:
    client.create_table(bigquery.Table(name, schema=EVERY_TYPE))
    assert client.get_table(name).schema == EVERY_TYPE


def test_layout_and_labels_come_back(client: Client, name: str) -> None:
    table = bigquery.Table(
        name, schema=[bigquery.SchemaField("day", "DATE"), bigquery.SchemaField("org", "STRING")]
    )
    table.description, table.friendly_name = "usage", "Usage"
    table.labels = {"room": "warehouse"}
    table.time_partitioning = bigquery.TimePartitioning(field="day", expiration_ms=86_400_000)
    table.clustering_fields = ["org"]
    table.require_partition_filter = True
    client.create_table(table)
    found = client.get_table(name)
    assert (found.description, found.friendly_name) == ("usage", "Usage")
    assert found.labels == {"room": "warehouse"}
    assert found.time_partitioning.field == "day"
    assert found.time_partitioning.type_ == "DAY"
    assert found.time_partitioning.expiration_ms == 86_400_000
    assert found.clustering_fields == ["org"]
    assert found.require_partition_filter is True
    assert (found.table_type, found.location, found.num_rows) == ("TABLE", "US", 0)


def test_making_a_table_that_exists_is_409_duplicate(client: Client, make: Make) -> None:
    table = make([("a", "STRING")])
    with pytest.raises(exceptions.Conflict) as caught:
        client.create_table(bigquery.Table(table.reference, schema=table.schema))
    assert caught.value.errors[0]["reason"] == "duplicate"
    client.create_table(bigquery.Table(table.reference, schema=table.schema), exists_ok=True)


def test_a_table_in_an_unknown_dataset_is_404(client: Client) -> None:
    schema = [bigquery.SchemaField("a", "STRING")]
    with pytest.raises(exceptions.NotFound):
        client.create_table(bigquery.Table(f"{client.project}.nowhere_1.t", schema=schema))


def test_an_unknown_table_is_404_not_found(client: Client, name: str) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_table(name)
    assert caught.value.errors[0]["reason"] == "notFound"
    with pytest.raises(exceptions.NotFound):
        client.delete_table(name)
    client.delete_table(name, not_found_ok=True)


@pytest.mark.parametrize(
    "schema",
    [
        [{"name": "a", "type": "NOTATYPE"}],
        [{"name": "a", "type": "STRING"}, {"name": "A", "type": "STRING"}],
        [{"name": "1a", "type": "STRING"}],
        [{"name": "a", "type": "RECORD"}],
        [{"name": "a", "type": "STRING", "mode": "SOMETIMES"}],
    ],
    ids=["unknown type", "same name twice", "bad name", "record without fields", "unknown mode"],
)
def test_a_bad_schema_is_400_invalid(
    client: Client, name: str, schema: list[dict[str, str]]
) -> None:
    table = bigquery.Table(name)
    table._properties["schema"] = {"fields": schema}
    with pytest.raises(exceptions.BadRequest) as caught:
        client.create_table(table)
    assert caught.value.errors[0]["reason"] == "invalid"


def test_partitioning_by_an_unknown_column_is_400(client: Client, name: str) -> None:
    table = bigquery.Table(name, schema=[bigquery.SchemaField("a", "STRING")])
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    with pytest.raises(exceptions.BadRequest):
        client.create_table(table)


def test_a_column_can_be_added(client: Client, make: Make, ask: Ask) -> None:
    table = make([("a", "STRING")], "('x')")
    table.schema = [*table.schema, bigquery.SchemaField("b", "INTEGER", description="new")]
    changed = client.update_table(table, ["schema"])
    assert [field.name for field in changed.schema] == ["a", "b"]
    assert ask(f"SELECT a, b FROM `{table.reference}`") == [("x", None)]


def test_a_nested_column_can_be_added(client: Client, name: str, ask: Ask) -> None:
    inner = [bigquery.SchemaField("x", "INTEGER")]
    schema = [bigquery.SchemaField("r", "RECORD", fields=inner)]
    table = client.create_table(bigquery.Table(name, schema=schema))
    ask(f"INSERT INTO `{name}` VALUES (STRUCT(1))")
    inner.append(bigquery.SchemaField("y", "STRING"))
    table.schema = [bigquery.SchemaField("r", "RECORD", fields=inner)]
    client.update_table(table, ["schema"])
    assert ask(f"SELECT r.x, r.y FROM `{name}`") == [(1, None)]


def test_required_can_be_relaxed(client: Client, make: Make, ask: Ask) -> None:
    table = make([("a", "STRING", "REQUIRED")])
    table.schema = [bigquery.SchemaField("a", "STRING")]
    assert client.update_table(table, ["schema"]).schema[0].mode == "NULLABLE"
    ask(f"INSERT INTO `{table.reference}` VALUES (NULL)")


@pytest.mark.parametrize(
    "columns",
    [
        [("a", "STRING")],
        [("a", "STRING"), ("b", "STRING")],
        [("a", "STRING"), ("b", "INTEGER", "REQUIRED")],
        [("a", "STRING"), ("b", "INTEGER"), ("c", "STRING", "REQUIRED")],
    ],
    ids=["lost", "retyped", "made required", "added as required"],
)
def test_a_column_can_be_neither_lost_nor_made_stricter(
    client: Client, make: Make, columns: list[tuple[str, ...]]
) -> None:
    table = make([("a", "STRING"), ("b", "INTEGER")])
    table.schema = schema_fields(columns)
    with pytest.raises(exceptions.BadRequest):
        client.update_table(table, ["schema"])
    assert [field.field_type for field in client.get_table(table).schema] == ["STRING", "INTEGER"]


def test_a_patch_keeps_what_it_does_not_name(client: Client, make: Make) -> None:
    table = make([("a", "STRING")], description="kept", labels={"kept": "yes"})
    table.friendly_name = "Named"
    changed = client.update_table(table, ["friendly_name"])
    assert (changed.description, changed.labels) == ("kept", {"kept": "yes"})
    assert changed.friendly_name == "Named"


def test_a_stale_etag_is_412(client: Client, make: Make) -> None:
    table = make([("a", "STRING")])
    stale, fresh = client.get_table(table), client.get_table(table)
    fresh.description = "first"
    client.update_table(fresh, ["description"])
    stale.description = "second"
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(stale, ["description"])


def test_tables_are_listed_in_pages(client: Client, dataset: str, make: Make) -> None:
    made = {make([("a", "STRING")]).table_id for _ in range(3)}
    first, second = islice(client.list_tables(dataset, page_size=2).pages, 2)
    sizes = (first.num_items, second.num_items)
    names = [item.table_id for page in (first, second) for item in page]
    assert (sizes[0], len(set(names))) == (2, sum(sizes))
    assert made <= {item.table_id for item in client.list_tables(dataset, page_size=100)}


def test_a_view_sees_columns_and_rows_that_come_later(
    client: Client, make: Make, ask: Ask, name: str
) -> None:
    table = make([("a", "STRING")], "('x')")
    view = bigquery.Table(name)
    view.view_query = f"SELECT * FROM `{table.reference}`"
    client.create_table(view)
    found = client.get_table(name)
    assert (found.table_type, found.view_query) == ("VIEW", view.view_query)
    ask(f"ALTER TABLE `{table.reference}` ADD COLUMN b INT64")
    ask(f"INSERT INTO `{table.reference}` VALUES ('y', 2)")
    assert ask(f"SELECT * FROM `{name}` ORDER BY a") == [("x", None), ("y", 2)]


def test_a_view_can_be_changed(client: Client, ask: Ask, name: str) -> None:
    view = bigquery.Table(name)
    view.view_query = "SELECT 1 AS a"
    made = client.create_table(view)
    made.view_query = "SELECT 2 AS a"
    client.update_table(made, ["view_query"])
    assert ask(f"SELECT a FROM `{name}`") == [(2,)]


def test_a_view_of_a_missing_table_is_rejected(client: Client, name: str) -> None:
    view = bigquery.Table(name)
    view.view_query = f"SELECT * FROM `{name}_missing`"
    with pytest.raises((exceptions.NotFound, exceptions.BadRequest)):
        client.create_table(view)


def test_rows_are_listed_with_their_types(client: Client, make: Make) -> None:
    table = make(
        [("s", "STRING"), ("ts", "TIMESTAMP"), ("d", "DATE")],
        "('x', TIMESTAMP '2025-11-25 01:02:03.456789+00', DATE '2025-11-25')",
    )
    [row] = client.list_rows(table)
    moment = dt.datetime(2025, 11, 25, 1, 2, 3, 456789, tzinfo=dt.UTC)
    assert tuple(row.values()) == ("x", moment, dt.date(2025, 11, 25))


def test_rows_are_listed_in_pages_and_by_column(client: Client, make: Make) -> None:
    table = make([("a", "INTEGER"), ("b", "STRING")])
    rows = [{"a": number, "b": str(number)} for number in range(25)]
    config = bigquery.LoadJobConfig(schema=table.schema)
    client.load_table_from_json(rows, table, job_config=config).result()
    pages = list(client.list_rows(table, page_size=10).pages)
    assert [page.num_items for page in pages] == [10, 10, 5]
    assert len(list(client.list_rows(table, max_results=7))) == 7
    assert len(list(client.list_rows(table, start_index=20))) == 5
    only_a = list(client.list_rows(table, selected_fields=table.schema[:1]))
    assert sorted(row["a"] for row in only_a) == list(range(25))
    assert all(len(row) == 1 for row in only_a)


def test_one_partition_can_be_listed_and_deleted(client: Client, make: Make) -> None:
    table = make(
        [("day", "DATE"), ("n", "INTEGER")],
        "('2025-11-24', 1), ('2025-11-25', 2)",
        time_partitioning=bigquery.TimePartitioning(field="day"),
    )
    partition = f"{table.reference}$20251125"
    rows = client.list_rows(bigquery.TableReference.from_string(partition), table.schema)
    assert [row["n"] for row in rows] == [2]
    client.delete_table(partition)
    assert [row["n"] for row in client.list_rows(table)] == [1]

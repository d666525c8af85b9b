from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Ask, Client, Make

COLUMNS = [("org", "STRING", "REQUIRED"), ("n", "INTEGER"), ("tags", "STRING", "REPEATED")]


def stream(
    client: Client, table: bigquery.Table, rows: list[dict[str, Any]], **options: object
) -> list[dict[str, Any]]:
    ids = options.pop("ids", bigquery.AutoRowIDs.GENERATE_UUID)
    response: list[dict[str, Any]] = client.insert_rows_json(table, rows, row_ids=ids, **options)
    return response


def test_streamed_rows_can_be_queried_at_once(client: Client, make: Make, ask: Ask) -> None:
    table = make(COLUMNS)
    assert stream(client, table, [{"org": "a", "n": 1, "tags": ["x"]}, {"org": "b"}]) == []
    assert ask(f"SELECT org, n, tags FROM `{table.reference}` ORDER BY org") == [
        ("a", 1, ["x"]),
        ("b", None, []),
    ]


@pytest.mark.parametrize(
    ("row", "location"),
    [
        ({"n": 1}, "org"),
        ({"org": None}, "org"),
        ({"org": "a", "x": 1}, "x"),
        ({"org": "a", "n": "x"}, "n"),
    ],
    ids=["REQUIRED missing", "REQUIRED null", "unknown field", "wrong type"],
)
def test_a_bad_row_is_rejected_by_its_index_and_nothing_is_written(
    client: Client, make: Make, ask: Ask, row: dict[str, Any], location: str
) -> None:
    table = make(COLUMNS)
    errors = stream(client, table, [{"org": "good"}, row])
    reasons = {error["index"]: error["errors"][0]["reason"] for error in errors}
    assert reasons == {0: "stopped", 1: "invalid"}
    [bad] = [error["errors"][0] for error in errors if error["index"] == 1]
    assert location in f"{bad['location']} {bad['message']}"
    assert ask(f"SELECT COUNT(*) FROM `{table.reference}`") == [(0,)]


def test_bad_rows_are_skipped_when_requested(client: Client, make: Make, ask: Ask) -> None:
    table = make(COLUMNS)
    errors = stream(client, table, [{"org": "good"}, {"n": 1}], skip_invalid_rows=True)
    assert [error["index"] for error in errors] == [1]
    assert ask(f"SELECT org FROM `{table.reference}`") == [("good",)]


def test_unknown_fields_are_dropped_when_requested(client: Client, make: Make, ask: Ask) -> None:
    table = make(COLUMNS)
    assert stream(client, table, [{"org": "a", "x": 1}], ignore_unknown_values=True) == []
    assert ask(f"SELECT org FROM `{table.reference}`") == [("a",)]


def test_a_row_sent_twice_with_its_id_is_there_once(client: Client, make: Make, ask: Ask) -> None:
    table = make(COLUMNS)
    for _ in range(2):
        assert stream(client, table, [{"org": "a"}, {"org": "b"}], ids=["1", "2"]) == []
    assert ask(f"SELECT COUNT(*) FROM `{table.reference}`") == [(2,)]


def test_rows_without_ids_are_all_kept(client: Client, make: Make, ask: Ask) -> None:
    table = make(COLUMNS)
    for _ in range(2):
        stream(client, table, [{"org": "a"}], ids=bigquery.AutoRowIDs.DISABLED)
    assert ask(f"SELECT COUNT(*) FROM `{table.reference}`") == [(2,)]


def test_streaming_into_a_missing_table_is_404(client: Client, name: str) -> None:
    table = bigquery.Table(name, schema=[bigquery.SchemaField("a", "STRING")])
    with pytest.raises(exceptions.NotFound):
        # The client's own retry takes 404 for a table still being made.
        client.insert_rows_json(table, [{"a": "x"}], row_ids=["1"])


def test_streaming_into_a_view_is_rejected(client: Client, name: str) -> None:
    view = bigquery.Table(name)
    view.view_query = "SELECT 'x' AS a"
    client.create_table(view)
    with pytest.raises(exceptions.BadRequest):
        client.insert_rows_json(name, [{"a": "x"}], row_ids=["1"])


def test_no_rows_is_400(client: Client, make: Make) -> None:
    with pytest.raises(exceptions.BadRequest):
        client.insert_rows_json(make(COLUMNS), [], row_ids=[])

from __future__ import annotations

import csv
import gzip
import io
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Ask, Client, Job, Make, schema_fields

DAILY = [("day", "DATE", "REQUIRED"), ("n", "INTEGER"), ("amount", "NUMERIC")]
SCHEMA = schema_fields(DAILY)
BY_DAY = bigquery.TimePartitioning(field="day")


def load(client: Client, rows: list[dict[str, Any]], target: str, **options: object) -> Job:
    """Load JSON rows and wait; the table's own schema unless one is given."""
    config = bigquery.LoadJobConfig(**{"autodetect": False, **options})
    return client.load_table_from_json(rows, target, job_config=config).result()


def load_file(client: Client, content: bytes, target: str, **options: object) -> Job:
    config = bigquery.LoadJobConfig(**options)
    return client.load_table_from_file(io.BytesIO(content), target, job_config=config).result()


def rejected(job: Any) -> list[dict[str, Any]]:
    """The errors of a call that must be rejected with 400 `invalid`."""
    with pytest.raises(exceptions.BadRequest) as caught:
        job()
    assert caught.value.errors[0]["reason"] == "invalid"
    errors: list[dict[str, Any]] = caught.value.errors
    return errors


@pytest.fixture
def daily(make: Make) -> str:
    """A table partitioned by day, with one row on the 24th and one on the 25th."""
    table = make(DAILY, "('2025-11-24', 1, 1.5), ('2025-11-25', 2, 2.5)", time_partitioning=BY_DAY)
    return str(table.reference)


def test_a_load_makes_its_table_and_tells_how_many_rows(
    client: Client, name: str, ask: Ask
) -> None:
    schema = [bigquery.SchemaField("a", "STRING"), bigquery.SchemaField("n", "INTEGER")]
    job = load(client, [{"a": "x", "n": 1}, {"a": "y"}], name, schema=schema)
    assert (job.state, job.output_rows, job.error_result) == ("DONE", 2, None)
    assert ask(f"SELECT a, n FROM `{name}` ORDER BY a") == [("x", 1), ("y", None)]
    assert client.get_table(name).num_rows == 2


def test_a_load_appends_by_default(client: Client, daily: str, ask: Ask) -> None:
    load(client, [{"day": "2025-11-25", "n": 3}], daily)
    assert ask(f"SELECT COUNT(*) FROM `{daily}`") == [(3,)]


def test_write_truncate_replaces_the_table(client: Client, daily: str, ask: Ask) -> None:
    schema = schema_fields(DAILY)
    rows = [{"day": "2025-11-26", "n": 9}]
    load(client, rows, daily, write_disposition="WRITE_TRUNCATE", schema=schema)
    assert ask(f"SELECT n FROM `{daily}`") == [(9,)]
    assert client.get_table(daily).time_partitioning.field == "day"


def test_write_empty_rejects_a_table_with_rows(client: Client, daily: str) -> None:
    with pytest.raises(exceptions.Conflict) as caught:
        load(client, [{"day": "2025-11-25"}], daily, write_disposition="WRITE_EMPTY", schema=SCHEMA)
    assert caught.value.errors[0]["reason"] == "duplicate"


def test_create_never_rejects_a_missing_table(client: Client, name: str) -> None:
    with pytest.raises(exceptions.NotFound):
        load(
            client, [{"day": "2025-11-25"}], name, create_disposition="CREATE_NEVER", schema=SCHEMA
        )


def test_one_partition_is_replaced_and_the_others_stay(
    client: Client, daily: str, ask: Ask
) -> None:
    rows = [{"day": "2025-11-25", "n": n, "amount": "0.1"} for n in (7, 8)]
    for _ in range(2):
        load(client, rows, f"{daily}$20251125", write_disposition="WRITE_TRUNCATE")
        found = ask(f"SELECT day, n FROM `{daily}` ORDER BY day, n")
        assert [(str(day), n) for day, n in found] == [
            ("2025-11-24", 1),
            ("2025-11-25", 7),
            ("2025-11-25", 8),
        ]
    tables = {item.table_id for item in client.list_tables(daily.rpartition(".")[0])}
    assert not any("$" in table for table in tables)


def test_a_partition_can_be_emptied(client: Client, daily: str, ask: Ask) -> None:
    job = load(client, [], f"{daily}$20251125", write_disposition="WRITE_TRUNCATE")
    assert job.output_rows == 0
    assert ask(f"SELECT n FROM `{daily}`") == [(1,)]


def test_a_row_of_another_day_is_rejected_and_changes_nothing(
    client: Client, daily: str, ask: Ask
) -> None:
    rows = [{"day": "2025-11-25", "n": 7}, {"day": "2025-11-26", "n": 8}]
    rejected(lambda: load(client, rows, f"{daily}$20251125", write_disposition="WRITE_TRUNCATE"))
    assert ask(f"SELECT n FROM `{daily}` ORDER BY n") == [(1,), (2,)]


def test_a_partition_of_a_table_without_partitions_is_rejected(client: Client, make: Make) -> None:
    table = make([("a", "STRING")])
    rejected(lambda: load(client, [{"a": "x"}], f"{table.reference}$20251125"))


@pytest.mark.parametrize(
    ("row", "about"),
    [
        ({"n": 1}, "day"),
        ({"day": None}, "day"),
        ({"day": "2025-11-25", "other": 1}, "other"),
        ({"day": "2025-11-25", "n": "one"}, "n"),
        ({"day": "2025-11-25", "n": 1.5}, "n"),
        ({"day": "2025-13-01"}, "day"),
        ({"day": "2025-11-25", "amount": "1.0000000001"}, "amount"),
        ({"day": "2025-11-25", "amount": [1]}, "amount"),
    ],
    ids=[
        "REQUIRED missing",
        "REQUIRED null",
        "unknown field",
        "text for integer",
        "fraction for integer",
        "no such day",
        "more than 9 decimals",
        "array for scalar",
    ],
)
def test_a_bad_row_fails_the_load_and_is_named(
    client: Client, daily: str, ask: Ask, row: dict[str, Any], about: str
) -> None:
    errors = rejected(lambda: load(client, [{"day": "2025-11-25"}, row], daily))
    assert about in json.dumps(errors)
    assert ask(f"SELECT COUNT(*) FROM `{daily}`") == [(2,)]


def test_bad_rows_are_left_out_up_to_max_bad_records(client: Client, daily: str) -> None:
    rows: list[dict[str, Any]] = [{"day": "2025-11-25", "n": 5}, {"day": "x"}]
    assert load(client, rows, daily, max_bad_records=1).output_rows == 1
    rejected(lambda: load(client, [*rows, {"day": "y"}], daily, max_bad_records=1))


def test_unknown_fields_are_dropped_when_requested(client: Client, daily: str, ask: Ask) -> None:
    rows: list[dict[str, Any]] = [{"day": "2025-11-25", "n": 5, "other": {"deep": 1}}]
    load(client, rows, daily, ignore_unknown_values=True)
    assert (5,) in ask(f"SELECT n FROM `{daily}`")


def test_a_column_is_added_only_when_allowed(client: Client, daily: str, ask: Ask) -> None:
    schema = [*SCHEMA, bigquery.SchemaField("model", "STRING")]
    rows = [{"day": "2025-11-25", "n": 5, "model": "m"}]
    rejected(lambda: load(client, rows, daily, schema=schema))
    load(client, rows, daily, schema=schema, schema_update_options=["ALLOW_FIELD_ADDITION"])
    assert ask(f"SELECT n, model FROM `{daily}` ORDER BY n") == [(1, None), (2, None), (5, "m")]


def test_required_is_relaxed_only_when_allowed(client: Client, daily: str) -> None:
    schema = [bigquery.SchemaField("day", "DATE"), *SCHEMA[1:]]
    rows = [{"day": "2025-11-25"}]
    load(client, rows, daily, schema=schema, schema_update_options=["ALLOW_FIELD_RELAXATION"])
    assert client.get_table(daily).schema[0].mode == "NULLABLE"


def test_a_new_table_gets_the_layout_of_its_load(client: Client, name: str) -> None:
    load(
        client,
        [{"day": "2025-11-25", "n": 1}],
        name,
        schema=SCHEMA,
        time_partitioning=BY_DAY,
        clustering_fields=["n"],
        destination_table_description="made by a load",
    )
    table = client.get_table(name)
    assert table.time_partitioning.field == "day"
    assert table.clustering_fields == ["n"]
    assert table.description == "made by a load"


def test_nested_and_repeated_rows_arrive_whole(client: Client, name: str, ask: Ask) -> None:
    schema = [
        bigquery.SchemaField("tags", "STRING", "REPEATED"),
        bigquery.SchemaField(
            "lines",
            "RECORD",
            "REPEATED",
            fields=[bigquery.SchemaField("sku", "STRING"), bigquery.SchemaField("q", "NUMERIC")],
        ),
        bigquery.SchemaField("raw", "JSON"),
    ]
    rows: list[dict[str, Any]] = [
        {"tags": ["a", "b"], "lines": [{"sku": "x", "q": 1.25}, {"sku": "y"}], "raw": {"k": [1]}},
        {"tags": [], "lines": None, "raw": None},
    ]
    load(client, rows, name, schema=schema)
    [full, empty] = ask(f"SELECT tags, lines, raw FROM `{name}` ORDER BY ARRAY_LENGTH(tags) DESC")
    assert full == (
        ["a", "b"],
        [{"sku": "x", "q": Decimal("1.25")}, {"sku": "y", "q": None}],
        {"k": [1]},
    )
    assert empty == ([], [], None)


def test_numbers_in_json_stay_exact(client: Client, name: str, ask: Ask) -> None:
    schema = [bigquery.SchemaField("n", "NUMERIC"), bigquery.SchemaField("b", "BIGNUMERIC")]
    line = b'{"n": 12345678901234567890.123456789, "b": 0.12345678901234567890123456789012345678}'
    load_file(client, line, name, schema=schema, source_format="NEWLINE_DELIMITED_JSON")
    assert ask(f"SELECT n, b FROM `{name}`") == [
        (
            Decimal("12345678901234567890.123456789"),
            Decimal("0.12345678901234567890123456789012345678"),
        )
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_json_files_load_plain_or_gzipped(client: Client, daily: str, packed: bool) -> None:
    content = b'{"day":"2025-11-25","n":1}\n\n{"day":"2025-11-25","n":2}\n'
    content = gzip.compress(content) if packed else content
    job = load_file(client, content, daily, source_format="NEWLINE_DELIMITED_JSON")
    assert job.output_rows == 2


def test_broken_json_is_rejected_and_located(client: Client, daily: str) -> None:
    content = b'{"day":"2025-11-25"}\n{"day":\n'
    errors = rejected(
        lambda: load_file(client, content, daily, source_format="NEWLINE_DELIMITED_JSON")
    )
    assert "JSON" in json.dumps(errors)


def test_csv_loads_with_header_quotes_and_nulls(client: Client, name: str, ask: Ask) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows(
        [
            ["s", "n", "amount"],
            ["a,b", "1", "0.5"],
            ['say "x"', "", "12345.000000001"],
            ["", "3", ""],
        ]
    )
    schema = [
        bigquery.SchemaField("s", "STRING"),
        bigquery.SchemaField("n", "INTEGER"),
        bigquery.SchemaField("amount", "NUMERIC"),
    ]
    job = load_file(
        client,
        text.getvalue().encode(),
        name,
        schema=schema,
        source_format="CSV",
        skip_leading_rows=1,
    )
    assert job.output_rows == 3
    assert ask(f"SELECT s, n, amount FROM `{name}` ORDER BY s DESC") == [
        ('say "x"', None, Decimal("12345.000000001")),
        ("a,b", 1, Decimal("0.5")),
        ("", 3, None),
    ]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"a;1\n", {"field_delimiter": ";"}),
        (b"a,1\n", {}),
        (b"a\n", {"allow_jagged_rows": True}),
        (b"a,NIL\n", {"null_marker": "NIL"}),
        (b'"a",1\n', {}),
        (b"'a',1\n", {"quote_character": "'"}),
        (gzip.compress(b"a,1\n"), {}),
    ],
    ids=["delimiter", "plain", "jagged", "null marker", "quoted", "other quote", "gzip"],
)
def test_csv_dialects(
    client: Client, name: str, ask: Ask, content: bytes, options: dict[str, object]
) -> None:
    schema = [bigquery.SchemaField("s", "STRING"), bigquery.SchemaField("n", "INTEGER")]
    load_file(client, content, name, schema=schema, source_format="CSV", **options)
    expected = None if {"allow_jagged_rows", "null_marker"} & options.keys() else 1
    assert ask(f"SELECT s, n FROM `{name}`") == [("a", expected)]


@pytest.mark.parametrize("content", [b"a\n", b"a,1,2\n", b"a,x\n"], ids=["few", "many", "type"])
def test_csv_rows_that_do_not_fit_are_rejected(client: Client, name: str, content: bytes) -> None:
    schema = [bigquery.SchemaField("s", "STRING"), bigquery.SchemaField("n", "INTEGER")]
    rejected(lambda: load_file(client, content, name, schema=schema, source_format="CSV"))


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_parquet_brings_its_own_schema(client: Client, name: str, ask: Ask) -> None:
    columns = {
        "s": pa.array(["x", None]),
        "n": pa.array([1, 2], pa.int64()),
        "amount": pa.array([Decimal("1.50"), None], pa.decimal128(20, 2)),
    }
    job = load_file(client, parquet(pa.table(columns)), name, source_format="PARQUET")
    assert job.output_rows == 2
    kinds = [field.field_type for field in client.get_table(name).schema]
    assert kinds == ["STRING", "INTEGER", "NUMERIC"]
    assert ask(f"SELECT s, n, amount FROM `{name}` ORDER BY n") == [
        ("x", 1, Decimal("1.5")),
        (None, 2, None),
    ]


def test_parquet_loads_into_a_partition(client: Client, daily: str, ask: Ask) -> None:
    columns = {
        "day": pa.array(["2025-11-25"]).cast(pa.date32()),
        "n": pa.array([9], pa.int64()),
        "amount": pa.array([Decimal("0.000000001")], pa.decimal128(38, 9)),
    }
    load_file(
        client,
        parquet(pa.table(columns)),
        f"{daily}$20251125",
        source_format="PARQUET",
        write_disposition="WRITE_TRUNCATE",
    )
    assert ask(f"SELECT n, amount FROM `{daily}` WHERE day = '2025-11-25'") == [
        (9, Decimal("0.000000001"))
    ]


def test_no_schema_anywhere_is_rejected(client: Client, name: str) -> None:
    config = bigquery.LoadJobConfig(source_format="CSV", autodetect=False)
    with pytest.raises(exceptions.BadRequest):
        client.load_table_from_file(io.BytesIO(b"a,1\n"), name, job_config=config).result()


def test_a_large_file_comes_by_resumable_upload(client: Client, name: str, ask: Ask) -> None:
    line = json.dumps({"s": "x" * 1000}).encode()
    content = b"\n".join([line] * 12_000)  # over the client's chunk of 10 MB
    schema = [bigquery.SchemaField("s", "STRING")]
    job = load_file(client, content, name, schema=schema, source_format="NEWLINE_DELIMITED_JSON")
    assert job.output_rows == 12_000
    assert ask(f"SELECT COUNT(*), SUM(LENGTH(s)) FROM `{name}`") == [(12_000, 12_000_000)]


def test_labels_and_configuration_of_a_load_are_kept(
    client: Client, daily: str, job_id: str
) -> None:
    config = bigquery.LoadJobConfig(labels={"org": "acme"}, autodetect=False)
    rows = [{"day": "2025-11-25"}]
    client.load_table_from_json(rows, daily, job_id=job_id, job_config=config).result()
    found = client.get_job(job_id)
    assert isinstance(found, bigquery.LoadJob)
    assert found.labels == {"org": "acme"}
    assert (found.output_rows, found.input_files) == (1, 1)
    assert found.destination.table_id == daily.rpartition(".")[2]
    assert found.source_format == "NEWLINE_DELIMITED_JSON"
    assert found.created <= found.started <= found.ended


def test_a_table_is_copied_with_its_layout(client: Client, daily: str, name: str) -> None:
    job = client.copy_table(daily, name)
    job.result()
    copied = client.get_table(name)
    assert copied.num_rows == 2
    assert copied.time_partitioning.field == "day"
    assert [field.mode for field in copied.schema] == ["REQUIRED", "NULLABLE", "NULLABLE"]
    with pytest.raises(exceptions.Conflict):
        client.copy_table(daily, name).result()


def test_one_partition_is_copied(client: Client, daily: str, make: Make, ask: Ask) -> None:
    target = make(DAILY, "('2025-11-25', 99, 0)", time_partitioning=BY_DAY)
    config = bigquery.CopyJobConfig(write_disposition="WRITE_TRUNCATE")
    source, target_name = f"{daily}$20251125", f"{target.reference}$20251125"
    client.copy_table(source, target_name, job_config=config).result()
    assert ask(f"SELECT n FROM `{target.reference}`") == [(2,)]


def test_copying_a_missing_table_is_404(client: Client, name: str) -> None:
    with pytest.raises(exceptions.NotFound):
        client.copy_table(f"{name}_missing", name).result()

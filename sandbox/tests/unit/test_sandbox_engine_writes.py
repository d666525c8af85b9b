"""Loads, destinations, partitions and DML: what lands, what is rejected, what stays whole."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.resources.partitioning import TimePartitioning
from convergence_sandbox.bigquery.rows.writes import WriteOptions

Rows = list[dict[str, Any]]
DAILY = {
    "schema": {"fields": [
        {"name": "day", "type": "DATE", "mode": "REQUIRED"},
        {"name": "model", "type": "STRING"},
        {"name": "cost", "type": "NUMERIC"},
        {"name": "tags", "type": "STRING", "mode": "REPEATED"},
    ]},
    "timePartitioning": {"type": "DAY", "field": "day"},
}  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    made = Engine(None)
    yield made
    made.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    shared.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    shared.create_table("p", "d", DAILY | {"tableReference": {"tableId": "daily"}})
    yield shared
    shared.delete_dataset("p", "d", delete_contents=True)


def ref(name: str) -> TableRef:
    return TableRef("p", "d", name)


def query_rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    result = engine.query(sql, project="p", default_dataset=("p", "d"))
    return [tuple(cell["v"] for cell in row["f"]) for row in result.rows()]


def load_rows(
    engine: Engine, name: str, rows: Rows, write: str = "WRITE_APPEND", **more: Any
) -> int:
    return engine.load_rows(ref(name), [rows], write_disposition=write, **more)


def day(text: str, cost: object = 1, **more: object) -> dict[str, Any]:
    return {"day": text, "model": "m", "cost": cost} | more


def costs(engine: Engine) -> list[tuple[Any, ...]]:
    return query_rows(engine, "SELECT day, cost FROM daily ORDER BY day, cost")


def written(engine: Engine) -> dict[str, str]:
    sql = "SELECT partition_id, last_modified_time FROM d.INFORMATION_SCHEMA.PARTITIONS"
    return dict(query_rows(engine, sql))


def test_a_partition_is_replaced_and_no_other(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01", 1), day("2025-11-02", 2)])
    before = written(engine)
    load_rows(engine, "daily$20251101", [day("2025-11-01", 5)], "WRITE_TRUNCATE")
    assert costs(engine) == [("2025-11-01", "5"), ("2025-11-02", "2")]
    after = written(engine)
    assert after["20251101"] > before["20251101"]
    assert after["20251102"] == before["20251102"]


def test_a_row_of_another_day_fails_the_whole_partition(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01", 1)])
    rows = [day("2025-11-01", 8), day("2025-11-02", 9)]
    with pytest.raises(BigQueryError, match="rather than destination partition") as raised:
        load_rows(engine, "daily$20251101", rows, "WRITE_TRUNCATE")
    assert raised.value.status == 400
    assert costs(engine) == [("2025-11-01", "1")]


def test_an_empty_load_empties_its_partition(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01"), day("2025-11-02")])
    load_rows(engine, "daily$20251101", [], "WRITE_TRUNCATE")
    assert costs(engine) == [("2025-11-02", "1")]


def test_a_query_replaces_a_partition(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01", 1), day("2025-11-02", 2)])
    engine.query("ALTER TABLE d.daily ALTER COLUMN day DROP NOT NULL", project="p")
    result = engine.query(
        "SELECT day, model, cost * 10 AS cost, tags FROM d.daily WHERE day = '2025-11-02'",
        project="p", destination=ref("daily$20251102"), write_disposition="WRITE_TRUNCATE",
    )  # fmt: skip
    assert costs(engine) == [("2025-11-01", "1"), ("2025-11-02", "20")]
    assert (result.row_count, result.rows()[0]["f"][2]["v"]) == (1, "20")
    with pytest.raises(BigQueryError, match="rather than destination partition"):
        engine.query(
            "SELECT DATE '2025-11-03' AS day, 'x' AS model",
            project="p",
            destination=ref("daily$20251102"),
            write_disposition="WRITE_TRUNCATE",
        )
    assert len(costs(engine)) == 2


def test_decorators_that_name_no_partition_are_rejected(engine: Engine) -> None:
    for name in ("daily$2025", "daily$20251301", "daily$"):
        with pytest.raises(BigQueryError) as raised:
            load_rows(engine, name, [day("2025-11-01")], "WRITE_TRUNCATE")
        assert raised.value.status == 400
    assert [meta.ref.table for meta in engine.list_tables("p", "d")] == ["daily"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": "x"}, "Missing required field: day"),
        (day("2025-11-01", nope=1), "no such field: nope"),
        (day("2025-02-30"), "Invalid date"),
        (day("2025-11-01", "abc"), "Invalid NUMERIC value: abc"),
        (day("2025-11-01", 0.1 + 0.2), "Invalid NUMERIC value: 0.30000000000000004"),
        (day("2025-11-01", "1e29"), "Invalid NUMERIC value"),
        (day("2025-11-01", tags="x"), "must be an array"),
        (day("2025-11-01", tags=[None]), "Only optional fields can be set to NULL"),
        (day("2025-11-01", model={"a": 1}), "Cannot convert"),
    ],
)
def test_a_bad_row_is_rejected_by_load_and_stream_alike(
    engine: Engine, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(BigQueryError, match=message) as raised:
        load_rows(engine, "daily", [day("2025-11-01"), row])
    assert raised.value.reason == "invalid"
    assert "Row 2" in raised.value.message
    errors = engine.insert_all(ref("daily"), [{"json": day("2025-11-01")}, {"json": row}])
    assert [one["errors"][0]["reason"] for one in errors] == ["stopped", "invalid"]
    assert message in errors[1]["errors"][0]["message"]
    assert costs(engine) == []


def test_bad_rows_may_be_skipped_when_requested(engine: Engine) -> None:
    rows = [day("2025-11-01"), {"model": "x"}, day("2025-11-02", extra=1)]
    assert load_rows(engine, "daily", rows, max_bad_records=1, ignore_unknown=True) == 2
    engine.insert_all(ref("daily"), [{"json": row} for row in rows], skip_invalid=True)
    assert len(costs(engine)) == 3


def test_an_insert_id_is_written_once(engine: Engine) -> None:
    row = {"insertId": "one", "json": day("2025-11-01")}
    assert engine.insert_all(ref("daily"), [row]) == []
    assert engine.insert_all(ref("daily"), [row, {"json": day("2025-11-02")}]) == []
    assert costs(engine) == [("2025-11-01", "1"), ("2025-11-02", "1")]


def test_streamed_rows_resist_dml_when_the_buffer_is_on() -> None:
    engine = Engine(None, streaming_buffer=True)
    engine.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    engine.create_table("p", "d", DAILY | {"tableReference": {"tableId": "daily"}})
    engine.insert_all(ref("daily"), [{"json": day("2025-11-01")}])
    with pytest.raises(BigQueryError, match="streaming buffer, which is not supported"):
        query_rows(engine, "DELETE FROM daily WHERE TRUE")
    engine.close()


def test_every_type_survives_a_load(engine: Engine) -> None:
    fields = [
        {"name": "s", "type": "STRING"}, {"name": "b", "type": "BYTES"},
        {"name": "i", "type": "INTEGER"}, {"name": "f", "type": "FLOAT"},
        {"name": "n", "type": "NUMERIC"}, {"name": "g", "type": "BIGNUMERIC"},
        {"name": "t", "type": "BOOLEAN"}, {"name": "ts", "type": "TIMESTAMP"},
        {"name": "d", "type": "DATE"}, {"name": "tm", "type": "TIME"},
        {"name": "dt", "type": "DATETIME"}, {"name": "j", "type": "JSON"},
        {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "g", "type": "BIGNUMERIC"}, {"name": "xs", "type": "INTEGER",
                                                   "mode": "REPEATED"}]},
    ]  # fmt: skip
    row = {
        "s": "naïve", "b": "YWI=", "i": "-9223372036854775808", "f": "1e300",
        "n": Decimal("-99999999999999999999999999999.999999999"),
        "g": "0.00000000000000000000000000000000000001", "t": "true",
        "ts": "2025-11-01T00:00:00.000001+02:00", "d": "2025-11-01", "tm": "01:02:03.5",
        "dt": "2025-11-01 01:02:03", "j": {"b": 1, "a": [1.5, None]},
        "r": [{"g": "2.5", "xs": [1]}, {"g": None}],
    }  # fmt: skip
    load_rows(engine, "all", [row, {}], schema=Schema.from_rest({"fields": fields}))
    rows, total = engine.read_table(ref("all"))
    assert total == 2
    assert [cell["v"] for cell in rows[0]["f"]] == [
        "naïve", "YWI=", "-9223372036854775808", "1e+300",
        "-99999999999999999999999999999.999999999",
        "0.00000000000000000000000000000000000001", "true", "1761948000000001", "2025-11-01",
        "01:02:03.500000", "2025-11-01T01:02:03", '{"a":[1.5,null],"b":1}',
        [{"v": {"f": [{"v": "2.5"}, {"v": [{"v": "1"}]}]}}, {"v": {"f": [{"v": None}, {"v": []}]}}],
    ]  # fmt: skip
    assert [cell["v"] for cell in rows[1]["f"]] == [None] * 12 + [[]]
    assert query_rows(
        engine, "SELECT r[OFFSET(0)].g * 2, JSON_VALUE(j.a[0]) FROM `all` LIMIT 1"
    ) == [("5", "1.5")]


def test_dispositions(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01")])
    with pytest.raises(BigQueryError) as raised:
        load_rows(engine, "daily", [day("2025-11-01")], "WRITE_EMPTY")
    assert (raised.value.status, raised.value.reason) == (409, "duplicate")
    with pytest.raises(BigQueryError) as raised:
        load_rows(
            engine,
            "new",
            [{"a": 1}],
            create_disposition="CREATE_NEVER",
            schema=Schema.from_rest({"fields": [{"name": "a", "type": "INT64"}]}),
        )
    assert raised.value.status == 404
    load_rows(engine, "daily", [day("2025-12-01")], "WRITE_TRUNCATE")
    assert costs(engine) == [("2025-12-01", "1")]


def test_a_load_makes_its_table_with_the_requested_layout(engine: Engine) -> None:
    options = WriteOptions(time_partitioning=TimePartitioning("DAY", "d"), clustering=("k",))
    schema = Schema.from_rest({"fields": [{"name": "d", "type": "DATE"},
                                          {"name": "k", "type": "STRING"}]})  # fmt: skip
    load_rows(engine, "made", [{"d": "2025-11-01", "k": "x"}], schema=schema, options=options)
    meta = engine.get_table(ref("made"))
    assert (meta.partition_field, meta.clustering) == ("d", ("k",))


def test_a_wider_load_needs_leave_to_add_columns(engine: Engine) -> None:
    fields = [*DAILY["schema"]["fields"], {"name": "new", "type": "INT64"}]  # type: ignore[index]
    schema = Schema.from_rest({"fields": fields})
    with pytest.raises(BigQueryError, match="Cannot add fields"):
        load_rows(engine, "daily", [day("2025-11-01", new=1)], schema=schema)
    load_rows(
        engine,
        "daily",
        [day("2025-11-01", new=1)],
        schema=schema,
        schema_update_options=["ALLOW_FIELD_ADDITION"],
    )
    assert query_rows(engine, "SELECT new FROM daily") == [("1",)]


def test_ingestion_time_partitions(engine: Engine) -> None:
    engine.create_table(
        "p",
        "d",
        {
            "tableReference": {"tableId": "log"},
            "timePartitioning": {"type": "DAY"},
            "schema": {"fields": [{"name": "x", "type": "INT64"}]},
        },
    )
    load_rows(engine, "log$20251101", [{"x": 1}], "WRITE_TRUNCATE")
    load_rows(engine, "log$20251102", [{"x": 2}], "WRITE_TRUNCATE")
    load_rows(engine, "log$20251101", [{"x": 3}], "WRITE_TRUNCATE")
    sql = "SELECT x, _PARTITIONDATE AS d FROM log WHERE _PARTITIONTIME >= '2025-11-01' ORDER BY d"
    assert query_rows(engine, sql) == [("3", "2025-11-01"), ("2", "2025-11-02")]
    assert query_rows(engine, "SELECT * FROM log ORDER BY x") == [("2",), ("3",)]


def test_dml_counts_and_partitions(engine: Engine) -> None:
    def run(sql: str) -> tuple[Any, ...]:
        result = engine.query(sql, project="p", default_dataset=("p", "d"))
        stats = result.dml_stats or {}
        return (
            result.statement_type,
            *(stats[f"{kind}RowCount"] for kind in ("inserted", "updated", "deleted")),
        )

    values = "('2025-11-01', 'a', 1), ('2025-11-02', 'b', 2), ('2025-11-03', 'c', 3)"
    assert run(f"INSERT INTO daily (day, model, cost) VALUES {values}") == ("INSERT", 3, 0, 0)
    before = written(engine)
    assert run("UPDATE daily SET cost = cost * 2 WHERE model = 'b'") == ("UPDATE", 0, 1, 0)
    moved = {key for key, when in written(engine).items() if when > before[key]}
    assert moved == {"20251102"}
    merged = run("""
        MERGE daily AS t
        USING (SELECT 'a' AS model, NUMERIC '9' AS cost UNION ALL SELECT 'z', 7) AS s
        ON t.model = s.model
        WHEN MATCHED THEN UPDATE SET cost = s.cost
        WHEN NOT MATCHED THEN INSERT (day, model, cost) VALUES ('2025-11-09', s.model, s.cost)
        WHEN NOT MATCHED BY SOURCE AND t.model = 'c' THEN DELETE""")
    assert merged == ("MERGE", 1, 1, 1)
    assert run("DELETE FROM daily WHERE day = '2025-11-09'") == ("DELETE", 0, 0, 1)
    assert costs(engine) == [("2025-11-01", "9"), ("2025-11-02", "4")]
    assert run("TRUNCATE TABLE daily") == ("TRUNCATE_TABLE", 0, 0, 2)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("INSERT INTO daily (model) VALUES ('x')", "Required field day cannot be null"),
        ("INSERT INTO daily (day, cost) VALUES ('2025-11-01', 'x')", "cannot be inserted into"),
        ("INSERT INTO daily (day, cost) SELECT DATE '2025-11-01', CAST(1 AS FLOAT64)",
         "Value has type FLOAT64 which cannot be inserted into column cost"),
        ("INSERT INTO daily (day) VALUES ('2025-11-01', 1)", "wrong column count"),
        ("UPDATE daily SET day = NULL WHERE TRUE", "Required field day cannot be null"),
        ("UPDATE daily SET cost = 1", "UPDATE must have a WHERE clause"),
        ("DELETE FROM daily", "DELETE must have a WHERE clause"),
        ("UPDATE daily SET cost = s.c FROM UNNEST([STRUCT(1 AS c), STRUCT(2)]) AS s WHERE TRUE",
         "at most one source row for each target row"),
        ("MERGE daily t USING UNNEST([1, 2]) AS s ON TRUE WHEN MATCHED THEN DELETE",
         "at most one source row for each target row"),
    ],
)  # fmt: skip
def test_dml_that_breaks_a_rule_changes_nothing(engine: Engine, sql: str, message: str) -> None:
    load_rows(engine, "daily", [day("2025-11-01")])
    with pytest.raises(BigQueryError, match=message) as raised:
        query_rows(engine, sql)
    assert raised.value.status == 400
    assert costs(engine) == [("2025-11-01", "1")]


def test_a_dry_run_of_dml_changes_nothing(engine: Engine) -> None:
    load_rows(engine, "daily", [day("2025-11-01")])
    result = engine.query("DELETE FROM d.daily WHERE TRUE", project="p", dry_run=True)
    assert result.statement_type == "DELETE"
    engine.query("CREATE TABLE d.other (a INT64)", project="p", dry_run=True)
    assert [meta.ref.table for meta in engine.list_tables("p", "d")] == ["daily"]
    assert len(costs(engine)) == 1


def test_limits_of_parameterized_types(engine: Engine) -> None:
    query_rows(engine, "CREATE TABLE small (s STRING(3), n NUMERIC(5, 2))")
    query_rows(engine, "INSERT INTO small VALUES ('abc', 123.455)")
    assert query_rows(engine, "SELECT s, n FROM small") == [("abc", "123.46")]
    for bad in ("('abcd', 1)", "('a', 1000)"):
        with pytest.raises(BigQueryError):
            query_rows(engine, f"INSERT INTO small VALUES {bad}")
    with pytest.raises(BigQueryError, match="maximum length 3"):
        load_rows(engine, "small", [{"s": "abcd"}])


def test_a_query_that_overwrites_a_table_brings_its_own_schema(engine: Engine) -> None:
    query_rows(engine, "CREATE TABLE x (a INT64 NOT NULL OPTIONS (description = 'kept?'))")
    engine.query("SELECT 1 AS a", project="p", destination=ref("x"),
                 write_disposition="WRITE_TRUNCATE")  # fmt: skip
    field = engine.get_table(ref("x")).schema.fields[0]
    assert (field.mode, field.description) == ("NULLABLE", None)
    query_rows(engine, "CREATE OR REPLACE TABLE x (a INT64 NOT NULL)")
    with pytest.raises(BigQueryError, match="changed mode from REQUIRED to NULLABLE"):
        engine.query("SELECT 1 AS a", project="p", destination=ref("x"),
                     write_disposition="WRITE_APPEND")  # fmt: skip

"""Datasets, tables and views: what is kept, how schemas may change, what DDL makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.resources.model import TableRef

Json = dict[str, Any]
FULL: Json = {
    "tableReference": {"tableId": "t"},
    "description": "daily cost",
    "friendlyName": "Cost",
    "labels": {"team": "finops"},
    "schema": {"fields": [
        {"name": "day", "type": "DATE", "mode": "REQUIRED", "description": "UTC day"},
        {"name": "org", "type": "STRING", "mode": "NULLABLE", "maxLength": "50"},
        {"name": "amount", "type": "NUMERIC", "mode": "NULLABLE", "precision": "20", "scale": "4"},
        {"name": "parts", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "sku", "type": "STRING", "mode": "REQUIRED"},
            {"name": "n", "type": "INTEGER", "mode": "NULLABLE"}]},
    ]},
    "timePartitioning": {"type": "DAY", "field": "day", "expirationMs": "86400000000"},
    "clustering": {"fields": ["org"]},
    "requirePartitionFilter": True,
    "expirationTime": "4102444800000",
}  # fmt: skip
OPEN = "day > '2000-01-01'"


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    made = Engine(None)
    yield made
    made.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    shared.create_dataset("p", {"datasetReference": {"datasetId": "d"}, "location": "EU"})
    yield shared
    shared.delete_dataset("p", "d", delete_contents=True)


def ref(name: str = "t") -> TableRef:
    return TableRef("p", "d", name)


def query_rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    result = engine.query(sql, project="p", default_dataset=("p", "d"))
    return [tuple(cell["v"] for cell in row["f"]) for row in result.rows()]


def change_fields(*more: Json, drop: str = "", **changed: Json) -> Json:
    kept = [
        one | changed.get(one["name"], {})
        for one in FULL["schema"]["fields"] if one["name"] != drop
    ]  # fmt: skip
    return {"schema": {"fields": [*kept, *more]}}


def test_a_table_returns_its_whole_definition(engine: Engine) -> None:
    engine.create_table("p", "d", FULL)
    resource = engine.table_resource(ref())
    for key in FULL.keys() - {"tableReference"}:
        assert resource[key] == FULL[key], key
    assert (resource["type"], resource["location"], resource["numRows"]) == ("TABLE", "EU", "0")
    assert engine.get_table(ref()).to_rest()["etag"] == resource["etag"]


def test_metadata_is_found_again_after_a_restart(tmp_path: Any) -> None:
    first = Engine(tmp_path / "x.duckdb")
    first.create_dataset("p", {"datasetReference": {"datasetId": "d"}, "labels": {"a": "b"}})
    first.create_table("p", "d", FULL)
    kept = first.table_resource(ref())
    first.close()
    second = Engine(tmp_path / "x.duckdb")
    assert second.table_resource(ref()) == kept
    assert second.get_dataset("p", "d").labels == {"a": "b"}
    second.close()


def test_what_exists_or_is_missing(engine: Engine) -> None:
    engine.create_table("p", "d", FULL)
    with pytest.raises(BigQueryError) as raised:
        engine.create_table("p", "d", FULL)
    assert (raised.value.status, raised.value.reason) == (409, "duplicate")
    with pytest.raises(BigQueryError) as raised:
        engine.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    assert raised.value.message == "Already Exists: Dataset p:d"
    with pytest.raises(BigQueryError) as raised:
        engine.delete_dataset("p", "d")
    assert (raised.value.status, raised.value.reason) == (400, "resourceInUse")
    with pytest.raises(BigQueryError) as raised:
        engine.get_table(ref("nope"))
    assert (raised.value.status, raised.value.message) == (404, "Not found: Table p:d.nope")


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        ({"schema": {"fields": [{"name": "a", "type": "TEXT"}]}}, 400),
        ({"schema": {"fields": [{"name": "a b!", "type": "STRING"}]}}, 400),
        ({"schema": {"fields": [{"name": "a", "type": "RECORD"}]}}, 400),
        ({"schema": {"fields": [{"name": n, "type": "DATE"} for n in "aA"]}}, 400),
        ({"timePartitioning": {"type": "DAY", "field": "nope"}}, 400),
        ({"timePartitioning": {"type": "HOUR", "field": "day"}}, 400),
        ({"clustering": {"fields": ["parts"]}}, 400),
        ({"timePartitioning": None, "requirePartitionFilter": True}, 400),
        ({"labels": {"Team": "x"}}, 400),
        ({"nonsense": 1}, 400),
        ({"schema": {"fields": [{"name": "a", "type": "GEOGRAPHY"}]}}, 501),
        ({"externalDataConfiguration": {"sourceUris": ["x"]}}, 501),
        ({"schema": {"fields": [{"name": "a", "type": "DATE",
                                 "defaultValueExpression": "CURRENT_DATE()"}]}}, 501),
    ],
)  # fmt: skip
def test_impossible_tables_are_rejected_whole(engine: Engine, resource: Json, status: int) -> None:
    with pytest.raises(BigQueryError) as raised:
        engine.create_table("p", "d", FULL | resource)
    assert raised.value.status == status
    assert engine.list_tables("p", "d") == []


def test_columns_are_added_and_relaxed_with_their_rows_kept(engine: Engine) -> None:
    engine.create_table("p", "d", FULL)
    query_rows(engine, "INSERT INTO t VALUES ('2025-11-01', 'x', 1.5, [('s', 1)])")
    added = {"name": "note", "type": "STRING", "mode": "NULLABLE"}
    parts = FULL["schema"]["fields"][3]
    nested = {"fields": [*parts["fields"], {"name": "unit", "type": "STRING", "mode": "NULLABLE"}]}
    change = change_fields(added, parts=nested, day={"mode": "NULLABLE", "description": "changed"})
    resource = engine.update_table(ref(), change, partial=True).to_rest()
    assert resource["schema"] == change["schema"]
    assert resource["description"] == "daily cost"
    got = query_rows(
        engine, f"SELECT note, parts[OFFSET(0)].unit, parts[OFFSET(0)].sku FROM t WHERE {OPEN}"
    )
    assert got == [(None, None, "s")]
    query_rows(engine, "INSERT INTO t (org, parts) VALUES ('y', [('a', 2, 'kg')])")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_fields(drop="org"), "Field org is missing in new schema"),
        (change_fields(org={"type": "INTEGER", "maxLength": None}), "Field org has changed type"),
        (change_fields(org={"mode": "REQUIRED"}), "changed mode from NULLABLE to REQUIRED"),
        (change_fields(org={"mode": "REPEATED"}), "changed mode from NULLABLE to REPEATED"),
        (
            change_fields({"name": "z", "type": "DATE", "mode": "REQUIRED"}),
            "Cannot add required fields",
        ),
        (change_fields(org={"maxLength": "10"}), "changed max_length from 50 to 10"),
        ({"timePartitioning": {"type": "MONTH", "field": "day"}}, "Cannot change the partitioning"),
    ],
)
def test_other_changes_are_rejected(engine: Engine, change: Json, message: str) -> None:
    engine.create_table("p", "d", FULL)
    before = engine.table_resource(ref())
    with pytest.raises(BigQueryError, match=message) as raised:
        engine.update_table(ref(), change, partial=True)
    assert (raised.value.status, raised.value.reason) == (400, "invalid")
    assert engine.table_resource(ref()) == before


def test_a_patch_changes_only_what_it_names(engine: Engine) -> None:
    engine.create_table("p", "d", FULL)
    engine.update_table(ref(), {"description": None, "labels": {"team": "x"}}, partial=True)
    resource = engine.table_resource(ref())
    assert "description" not in resource
    assert resource["labels"] == {"team": "x"}
    assert resource["clustering"] == FULL["clustering"]
    dataset = engine.update_dataset("p", "d", {"description": "x"}, partial=True)
    assert (dataset.description, dataset.location) == ("x", "EU")


def test_views_are_checked_and_see_later_columns(engine: Engine) -> None:
    query_rows(engine, "CREATE TABLE base (a INT64)")
    view = {"tableReference": {"tableId": "v"},
            "view": {"query": "SELECT * FROM `p.d.base`", "useLegacySql": False}}  # fmt: skip
    assert [one.name for one in engine.create_table("p", "d", view).schema.fields] == ["a"]
    query_rows(engine, "ALTER TABLE base ADD COLUMN b STRING; INSERT INTO base VALUES (1, 'x')")
    assert query_rows(engine, "SELECT * FROM v") == [("1", "x")]
    assert [one.name for one in engine.get_table(ref("v")).schema.fields] == ["a", "b"]
    broken = view | {
        "tableReference": {"tableId": "w"},
        "view": {"query": "SELECT z FROM p.d.base"},
    }
    with pytest.raises(BigQueryError, match="Unrecognized name: z"):
        engine.create_table("p", "d", broken)
    for sql in ("INSERT INTO v VALUES (1, 'x')", "DELETE FROM v WHERE TRUE"):
        with pytest.raises(BigQueryError, match="VIEW is not supported"):
            query_rows(engine, sql)
    query_rows(engine, "DROP TABLE base")
    with pytest.raises(BigQueryError, match=r"Not found: Table p:d\.base"):
        query_rows(engine, "SELECT * FROM v")
    assert engine.get_table(ref("v")).is_view


def test_ddl_makes_what_rest_shows(engine: Engine) -> None:
    engine.query("""
        CREATE TABLE d.t (
          day DATE NOT NULL OPTIONS (description = 'UTC day'), org STRING(50),
          amount NUMERIC(20, 4), parts ARRAY<STRUCT<sku STRING NOT NULL, n INT64>>
        ) PARTITION BY day CLUSTER BY org OPTIONS (
          description = 'daily cost', friendly_name = 'Cost', labels = [('team', 'finops')],
          require_partition_filter = TRUE, partition_expiration_days = 1000,
          expiration_timestamp = TIMESTAMP '2100-01-01')""", project="p")  # fmt: skip
    resource = engine.table_resource(ref())
    for key in FULL.keys() - {"tableReference"}:
        assert resource[key] == FULL[key], key


def test_create_replace_and_skip(engine: Engine) -> None:
    def run(sql: str) -> str | None:
        return engine.query(sql, project="p").ddl_operation

    assert run("CREATE TABLE d.x AS SELECT 1 AS a, [STRUCT('k' AS k)] AS r") == "CREATE"
    assert run("CREATE TABLE IF NOT EXISTS d.x (z INT64)") == "SKIP"
    assert query_rows(engine, "SELECT a, r[OFFSET(0)].k FROM x") == [("1", "k")]
    assert run("CREATE OR REPLACE TABLE d.x (z INT64)") == "REPLACE"
    assert query_rows(engine, "SELECT z FROM x") == []
    assert run("DROP TABLE d.x") == "DROP"
    assert run("DROP TABLE IF EXISTS d.x") == "SKIP"
    assert run("CREATE SCHEMA IF NOT EXISTS d") == "SKIP"


def test_alter_table(engine: Engine) -> None:
    query_rows(engine, "CREATE TABLE x (a INT64 NOT NULL, b STRING); INSERT INTO x VALUES (1, 'k')")
    query_rows(engine, "ALTER TABLE x ADD COLUMN IF NOT EXISTS b STRING, ADD COLUMN c DATE")
    query_rows(engine, "ALTER TABLE x ALTER COLUMN a DROP NOT NULL")
    query_rows(engine, "ALTER TABLE x ALTER COLUMN a SET DATA TYPE NUMERIC")
    query_rows(engine, "ALTER TABLE x DROP COLUMN b")
    query_rows(engine, "ALTER TABLE x SET OPTIONS (description = 'new')")
    meta = engine.get_table(ref("x"))
    shape = [(one.name, one.type, one.mode) for one in meta.schema.fields]
    assert shape == [("a", "NUMERIC", "NULLABLE"), ("c", "DATE", "NULLABLE")]
    assert (meta.description, query_rows(engine, "SELECT a / 2 FROM x")) == ("new", [("0.5",)])
    with pytest.raises(BigQueryError, match="assignable"):
        query_rows(engine, "ALTER TABLE x ALTER COLUMN a SET DATA TYPE INT64")


def test_information_schema(engine: Engine) -> None:
    engine.create_table("p", "d", FULL)
    query_rows(engine, "INSERT INTO t (day) VALUES ('2025-11-01'), ('2025-11-01'), ('2025-11-03')")
    query_rows(engine, "CREATE VIEW v AS SELECT day FROM p.d.t")
    got = query_rows(engine, """SELECT table_name, table_type FROM d.INFORMATION_SCHEMA.TABLES
                         ORDER BY table_name""")  # fmt: skip
    assert got == [("t", "BASE TABLE"), ("v", "VIEW")]
    got = query_rows(engine, """SELECT column_name, is_nullable, data_type, is_partitioning_column,
                                clustering_ordinal_position
                         FROM `p.d.INFORMATION_SCHEMA.COLUMNS` WHERE table_name = 't'
                         ORDER BY ordinal_position""")  # fmt: skip
    assert got == [
        ("day", "NO", "DATE", "YES", None), ("org", "YES", "STRING(50)", "NO", "1"),
        ("amount", "YES", "NUMERIC(20, 4)", "NO", None),
        ("parts", "NO", "ARRAY<STRUCT<sku STRING, n INT64>>", "NO", None),
    ]  # fmt: skip
    got = query_rows(engine, """SELECT partition_id, total_rows FROM d.INFORMATION_SCHEMA.PARTITIONS
                         WHERE table_name = 't' ORDER BY 1""")  # fmt: skip
    assert got == [("20251101", "2"), ("20251103", "1")]
    got = query_rows(engine, "SELECT view_definition FROM d.INFORMATION_SCHEMA.VIEWS")
    assert got == [("SELECT day FROM p.d.t",)]
    assert query_rows(engine, "SELECT schema_name FROM INFORMATION_SCHEMA.SCHEMATA") == [("d",)]
    with pytest.raises(BigQueryError) as raised:
        query_rows(engine, "SELECT * FROM d.INFORMATION_SCHEMA.ROUTINES")
    assert raised.value.status == 501


def test_tables_expire(engine: Engine) -> None:
    engine.create_table("p", "d", FULL | {"expirationTime": "1000"})
    assert engine.list_tables("p", "d") == []
    with pytest.raises(BigQueryError, match="Not found"):
        engine.get_table(ref())
    engine.create_table("p", "d", FULL)

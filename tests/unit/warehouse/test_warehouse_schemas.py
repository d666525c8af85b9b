from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConfigurationError, SchemaError
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.names import CENTRAL
from convergence.warehouse.schemas import FieldSpec, TableSchema
from convergence.warehouse.tables.bootstrap import Layout, central_layout
from convergence.warehouse.tables.evolve import merge_fields

CONFIGS = PROJECT_ROOT / "include" / "configs"
FILES = sorted(CONFIGS.rglob("schemas/*.json"))
CENTRAL_TABLES = {
    "org_profiles",
    "org_api_keys",
    "org_subscriptions",
    "org_usage_quotas",
    "org_integration_credentials",
    "org_pipeline_configs",
    "org_scheduled_pipeline_runs",
    "org_pipeline_execution_queue",
    "org_meta_pipeline_runs",
    "org_meta_step_logs",
    "org_meta_dq_results",
    "org_audit_logs",
    "org_kms_keys",
    "org_cost_tracking",
    "org_meta_slices",
}
GOOD: dict[str, Any] = {
    "table": "usage",
    "description": "A table of the tests",
    "partition": {"field": "day", "type": "DAY"},
    "clustering": ["model"],
    "fields": [
        {"name": "day", "type": "DATE", "mode": "REQUIRED", "description": "UTC day."},
        {"name": "model", "type": "STRING", "description": "Model."},
    ],
}


def _load(tmp_path: Path, document: object, name: str = "usage") -> TableSchema:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document))
    return TableSchema.load(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_schema_file_is_good(path: Path) -> None:
    assert TableSchema.load(path).to_bigquery()


def test_the_central_dataset_is_complete() -> None:
    layout = central_layout(CONFIGS)
    assert {schema.table for schema in layout.schemas} == CENTRAL_TABLES
    assert {view.name for view in layout.config.views} == {
        "org_consolidated_view",
        "pipeline_logs_view",
        "step_logs_view",
    }
    for schema in layout.schemas:
        assert schema.required[0] == "org_slug"
        assert schema.clustering
        assert schema.labels["managed_by"] == "convergence"
        assert schema.partition is None or schema.partition.require_filter
    logs = {schema.table for schema in layout.schemas if schema.partition}
    assert {"org_meta_slices", "org_meta_pipeline_runs", "org_meta_step_logs"} <= logs


def test_every_time_of_the_central_dataset_names_its_zone() -> None:
    for schema in central_layout(CONFIGS).schemas:
        for column in schema.fields:
            if column.type in {"TIMESTAMP", "DATE"}:
                assert "UTC" in column.description, f"{schema.table}.{column.name}"
            if column.type in {"NUMERIC", "FLOAT64"}:
                assert re.search(r"currency|unit", column.description), column.name


def test_the_central_dataset_holds_no_float() -> None:
    for schema in central_layout(CONFIGS).schemas:
        assert all(column.type != "FLOAT64" for column in schema.fields)


def test_a_good_file_becomes_the_clients_objects(tmp_path: Path) -> None:
    schema = _load(tmp_path, GOOD)
    day, model = schema.to_bigquery()
    assert (day.name, day.field_type, day.mode, day.description) == (
        "day",
        "DATE",
        "REQUIRED",
        "UTC day.",
    )
    assert model.mode == "NULLABLE"
    assert schema.required == ("day",)


def _changed(**changes: object) -> dict[str, Any]:
    return {**GOOD, **changes}


def _with_field(**field: object) -> dict[str, Any]:
    return _changed(fields=[*GOOD["fields"], {"name": "x", "description": "An x.", **field}])


@pytest.mark.parametrize(
    "document",
    [
        [],
        _changed(unknown=1),
        _changed(fields=[]),
        _changed(partition={"field": "model"}),
        _changed(partition={"field": "nowhere"}),
        _changed(clustering=["nowhere"]),
        _changed(clustering=["day", "model", "day", "model", "day"]),
        _changed(description="short"),
        _changed(labels={"Bad": "x"}),
        _with_field(type="MONEY"),
        _with_field(type="STRUCT"),
        _with_field(type="STRING", fields=[{"name": "y", "type": "STRING", "description": "A y."}]),
        _with_field(type="STRING", mode="OPTIONAL"),
        _with_field(type="STRING", description=""),
        _with_field(type="STRING", name="MODEL"),
        _with_field(type="STRING", name="not-a-name"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, document: object) -> None:
    with pytest.raises(SchemaError) as caught:
        _load(tmp_path, document)
    assert caught.value.details["errors"]


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SchemaError) as caught:
        _load(tmp_path, _changed(description="", fields=[{"name": "x", "type": "MONEY"}]))
    told = str(caught.value.details["errors"])
    assert all(key in told for key in ("description", "fields.0.type", "fields.0.description"))


def test_a_file_is_named_as_its_table(tmp_path: Path) -> None:
    with pytest.raises(SchemaError):
        _load(tmp_path, GOOD, name="other")
    with pytest.raises(SchemaError):
        TableSchema.load(tmp_path / "none.json")


def _field(name: str, type_: str = "STRING", mode: str = "NULLABLE", **more: Any) -> FieldSpec:
    return FieldSpec.model_validate(
        {"name": name, "type": type_, "mode": mode, "description": f"The {name}.", **more}
    )


names = st.sampled_from(["a", "b", "c", "d"])
columns = st.lists(
    st.builds(
        _field,
        names,
        st.sampled_from(["STRING", "INT64", "NUMERIC"]),
        st.sampled_from(["NULLABLE", "REPEATED"]),
    ),
    unique_by=lambda spec: spec.name,
    max_size=4,
)


@given(present=columns, wanted=columns)
def test_a_merge_keeps_every_column_adds_every_new_one_and_rests(
    present: list[FieldSpec], wanted: list[FieldSpec]
) -> None:
    table = [spec.to_bigquery() for spec in present]
    try:
        merged = merge_fields(table, wanted)
    except SchemaError:
        clash = {(s.name, s.type, s.mode) for s in present} ^ {
            (s.name, s.type, s.mode) for s in wanted
        }
        assert {s.name for s in present} & {s.name for s in wanted} & {name for name, *_ in clash}
        return
    assert [field.name for field in merged[: len(table)]] == [field.name for field in table]
    assert {field.name for field in merged} == {s.name for s in present} | {s.name for s in wanted}
    assert merge_fields(merged, wanted) == merged


def test_a_merge_tells_every_change_that_bigquery_refuses() -> None:
    inner = [{"name": "amount", "type": "NUMERIC", "description": "In the currency."}]
    present = [_field("a"), _field("b", "INT64"), _field("t", "STRUCT", "REPEATED", fields=inner)]
    inner = [{"name": "amount", "type": "STRING", "description": "In the currency."}]
    wanted = [
        _field("a", mode="REQUIRED"),
        _field("b", "STRING"),
        _field("t", "STRUCT", "REPEATED", fields=inner),
        _field("new", mode="REQUIRED"),
    ]
    with pytest.raises(SchemaError) as caught:
        merge_fields([spec.to_bigquery() for spec in present], wanted)
    faults = caught.value.details["errors"]
    assert isinstance(faults, list)
    assert [fault.partition(":")[0] for fault in faults] == ["a", "b", "t.amount", "new"]


def test_a_merge_relaxes_describes_and_widens_within() -> None:
    inner = [{"name": "amount", "type": "NUMERIC", "description": "In the currency."}]
    present = [_field("a", mode="REQUIRED"), _field("t", "STRUCT", "REPEATED", fields=inner)]
    more = [*inner, {"name": "basis", "type": "STRING", "description": "The basis."}]
    wanted = [_field("a"), _field("t", "STRUCT", "REPEATED", fields=more)]
    merged = merge_fields([spec.to_bigquery() for spec in present], wanted)
    assert merged[0].mode == "NULLABLE"
    assert [field.name for field in merged[1].fields] == ["amount", "basis"]


def test_older_type_names_are_the_same_types() -> None:
    from google.cloud import bigquery

    old = [bigquery.SchemaField("a", "INTEGER"), bigquery.SchemaField("b", "BOOLEAN")]
    merged = merge_fields(old, [_field("a", "INT64"), _field("b", "BOOL")])
    assert [field.field_type for field in merged] == ["INTEGER", "BOOLEAN"]


def test_a_folder_must_hold_what_its_config_lists(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "views").mkdir()
    (tmp_path / "config.yml").write_text("tables: [usage]\n")
    with pytest.raises(ConfigurationError) as caught:
        Layout.load(tmp_path)
    assert caught.value.details["missing"] == ["schemas/usage.json"]
    (tmp_path / "schemas" / "usage.json").write_text(json.dumps(GOOD))
    assert Layout.load(tmp_path).schemas[0].table == "usage"
    (tmp_path / "views" / "stray.sql").write_text("SELECT 1")
    with pytest.raises(ConfigurationError) as caught:
        Layout.load(tmp_path)
    assert caught.value.details["unlisted"] == ["views/stray.sql"]


def test_no_sql_of_ours_names_the_central_dataset_itself() -> None:
    for path in CONFIGS.rglob("*.sql"):
        assert f".{CENTRAL}." not in path.read_text(), path

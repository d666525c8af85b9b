"""The central dataset through the real client: created, widened, left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from convergence.errors import (
    NotBootstrappedError,
    SchemaError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.runs.ledger import Ledger
from convergence.warehouse.client import Warehouse, WarehouseTimeouts
from convergence.warehouse.names import CENTRAL, TableName, central_table
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.stream import append_rows
from convergence.warehouse.tables.bootstrap import LayoutReport, build_layout, central_layout
from convergence.warehouse.tables.datasets import (
    EnsureOutcome,
    dataset_exists,
    drop_dataset,
    ensure_dataset,
    list_tables,
)
from convergence.warehouse.tables.evolve import ensure_table, ensure_view
from support.sandbox_process import SandboxProcess
from support.warehouse_env import CONFIGS, NOW, SCHEMA, bootstrap_warehouse, connect_warehouse

VIEWS = {"org_consolidated_view", "pipeline_logs_view", "step_logs_view"}


def test_bootstrap_creates_everything_once(w: Warehouse) -> None:
    report = bootstrap_warehouse(w)
    assert report.dataset_outcome is EnsureOutcome.CREATED
    assert len(report.tables) == 15
    assert set(report.views) == VIEWS
    assert len(report.created) == 18
    assert list_tables(w, CENTRAL) == set(report.tables) | VIEWS
    again = bootstrap_warehouse(w)
    assert again.dataset_outcome is EnsureOutcome.UNCHANGED
    assert len(again.unchanged) == 18


def test_every_table_is_as_its_file_says(w: Warehouse) -> None:
    bootstrap_warehouse(w)
    for schema in central_layout(CONFIGS).schemas:
        table = w.client.get_table(w.reference(central_table(schema.table)))
        assert table.description == schema.description
        assert list(table.clustering_fields or []) == list(schema.clustering)
        assert table.labels == schema.labels
        assert [field.name for field in table.schema] == [field.name for field in schema.fields]
        assert [field.description for field in table.schema] == [
            field.description for field in schema.fields
        ]
        if schema.partition:
            assert table.time_partitioning.field == schema.partition.field
            assert table.require_partition_filter


def test_two_bootstraps_at_once_end_the_same(w: Warehouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = [
            future.result() for future in [pool.submit(bootstrap_warehouse, w) for _ in range(4)]
        ]
    created = [name for report in reports for name in report.created]
    assert sorted(created) == sorted(set(created)), "each was created by one of them"
    assert len(bootstrap_warehouse(w).unchanged) == 18


def _with_column(schema: TableSchema, **column: Any) -> TableSchema:
    document = schema.model_dump()
    document["fields"] = [*document["fields"], {"description": "A new column.", **column}]
    return TableSchema.model_validate(document)


def test_a_newer_schema_adds_its_columns_and_keeps_the_rows(w: Warehouse) -> None:
    ensure_dataset(w, "acme_dev", description="An org's dataset")
    name = TableName("acme_dev", "usage")
    assert ensure_table(w, name, SCHEMA) is EnsureOutcome.CREATED
    newer = _with_column(SCHEMA, name="region", type="STRING")
    assert ensure_table(w, name, newer) is EnsureOutcome.WIDENED
    assert ensure_table(w, name, newer) is EnsureOutcome.UNCHANGED
    table = w.client.get_table(w.reference(name))
    assert [field.name for field in table.schema] == ["usage_date", "model", "cost", "region"]
    assert ensure_table(w, name, SCHEMA) is EnsureOutcome.UNCHANGED, (
        "an older release takes nothing away"
    )
    assert len(w.client.get_table(w.reference(name)).schema) == 4


def test_a_table_that_cannot_become_its_file_says_why(w: Warehouse) -> None:
    ensure_dataset(w, "acme_dev", description="An org's dataset")
    name = TableName("acme_dev", "usage")
    ensure_table(w, name, SCHEMA)
    document = SCHEMA.model_dump()
    document["partition"] = None
    document["fields"][2]["type"] = "STRING"
    with pytest.raises(SchemaError) as caught:
        ensure_table(w, name, TableSchema.model_validate(document))
    assert len(caught.value.details["errors"]) == 2  # type: ignore[arg-type]


def test_descriptions_labels_and_views_are_brought_up_to_date(w: Warehouse, tmp_path: Path) -> None:
    ensure_dataset(w, "acme_dev", description="An org's dataset", labels={"a": "1"})
    dataset = w.client.get_dataset("acme_dev")
    dataset.labels = {**dataset.labels, "theirs": "x"}
    w.client.update_dataset(dataset, ["labels"])
    assert (
        ensure_dataset(w, "acme_dev", description="Another", labels={"a": "2"})
        is EnsureOutcome.WIDENED
    )
    assert w.client.get_dataset("acme_dev").labels == {"a": "2", "theirs": "x"}
    sql = tmp_path / "v.sql"
    view = TableName("acme_dev", "v")
    sql.write_text("SELECT 1 AS n")
    assert ensure_view(w, view, sql, description="A view") is EnsureOutcome.CREATED
    assert ensure_view(w, view, sql, description="A view") is EnsureOutcome.UNCHANGED
    sql.write_text("SELECT 2 AS n")
    assert ensure_view(w, view, sql, description="A view") is EnsureOutcome.WIDENED
    read = tmp_path / "read.sql"
    read.write_text("SELECT n FROM `{{ project }}.{{ dataset }}.v`")
    assert run_file(w, read, identifiers={"dataset": "acme_dev"}) == [{"n": 2}]
    ensure_table(w, TableName("acme_dev", "usage"), SCHEMA)
    with pytest.raises(SchemaError):
        ensure_view(w, TableName("acme_dev", "usage"), sql)


def test_another_location_is_refused(w: Warehouse) -> None:
    dataset = bigquery.Dataset(f"{w.project}.elsewhere")
    dataset.location = "EU"
    w.client.create_dataset(dataset)
    with pytest.raises(SchemaError):
        ensure_dataset(w, "elsewhere", description="A dataset")


def test_a_dataset_is_dropped_with_all_it_holds(w: Warehouse) -> None:
    bootstrap_warehouse(w)
    assert dataset_exists(w, CENTRAL)
    assert drop_dataset(w, CENTRAL)
    assert not dataset_exists(w, CENTRAL)
    assert not drop_dataset(w, CENTRAL)
    assert list_tables(w, CENTRAL) == set()


def test_before_bootstrap_every_way_in_says_so(w: Warehouse, tmp_path: Path) -> None:
    sql = tmp_path / "x.sql"
    sql.write_text("SELECT org_slug FROM `{{ project }}.{{ central }}.org_profiles`")
    with pytest.raises(NotBootstrappedError):
        run_file(w, sql)
    with pytest.raises(NotBootstrappedError):
        append_rows(w, central_table("org_audit_logs"), [("1", {"org_slug": "acme"})])
    with pytest.raises(NotBootstrappedError):
        Ledger(w).read_latest(orgs=["acme"], pipeline_id="p", since=NOW.date())


def test_a_log_is_never_read_whole(w: Warehouse, tmp_path: Path) -> None:
    bootstrap_warehouse(w)
    sql = tmp_path / "x.sql"
    sql.write_text("SELECT org_slug FROM `{{ project }}.{{ central }}.org_meta_slices`")
    with pytest.raises(WarehouseError):
        run_file(w, sql)


def test_wrong_sql_is_an_error_with_its_reason_and_job(w: Warehouse, tmp_path: Path) -> None:
    sql = tmp_path / "x.sql"
    sql.write_text("SELECT 1 +")
    with pytest.raises(WarehouseError) as caught:
        run_file(w, sql)
    assert caught.value.details["reason"] == "invalidQuery"
    sql.write_text("SELECT 1 / 0 AS x")
    with pytest.raises(WarehouseError) as caught:
        run_file(w, sql)
    assert caught.value.details["job_id"]


def test_a_warehouse_that_is_down_is_worth_a_retry(w: Warehouse) -> None:
    from convergence.settings import Settings

    settings = Settings(gcp_project_id="down-project", bigquery_emulator_host="http://127.0.0.1:9")
    down = Warehouse.connect(settings, timeouts=WarehouseTimeouts(call=1, retry=1))
    with pytest.raises(WarehouseUnavailableError):
        dataset_exists(down, "x")


def test_a_server_fault_is_retried_within_limits(w: Warehouse, sandbox: SandboxProcess) -> None:
    bootstrap_warehouse(w)
    rule = {"action": "status", "status": 503, "match": {"path_regex": w.project}, "count": 2}
    sandbox.admin("POST", "faults", rule)
    assert dataset_exists(w, CENTRAL)


def _log_run(w: Warehouse, run: str, status: str, minute: int, **more: object) -> None:
    row = {
        "org_slug": "acme_corp",
        "run_id": run,
        "pipeline_id": "acme_corp-openai-usage-cost",
        "status": status,
        "recorded_at": datetime.now(UTC) - timedelta(minutes=60 - minute),
        "days": ["2026-11-17", "2026-11-16"],
        **more,
    }
    append_rows(w, central_table("org_meta_pipeline_runs"), [(f"{run}{minute}{status}", row)])


def test_the_views_show_what_is_now(w: Warehouse, tmp_path: Path) -> None:
    bootstrap_warehouse(w)
    start = datetime.now(UTC) - timedelta(minutes=59)
    _log_run(w, "run_1", "QUEUED", 0)
    _log_run(w, "run_1", "RUNNING", 1, started_at=start)
    _log_run(w, "run_1", "SUCCESS", 2, started_at=start, ended_at=start + timedelta(seconds=90))
    _log_run(w, "run_1", "SUCCESS", 2, started_at=start, ended_at=start + timedelta(seconds=90))
    _log_run(w, "run_2", "RUNNING", 3)
    step = {
        "org_slug": "acme_corp",
        "run_id": "run_1",
        "pipeline_id": "acme_corp-openai-usage-cost",
        "step": "extract_usage",
        "result": '{"rows": 3}',
        "recorded_at": start,
    }
    append_rows(
        w,
        central_table("org_meta_step_logs"),
        [
            ("a", {**step, "attempt": 1, "status": "RUNNING"}),
            ("b", {**step, "attempt": 1, "status": "FAILED", "ended_at": start}),
            ("c", {**step, "attempt": 2, "status": "RUNNING"}),
        ],
    )
    insert = tmp_path / "insert.sql"
    insert.write_text(
        "INSERT INTO `{{ project }}.{{ central }}.org_profiles`"
        " (org_slug, company_name, admin_email, dataset_id, status, created_at)"
        " VALUES ('acme_corp', 'Acme', 'a@example.com', 'acme_corp_dev', 'ACTIVE', @now),"
        " ('globex', 'Globex', 'g@example.com', 'globex_dev', 'ACTIVE', @now)"
    )
    run_file(w, insert, params={"now": NOW})
    insert.write_text(
        "INSERT INTO `{{ project }}.{{ central }}.org_integration_credentials`"
        " (org_slug, credential_id, provider, validation_status, status, created_at)"
        " VALUES ('acme_corp', 'c1', 'OPENAI', 'VALID', 'ACTIVE', @now),"
        " ('acme_corp', 'c2', 'AWS', 'INVALID', 'ACTIVE', @now),"
        " ('acme_corp', 'c3', 'AZURE', 'VALID', 'DELETED', @now)"
    )
    run_file(w, insert, params={"now": NOW})
    insert.write_text(
        "INSERT INTO `{{ project }}.{{ central }}.org_subscriptions`"
        " (org_slug, subscription_id, plan, status, trial_ends_at, created_at) VALUES"
        " ('acme_corp', 's1', 'SCALE', 'ACTIVE', NULL, @now),"
        " ('globex', 's2', 'STARTER', 'TRIAL', TIMESTAMP '2020-01-01 00:00:00+00', @now)"
    )
    run_file(w, insert, params={"now": NOW})
    read = tmp_path / "read.sql"

    def rows(view: str, order: str) -> list[dict[str, Any]]:
        read.write_text(
            f"SELECT * FROM `{{{{ project }}}}.{{{{ central }}}}.{view}` ORDER BY {order}"
        )
        return run_file(w, read)

    runs = rows("pipeline_logs_view", "run_id")
    assert [(row["run_id"], row["status"], row["duration_seconds"]) for row in runs] == [
        ("run_1", "SUCCESS", 90),
        ("run_2", "RUNNING", None),
    ]
    assert len(runs[0]["days"]) == 2
    steps = rows("step_logs_view", "attempt")
    assert [(row["attempt"], row["status"]) for row in steps] == [(1, "FAILED"), (2, "RUNNING")]
    assert steps[0]["result"] == {"rows": 3}
    acme, globex = rows("org_consolidated_view", "org_slug")
    assert (acme["plan"], acme["may_run"], acme["last_run_id"]) == ("SCALE", True, "run_2")
    assert (acme["providers"], acme["connected_providers"], acme["valid_providers"]) == (
        "AWS, OPENAI",
        2,
        1,
    )
    assert (globex["may_run"], globex["active_keys"], globex["last_run_id"]) == (False, 0, None)


def test_a_layout_that_fails_midway_goes_on(w: Warehouse, sandbox: SandboxProcess) -> None:
    rule = {
        "action": "status",
        "status": 403,
        "reason": "accessDenied",
        "match": {"method": "POST", "path_regex": f"{w.project}/datasets/{CENTRAL}/tables"},
    }
    layout = central_layout(CONFIGS)
    ensure_dataset(w, CENTRAL, description="The central dataset of the tests")
    ensure_table(w, central_table("org_profiles"), layout.schemas[0])
    sandbox.admin("POST", "faults", rule)
    with pytest.raises(WarehouseError):
        bootstrap_warehouse(w)
    report: LayoutReport = build_layout(
        w, layout, dataset=CENTRAL, description="The central dataset of the tests", labels={}
    )
    assert report.tables["org_profiles"] is EnsureOutcome.UNCHANGED
    assert len(report.created) == 17


def test_the_api_side_connects_from_settings(sandbox: SandboxProcess) -> None:
    assert connect_warehouse(sandbox, project="from-settings").project == "from-settings"

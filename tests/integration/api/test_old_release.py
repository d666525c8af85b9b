"""This version's API on the state store and the warehouse that an old release left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from convergence.api.platform import background_tasks
from convergence.settings import Settings
from convergence.state.schema.preparation import HEAD_REVISION, VERSION_TABLE
from convergence.state.store import StateStore
from support.api.airflow_double import AirflowDouble
from support.api.apps import borrow_app
from support.api.env import ROOT_KEY
from support.api.sandbox_services import KMS_KEY, SandboxServices
from support.old_release import assert_costs_include, recorded, unpack
from support.sandbox_process import SandboxProcess

PROJECT = "local-dev-project"


def count_rows(database: Path) -> int:
    with sqlite3.connect(database) as plain:
        names = [
            name
            for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name != VERSION_TABLE and not name.startswith("sqlite_")
        ]
        total: int = sum(
            plain.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names
        )
    plain.close()
    return total


@pytest.fixture
def var_dir(tmp_path: Path) -> Path:
    unpack(tmp_path / "var")
    return tmp_path / "var"


@pytest.fixture
def old_sandbox(var_dir: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess(var_dir / "sandbox")
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(
    old_sandbox: SandboxProcess, var_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    settings = Settings(
        gcp_project_id=PROJECT,
        bigquery_emulator_host=old_sandbox.bigquery,
        kms_emulator_host=old_sandbox.kms,
        kms_key_name=KMS_KEY,
        root_api_key=ROOT_KEY,
        openai_base_url=f"{old_sandbox.providers}/openai/v1",
        var_dir=var_dir,
    )
    monkeypatch.setattr(background_tasks, "list_tasks", lambda _services: [])
    services = SandboxServices(settings, AirflowDouble())
    with borrow_app(services) as app, TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_state_store_is_migrated_with_every_row(var_dir: Path) -> None:
    database = var_dir / "state" / "state.db"
    before = count_rows(database)
    assert before > 50
    StateStore.connect(f"sqlite:///{database}").close()
    assert count_rows(database) in (before, before - 1)  # the old mark of the schema may go
    with sqlite3.connect(database) as plain:
        found = plain.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()
    plain.close()
    assert found == [(HEAD_REVISION,)]


def test_costs_runs_and_settings_are_what_the_old_release_said(
    client: TestClient, old_sandbox: SandboxProcess, var_dir: Path
) -> None:
    """Its API key opens the door, its figures are the same, and no provider is asked again."""
    expected, org = recorded(), recorded()["org_slug"]
    headers = {"X-API-Key": unpack(var_dir.parent / "again")}

    costs = client.get(f"/costs/{org}", params=expected["query"], headers=headers)
    assert costs.status_code == 200, costs.text
    assert_costs_include(costs.json(), expected["costs"])
    one_basis = client.get(
        f"/costs/{org}", params={**expected["query"], "basis": "computed"}, headers=headers
    )
    assert {row["basis"] for row in one_basis.json()["rows"]} == {"computed"}

    runs = client.get(f"/pipelines/runs/{org}", params={"limit": 100}, headers=headers).json()
    assert sorted(run["run_id"] for run in runs["runs"]) == expected["runs"]
    assert {run["status"] for run in runs["runs"]} == {"SUCCESS"}

    pipeline = expected["config"]["pipeline"]
    config = client.get(f"/pipelines/config/{org}/{pipeline}", headers=headers).json()
    assert {name: config[name] for name in ("schedule", "timezone")} == {
        name: expected["config"][name] for name in ("schedule", "timezone")
    }
    served = httpx.get(f"{old_sandbox.providers}/_sandbox/requests", timeout=10, trust_env=False)
    assert served.json() == []

"""The rooms that a task really connects to: through Airflow's Connection and the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convergence.processors import connect
from convergence.settings import get_settings

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("default")]

CONNECTION = {
    "conn_type": "google_cloud_platform",
    "extra": {"is_anonymous": True, "project": "local-dev-project"},
}


@pytest.fixture
def emulated(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(CONNECTION))
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("KMS_EMULATOR_HOST", "127.0.0.1:1")
    get_settings.cache_clear()


@pytest.mark.usefixtures("emulated")
def test_a_task_is_connected_to_the_warehouse_of_airflows_connection(tmp_path: Path) -> None:
    with connect.open_services() as services:
        assert services.warehouse.project == "local-dev-project"
        assert services.steps.list_steps("run_none") == {}
        assert services.steps.get_run("run_none") is None
        assert services.now().tzinfo is not None
    assert (tmp_path / "var" / "state" / "state.db").exists()


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    ("provider", "name"), [("openai", "OPENAI"), ("gcp", "GCP_SA"), ("claude", "ANTHROPIC")]
)
def test_a_provider_has_its_name_in_tables(provider: str, name: str) -> None:
    assert connect.find_table_id(provider) == name

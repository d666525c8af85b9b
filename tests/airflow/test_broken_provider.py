"""An error in one provider's entry of the registry: its runs fail by name, those of others run."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import WarehouseUnavailableError
from convergence.processors import connect
from convergence.state import org_runs
from convergence.state.org_runs import OrgRun, RunStatus, org_run_id
from support.airflow_env import AirflowEnv
from support.sample_pipelines import USAGE_COST

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

Write = Callable[[str, str], Path]
DAG_ID = "sample.cost.usage_cost"
BREAKS = {
    "a wrong field": (
        "base_url: https://api.openai.com/v1",
        "base_url: nowhere",
        "openai.base_url",
    ),
    "the entry twice": ("  anthropic:\n", "  openai: {}\n\n  anthropic:\n", "stands twice"),
}


def break_registry(configs: Path, before: str, after: str) -> None:
    path = configs / "system" / "providers.yml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def triggered(env: AirflowEnv, dag_run_id: str) -> OrgRun:
    """A run of the API that waits for Airflow."""
    made = OrgRun(
        run_id=org_run_id(DAG_ID, dag_run_id, "beta_labs"),
        org_slug="beta_labs",
        pipeline_id="sample-usage-cost",
        dag_id=DAG_ID,
        dag_run_id=dag_run_id,
        trigger="api",
        requested_by="key_1",
        created_at=datetime.now(UTC),
        days=(date(2026, 11, 1),),
    )
    with env.store.begin() as conn:
        org_runs.insert_run(conn, made)
    return made


def carried_out(env: AirflowEnv, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, OrgRun]:
    """Airflow's run of one org run, and the org run as it ended."""
    from airflow.models.dagrun import DagRun

    from convergence.pipelines.dags.factory import register_dags

    dag_run_id = f"api__{uuid.uuid4().hex}"
    monkeypatch.setattr(DagRun, "generate_run_id", lambda **_: dag_run_id)
    made = triggered(env, dag_run_id)
    namespace: dict[str, Any] = {}
    register_dags(namespace)
    dag_run = namespace[DAG_ID].test(run_conf={"org_run_id": made.run_id})
    with env.store.read() as conn:
        ended = org_runs.get_run(conn, made.run_id)
    assert ended is not None
    return dag_run, ended


@pytest.mark.parametrize("name", BREAKS)
def test_a_run_of_the_broken_provider_ends_with_file_entry_and_field(  # noqa: PLR0917  # fixtures
    write: Write,
    configs: Path,
    env: AirflowEnv,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    before, after, field = BREAKS[name]
    break_registry(configs, before, after)
    dag_run, ended = carried_out(env, monkeypatch)
    assert dag_run.state == "failed"
    assert ended.status is RunStatus.FAILED
    assert ended.error is not None
    assert ended.error.code == "configuration_invalid"
    for part in ("system/providers.yml:", "The provider openai", field):
        assert part in ended.error.message
    message = "select_orgs did not succeed: configuration_invalid: The provider openai"
    assert message in capsys.readouterr().out


def test_a_run_of_another_provider_runs(
    write: Write, configs: Path, env: AirflowEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST.replace("openai", "anthropic"))
    break_registry(configs, *BREAKS["a wrong field"][:2])
    dag_run, ended = carried_out(env, monkeypatch)
    assert dag_run.state == "success"
    assert ended.status is RunStatus.SUCCESS


def test_a_registry_that_is_no_yaml_stops_what_needs_a_provider_and_nothing_else(
    write: Write, configs: Path, env: AirflowEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    (configs / "system" / "providers.yml").write_text("providers: [", encoding="utf-8")
    write("sample/cost/usage_cost.yml", USAGE_COST)
    dag_run, ended = carried_out(env, monkeypatch)
    assert dag_run.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "configuration_invalid"
    assert "system/providers.yml:2:1: did not find" in ended.error.message


def test_a_pipeline_without_provider_runs_beside_a_registry_that_is_no_yaml(
    write: Write, configs: Path, env: AirflowEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    (configs / "system" / "providers.yml").write_text("providers: [", encoding="utf-8")
    write("sample/cost/usage_cost.yml", USAGE_COST.replace("provider: openai\n", ""))
    dag_run, ended = carried_out(env, monkeypatch)
    assert dag_run.state == "success"
    assert ended.status is RunStatus.SUCCESS


def test_the_last_try_records_why_the_first_task_failed(
    write: Write, env: AirflowEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that another try may cure is recorded when no other try follows."""

    def away(_provider: str) -> str:
        raise WarehouseUnavailableError("BigQuery does not answer")

    write("sample/cost/usage_cost.yml", USAGE_COST + "retries: 0\n")
    monkeypatch.setattr(connect, "find_table_id", away)
    dag_run, ended = carried_out(env, monkeypatch)
    assert dag_run.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "warehouse_unavailable"

"""Whole runs through Airflow, of one tiny pipeline, with the rooms below the tasks replaced."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import WouldShrinkError
from convergence.state import org_runs, org_steps
from convergence.state.org_runs import OrgRun, RunError, RunStatus, org_run_id
from support.airflow_env import AirflowEnv
from support.sample_pipelines import PREPARE, USAGE_COST

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

DAG_ID = "sample.cost.usage_cost"
Write = Callable[[str, str], Path]


@pytest.fixture
def fetch() -> Iterator[Any]:
    """The sample processor's switches, set back afterwards."""
    module = importlib.import_module("convergence.processors.sample.fetch")
    yield module
    module.FAILURES.clear()
    module.CALLS.clear()


def run_dag(dag_id: str, conf: dict[str, Any] | None = None) -> Any:
    """Run the DAG in this process and give its DAG run back."""
    from convergence.pipelines.dags.factory import register_dags

    namespace: dict[str, Any] = {}
    register_dags(namespace)
    return namespace[dag_id].test(run_conf=conf or {})


def states(dag_run: Any) -> dict[str, str]:
    return {
        f"{ti.task_id}[{ti.map_index}]" if ti.map_index >= 0 else ti.task_id: str(ti.state)
        for ti in dag_run.get_task_instances()
    }


def labels(dag_run: Any) -> dict[str, str]:
    return {
        f"{ti.task_id}[{ti.map_index}]": ti.rendered_map_index
        for ti in dag_run.get_task_instances()
        if ti.map_index >= 0
    }


def test_orgs_are_mapped_labelled_and_recorded(write: Write, env: AirflowEnv, fetch: Any) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    day = datetime.now(UTC).date() - timedelta(days=2)
    asked = {"start_date": day.isoformat(), "end_date": day.isoformat()}
    dag_run = run_dag(DAG_ID, asked)
    assert dag_run.state == "success"
    assert labels(dag_run) == {
        "orgs.extract_usage[0]": "acme_corp",
        "orgs.extract_usage[1]": "beta_labs",
        "orgs.transform_cost[0]": "acme_corp",
        "orgs.transform_cost[1]": "beta_labs",
    }
    with env.store.read() as conn:
        runs = org_runs.list_for_dag_run(conn, DAG_ID, dag_run.run_id)
        steps = org_steps.list_for_run(conn, runs[0].run_id)
    assert [(one.org_slug, one.status, one.days, one.trigger) for one in runs] == [
        ("acme_corp", "SUCCESS", (day,), "ui"),
        ("beta_labs", "SUCCESS", (day,), "ui"),
    ]
    assert [(one.step, one.status, one.rows_processed) for one in steps] == [
        ("extract_usage", "SUCCESS", 10),
        ("transform_cost", "SUCCESS", 1),
    ]
    assert env.shipped == 1


def test_one_orgs_failure_is_red_for_it_alone_and_fails_the_run_by_name(
    write: Write, env: AirflowEnv, fetch: Any
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    fetch.FAILURES["beta_labs"] = [fetch.fatal()]
    dag_run = run_dag(DAG_ID)
    assert dag_run.state == "failed"
    assert states(dag_run) == {
        "select_orgs": "success",
        "orgs.extract_usage[0]": "success",
        "orgs.transform_cost[0]": "success",
        "orgs.extract_usage[1]": "failed",
        "orgs.transform_cost[1]": "upstream_failed",
        "close_run": "failed",
    }
    with env.store.read() as conn:
        ended = org_runs.list_for_dag_run(conn, DAG_ID, dag_run.run_id)
    assert {one.org_slug: one.status for one in ended} == {
        "acme_corp": "SUCCESS",
        "beta_labs": "FAILED",
    }
    error = RunError("failed", "extract_usage: the provider refuses this")
    assert ended[1].error == error


def test_refused_lower_content_fails_the_run_after_the_later_steps_have_run(
    write: Write, env: AirflowEnv, fetch: Any
) -> None:
    """Airflow starts no step after a failed task, so the task succeeds and the run fails."""
    write("sample/cost/usage_cost.yml", USAGE_COST)
    fetch.FAILURES["beta_labs"] = [
        WouldShrinkError("less is stated", report={"days_published": 2, "refused": []})
    ]
    dag_run = run_dag(DAG_ID)
    assert dag_run.state == "failed"
    assert states(dag_run) == {
        "select_orgs": "success",
        "orgs.extract_usage[0]": "success",
        "orgs.transform_cost[0]": "success",
        "orgs.extract_usage[1]": "success",
        "orgs.transform_cost[1]": "success",
        "close_run": "failed",
    }
    assert sorted(fetch.CALLS) == ["acme_corp", "beta_labs"]
    with env.store.read() as conn:
        ended = org_runs.list_for_dag_run(conn, DAG_ID, dag_run.run_id)
        steps = {step.step: step for step in org_steps.list_for_run(conn, ended[1].run_id)}
    assert ended[1].status == "FAILED"
    assert ended[1].error == RunError("would_shrink", "extract_usage: less is stated")
    assert {name: step.status for name, step in steps.items()} == {
        "extract_usage": "FAILED",
        "transform_cost": "SUCCESS",
    }
    extracted = steps["extract_usage"].result
    assert extracted is not None
    assert extracted["days_published"] == 2


def test_a_run_of_the_api_does_the_one_org_it_was_made_for(
    write: Write, env: AirflowEnv, fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    from airflow.models.dagrun import DagRun

    monkeypatch.setattr(DagRun, "generate_run_id", lambda **_: "api__1")
    made = OrgRun(
        run_id=org_run_id(DAG_ID, "api__1", "beta_labs"),
        org_slug="beta_labs",
        pipeline_id="sample-usage-cost",
        dag_id=DAG_ID,
        dag_run_id="api__1",
        trigger="api",
        requested_by="key_1",
        created_at=datetime.now(UTC),
        days=(date(2026, 11, 1),),
    )
    with env.store.begin() as conn:
        org_runs.insert_run(conn, made)
    dag_run = run_dag(DAG_ID, {"org_run_id": made.run_id})
    assert dag_run.state == "success"
    assert fetch.CALLS == ["beta_labs"]
    with env.store.read() as conn:
        ended = org_runs.get_run(conn, made.run_id)
    assert ended is not None
    assert ended.status is RunStatus.SUCCESS


@pytest.mark.parametrize(
    "conf",
    [{"orgslug": "acme_corp"}, {"org_slug": "gone"}, {"org_slug": "nobody"}, {"org_run_id": "x"}],
)
def test_a_hand_made_trigger_that_is_not_allowed_fails_at_once(
    write: Write, env: AirflowEnv, fetch: Any, conf: dict[str, Any]
) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    env.refused["gone"] = RunError("subscription_inactive", "the subscription is SUSPENDED")
    dag_run = run_dag(DAG_ID, conf)
    assert dag_run.state == "failed"
    assert states(dag_run)["select_orgs"] == "failed"
    assert states(dag_run)["close_run"] == "failed"
    assert fetch.CALLS == []


def test_nothing_eligible_is_a_success_that_maps_nothing(write: Write, env: AirflowEnv) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    env.eligible.clear()
    dag_run = run_dag(DAG_ID)
    assert dag_run.state == "success"
    assert states(dag_run)["close_run"] == "success"


def test_a_platform_pipeline_runs_once_and_answers_with_its_steps_results(
    write: Write, env: AirflowEnv
) -> None:
    write("setup/prepare.yml", PREPARE)
    dag_run = run_dag("setup.prepare", {"org_slug": "new_org"})
    assert dag_run.state == "success"
    (closing,) = (ti for ti in dag_run.get_task_instances() if ti.task_id == "close_run")
    result = {"status": "SUCCESS", "answer": "done", "params": {"org_slug": "new_org"}}
    assert closing.xcom_pull(task_ids="close_run") == {
        "status": "SUCCESS",
        "steps": {"create_tables": result},
    }


def test_a_platform_pipeline_refuses_what_it_does_not_take(write: Write, env: AirflowEnv) -> None:
    write("setup/prepare.yml", PREPARE)
    dag_run = run_dag("setup.prepare", {"org_slug": "new_org", "force": True})
    assert dag_run.state == "failed"
    assert states(dag_run) == {"create_tables": "failed", "close_run": "failed"}

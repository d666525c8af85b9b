"""The params of a DAG: stored once, shown in the trigger form, seen by every running task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.airflow_env import AirflowEnv
from support.sample_pipelines import PREPARE, USAGE_COST

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("default")]

DAG_ID = "sample.cost.usage_cost"
SCHEMA = {"type": ["null", "string"], "format": "date"}
Write = Callable[[str, str], Path]


def built(dag_id: str) -> Any:
    from convergence.pipelines.dags.factory import register_dags

    namespace: dict[str, Any] = {}
    register_dags(namespace)
    return namespace[dag_id]


def stored_params(dag: Any) -> dict[str, Any]:
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.to_dict(dag)


def test_only_the_dag_is_stored_with_its_params(write: Write) -> None:
    write("sample/cost/usage_cost.yml", USAGE_COST)
    document = stored_params(built(DAG_ID))["dag"]
    assert [name for name, _ in document["params"]] == ["org_slug", "start_date", "end_date"]
    tasks = [task["__var"] for task in document["tasks"]]
    assert len(tasks) == 4
    assert [task["task_id"] for task in tasks if "params" in task] == []


def test_the_trigger_form_has_every_param_and_refuses_what_its_schema_refuses(
    write: Write,
) -> None:
    from airflow.exceptions import ParamValidationError
    from airflow.serialization.serialized_objects import DagSerialization

    write("sample/cost/usage_cost.yml", USAGE_COST)
    params = DagSerialization.from_dict(stored_params(built(DAG_ID))).params
    assert {name: params.get_param(name).schema for name in ("start_date", "end_date")} == {
        "start_date": SCHEMA,
        "end_date": SCHEMA,
    }
    assert params.deep_merge({"start_date": "2026-11-01"}).validate()["start_date"] == "2026-11-01"
    with pytest.raises(ParamValidationError):
        params.deep_merge({"start_date": "soon"}).validate()


def test_a_required_param_has_no_value_in_the_trigger_form(write: Write) -> None:
    from airflow.exceptions import ParamValidationError

    write("setup/prepare.yml", PREPARE)
    dag = built("setup.prepare")
    assert list(dag.params) == ["org_slug"]
    with pytest.raises(ParamValidationError):
        dag.params.validate()


def test_building_and_storing_a_dag_validates_no_param_again(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import Param

    validated: list[Any] = []
    resolve = Param.resolve

    def count(param: Any, *args: Any, **kwargs: Any) -> Any:
        validated.append(param.schema)
        return resolve(param, *args, **kwargs)

    monkeypatch.setattr(Param, "resolve", count)
    write("sample/cost/usage_cost.yml", USAGE_COST)
    dag = built(DAG_ID)
    assert dag.timetable.can_be_scheduled
    stored_params(dag)
    assert validated == []
    # What Airflow would have found on assignment, it still finds valid.
    assert list(dag.params.validate()) == ["org_slug", "start_date", "end_date"]
    assert len(validated) == 3


@pytest.mark.usefixtures("airflow_db")
def test_a_running_task_sees_the_defaults_and_what_its_run_was_given(
    write: Write, env: AirflowEnv
) -> None:
    text = USAGE_COST.replace("end_date: {", "grain: {type: string, default: day}\n  end_date: {")
    write("sample/cost/usage_cost.yml", text)
    env.eligible = ["acme_corp"]
    day = (datetime.now(UTC).date() - timedelta(days=2)).isoformat()
    dag = built(DAG_ID)
    seen: dict[str, dict[str, Any]] = {}

    def record(context: Any) -> None:
        seen[context["ti"].task_id] = dict(context["params"])

    for task in dag.tasks:
        task._pre_execute_hook = record
    run = dag.test(run_conf={"start_date": day, "end_date": day})
    assert run.state == "success"
    expected = {"org_slug": None, "start_date": day, "end_date": day, "grain": "day"}
    assert seen == dict.fromkeys(
        ("select_orgs", "orgs.extract_usage", "orgs.transform_cost", "close_run"), expected
    )


def test_a_pipeline_with_guarded_tables_has_accept_shrink_in_its_trigger_form() -> None:
    from airflow.exceptions import ParamValidationError
    from airflow.serialization.serialized_objects import DagSerialization

    params = DagSerialization.from_dict(stored_params(built("openai.cost.cost_extract"))).params
    assert params["accept_shrink"] is None
    accepted = {"start_date": "2026-11-01", "end_date": "2026-11-02", "reason": "credit note"}
    of_orgs = accepted | {"orgs": ["acme_corp", "globex_inc"]}
    for value in (accepted, of_orgs):
        assert params.deep_merge({"accept_shrink": value}).validate()["accept_shrink"] == value
    for wrong in (True, {"reason": "credit note"}, accepted | {"reason": ""}):
        with pytest.raises(ParamValidationError):
            params.deep_merge({"accept_shrink": wrong}).validate()

"""What a step's task raises, returns, retries and leaves behind."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from convergence.processors.context import PipelineInfo
from convergence.state.org_runs import OrgRun, org_run_id
from support.airflow_env import LIMITS, AirflowEnv
from support.run_records import admit_run

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("default")]

FACTS = PipelineInfo(
    pipeline_id="sample",
    dag_id="sample.usage",
    provider="openai",
    upstream={"extract_usage": (), "transform_cost": ("extract_usage",)},
)


@pytest.fixture
def fetch() -> Iterator[Any]:
    module = importlib.import_module("convergence.processors.sample.fetch")
    yield module
    module.FAILURES.clear()
    module.CALLS.clear()


def admitted(env: AirflowEnv, *orgs: str) -> dict[str, Any]:
    runs = []
    for org in orgs:
        run = OrgRun(
            run_id=org_run_id("sample.usage", "r1", org),
            org_slug=org,
            pipeline_id="sample",
            dag_id="sample.usage",
            dag_run_id="r1",
            trigger="schedule",
            requested_by="scheduler",
            created_at=datetime.now(UTC),
        )
        admit_run(env.store, run, limits=LIMITS, now=run.created_at)
        runs.append({"org_slug": org, "run_id": run.run_id, "days": ["2026-11-20"]})
    return {"label": "some", "runs": runs}


def task(fetch: Any, batch: dict[str, Any], **config: Any) -> Any:
    return fetch.Fetch(task_id="extract_usage", config=config, pipeline=FACTS, batch=batch)


def at_try(number: int, *, retries: int = 2) -> Any:
    return {"ti": SimpleNamespace(try_number=number, max_tries=retries)}


def test_one_org_answers_with_its_own_result(env: AirflowEnv, fetch: Any) -> None:
    operator = task(fetch, admitted(env, "acme"), page_size=5)
    assert operator.execute(at_try(1)) == {
        "status": "SUCCESS",
        "rows_processed": 5,
        "destination_table": "acme_dev.sample_usage_daily_raw",
    }


def test_one_orgs_passing_failure_is_tried_again_and_a_final_one_is_not(
    env: AirflowEnv, fetch: Any
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    operator = task(fetch, admitted(env, "acme"))
    fetch.FAILURES["acme"] = [fetch.flaky(), fetch.fatal()]
    with pytest.raises(AirflowException, match="acme: provider_unavailable") as passing:
        operator.execute(at_try(1))
    assert not isinstance(passing.value, AirflowFailException)
    with pytest.raises(AirflowFailException, match="acme: failed: the provider refuses this"):
        operator.execute(at_try(2))
    assert operator.execute(at_try(3))["status"] == "SUCCESS"


def test_a_batch_tries_all_orgs_and_its_retry_only_the_ones_not_done(
    env: AirflowEnv, fetch: Any
) -> None:
    from airflow.sdk.exceptions import AirflowException

    operator = task(fetch, admitted(env, "acme", "beta", "gamma"))
    fetch.FAILURES["beta"] = [fetch.flaky()]
    with pytest.raises(AirflowException, match="1 of 3 orgs failed: beta: provider_unavailable"):
        operator.execute(at_try(1))
    assert sorted(fetch.CALLS) == ["acme", "beta", "gamma"]
    fetch.CALLS.clear()
    answer = operator.execute(at_try(2))
    assert fetch.CALLS == ["beta"]
    assert answer["status"] == "SUCCESS"
    assert sorted(answer["orgs"]) == ["acme", "beta", "gamma"]


def test_the_last_try_of_a_batch_records_its_failures_and_goes_on(
    env: AirflowEnv, fetch: Any
) -> None:
    operator = task(fetch, admitted(env, "acme", "beta"))
    fetch.FAILURES["beta"] = [fetch.flaky()]
    answer = operator.execute(at_try(3))
    assert answer["status"] == "FAILED"
    assert answer["orgs"]["beta"] == {"status": "FAILED"}
    assert answer["orgs"]["acme"]["status"] == "SUCCESS"


def test_a_batch_does_not_retry_for_what_no_retry_mends(env: AirflowEnv, fetch: Any) -> None:
    operator = task(fetch, admitted(env, "acme", "beta"))
    fetch.FAILURES["beta"] = [fetch.fatal()]
    assert operator.execute(at_try(1))["orgs"]["beta"] == {"status": "FAILED"}


def test_killing_a_task_stops_its_work_and_its_warehouse_jobs(
    env: AirflowEnv, fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(AirflowEnv, "cancel_jobs", lambda _: cancelled.append("all"))
    operator = task(fetch, admitted(env, "acme", "beta"))
    operator.on_kill()
    assert cancelled == []
    with operator.connect_services():
        operator.on_kill()
    assert cancelled == ["all"]
    assert operator.stop.is_set()


def test_a_template_that_renders_to_something_wrong_fails_for_good_before_any_work(
    env: AirflowEnv, fetch: Any
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    operator = task(fetch, admitted(env, "acme"), destination="no such; name")
    with pytest.raises(AirflowFailException, match=r"configuration_invalid.*destination: "):
        operator.execute(at_try(1))
    assert fetch.CALLS == []


def test_the_authors_configuration_is_a_template_and_nothing_of_a_tenant_is(
    env: AirflowEnv, fetch: Any
) -> None:
    hostile = {"label": "{{ 7 * 7 }}", "runs": []}
    operator = task(fetch, XCom(hostile), destination="t_{{ ds_nodash }}")
    operator.render_template_fields({"ds_nodash": "20261120"}, operator.get_template_env())
    assert operator.config == {"destination": "t_20261120"}
    assert operator.batch == hostile


def XCom(value: object) -> Any:  # noqa: N802  # it stands for Airflow's class
    """A value that is only known when the task runs, as the mapped batch is."""
    from airflow.sdk.definitions._internal.mixins import ResolveMixin

    class Later(ResolveMixin):
        def iter_references(self) -> list[Any]:
            return []

        def resolve(self, context: Any) -> object:
            return value

    return Later()

"""The project's own pipelines through Airflow, on the sandbox: nothing is replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from convergence.metering import Resource
from convergence.processors import connect
from convergence.processors.context import TaskServices
from convergence.state import org_runs
from support.airflow_runs import load_airflow_dag, run_dag, store_credential

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

ORG = "acme_corp"
SECRET = "sk-admin-sandbox-acme"
USAGE_COST = "openai.cost.usage_cost"


def clear_and_run(dag: Any, run_id: str) -> str:
    """Clear every step and the closing task of a run, as a person does; the run's state then."""
    from airflow.models import DagRun
    from airflow.models.taskinstance import clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState

    with create_session() as session:
        dag_run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one()
        cleared = [ti for ti in dag_run.task_instances if ti.task_id != "select_orgs"]
        clear_task_instances(cleared, session, dag_run_state=DagRunState.RUNNING)
        session.commit()
        dag_run.dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        for _ in range(20):
            session.expire_all()
            ready, _ = dag_run.update_state(session=session)
            if dag_run.state != DagRunState.RUNNING:
                break
            for ti in ready:
                ti.try_number += 1
                ti.state = TaskInstanceState.SCHEDULED
            session.commit()
            for ti in ready:
                _run_task(ti=ti, task=dag.task_dict[ti.task_id])
        return str(dag_run.state)


def cost_of(services: TaskServices) -> list[str]:
    """Every row of the org's cost, without the run that looked at it last."""
    query = f"SELECT * FROM `{services.settings.org_dataset(ORG)}.cost_daily`"
    rows = services.warehouse.client.query_and_wait(query)
    return sorted(str([(k, v) for k, v in row.items() if k != "x_RunId"]) for row in rows)


@pytest.mark.usefixtures("sandbox_environment")
def test_from_nothing_to_daily_cost_and_a_second_run_finds_nothing_to_do() -> None:
    days = [(datetime.now(UTC).date() - timedelta(days=back)).isoformat() for back in (2, 1)]
    asked = {"org_slug": ORG, "start_date": days[0], "end_date": days[1]}

    assert run_dag(USAGE_COST, asked)[0] == "failed", "a run before bootstrap"

    state, answer = run_dag("setup.initial.onetime_bootstrap", {})
    assert (state, answer["status"]) == ("success", "SUCCESS")
    organization = {
        "org_slug": ORG,
        "company_name": "Acme Corporation",
        "admin_email": "cfo@acme.example",
    }
    _, answer = run_dag("setup.organizations.dryrun", organization)
    assert answer["steps"]["validate_organization"]["ready_for_onboarding"] is True
    assert run_dag("setup.organizations.onboarding", organization)[0] == "success"

    assert run_dag(USAGE_COST, asked)[0] == "failed", "a run before the provider is connected"

    with connect.open_services() as services:
        store_credential(services, ORG, "OPENAI", SECRET)
    assert run_dag("openai.seed_csv", {"org_slug": ORG})[0] == "success"

    state, answer = run_dag(USAGE_COST, asked)
    assert state == "success", answer
    assert answer["orgs_succeeded"] == 1
    assert answer["rows_processed"] > 0
    with connect.open_services() as services:
        first = cost_of(services)
    assert first

    assert run_dag(USAGE_COST, asked)[0] == "success"
    with connect.open_services() as services:
        assert cost_of(services) == first
        with services.store.read() as conn:
            runs = org_runs.list_for_org(conn, ORG, limit=20)
    assert [one.status for one in runs if one.dag_id == USAGE_COST] == ["SUCCESS", "SUCCESS"]

    state, fleet = run_dag(USAGE_COST, {})
    assert (state, fleet["orgs_succeeded"]) == ("success", 1)
    state, nothing = run_dag(USAGE_COST, {})
    assert (state, nothing["orgs_succeeded"], nothing["orgs_failed"]) == ("success", 0, 0)


@pytest.mark.usefixtures("sandbox_environment")
def test_plans_become_months_and_an_edition_that_an_org_has_changes_nothing() -> None:
    org = "initech"
    assert run_dag("setup.initial.onetime_bootstrap", {})[0] == "success"
    company = {"org_slug": org, "company_name": "Initech", "admin_email": "cfo@initech.example"}
    assert run_dag("setup.organizations.onboarding", company)[0] == "success"
    with connect.open_services() as services:
        store_credential(services, org, "OPENAI", SECRET)
    state, edition = run_dag("platform.price_book_rollout", {})
    assert state == "success", edition
    told = edition["steps"]["load_openai_prices"]
    assert (told["orgs_changed"], told["days_to_reprice"]) == (1, {})
    assert edition["steps"]["load_anthropic_prices"]["orgs"] == 0

    state, seeded = run_dag("openai.seed_csv", {"org_slug": org})
    assert (state, seeded["rows_processed"]) == ("success", 0), "the edition was there"
    with connect.open_services() as services:
        dataset = services.settings.org_dataset(org)
        services.warehouse.client.query_and_wait(
            f"INSERT INTO `{dataset}.openai_subscriptions` (plan_name, billing_period, currency,"
            " is_override, seats, price_per_seat, effective_from, effective_basis, price_version,"
            " updated_at) VALUES ('chatgpt_business', 'monthly', 'USD', TRUE, 12, 25,"
            " DATE '2026-01-01', 'announced', 'own', TIMESTAMP '2026-01-01')"
        )
    state, months = run_dag("openai.subscriptions", {"org_slug": org, "date": "2026-02-10"})
    # One month, and each of its days in cost_daily.
    assert (state, months["rows_processed"]) == ("success", 1 + 28), months
    with connect.open_services() as services:
        query = f"SELECT EffectiveCost FROM `{dataset}.cost_daily` WHERE ServiceName = 'ChatGPT'"
        found = [row["EffectiveCost"] for row in services.warehouse.client.query_and_wait(query)]
    assert (len(found), sum(found)) == (28, 12 * 25)
    _, again = run_dag("platform.price_book_rollout", {})
    assert {step["orgs_changed"] for step in again["steps"].values()} == {0}


@pytest.mark.usefixtures("sandbox_environment")
def test_a_cleared_run_asks_the_provider_again_and_closes_again() -> None:
    org = "umbrella"
    assert run_dag("setup.initial.onetime_bootstrap", {})[0] == "success"
    company = {"org_slug": org, "company_name": "Umbrella", "admin_email": "cfo@umbrella.example"}
    assert run_dag("setup.organizations.onboarding", company)[0] == "success"
    with connect.open_services() as services:
        store_credential(services, org, "OPENAI", SECRET)
    day = (datetime.now(UTC).date() - timedelta(days=2)).isoformat()
    dag = load_airflow_dag(USAGE_COST)
    dag_run = dag.test(run_conf={"org_slug": org, "start_date": day, "end_date": day})
    assert str(dag_run.state) == "success"
    run_id = org_runs.org_run_id(USAGE_COST, dag_run.run_id, org)

    def requests() -> tuple[int, str]:
        with connect.open_services() as services:
            step = services.steps.list_steps(run_id)["extract_usage"]
            ended = services.steps.get_run(run_id)
            assert ended is not None
            return step.used[Resource.PROVIDER].calls, ended.status

    (first, status) = requests()
    assert (first > 0, status) == (True, "SUCCESS")
    assert clear_and_run(dag, dag_run.run_id) == "success"
    assert requests() == (2 * first, "SUCCESS")

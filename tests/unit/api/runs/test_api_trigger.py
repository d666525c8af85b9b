"""Triggering a pipeline: what is accepted, what is refused, and that nothing is left dangling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse, Response

from convergence.state import org_runs, slots
from convergence.state.org_runs import OrgRun
from convergence.state.slots import RunLimits
from support.api.env import ACME, GLOBEX, SEED, USAGE_COST, ApiEnv, InMemoryServices

RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"


@pytest.fixture
def acme(env: ApiEnv) -> dict[str, str]:
    return env.headers["acme"]


def runs_of(services: InMemoryServices, org: str = ACME) -> list[OrgRun]:
    with services.store.read() as conn:
        return org_runs.list_for_org(conn, org, limit=1000)


def test_a_day_is_accepted_and_handed_to_airflow_with_the_run_id_alone(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)

    assert answer.status_code == 202
    body = answer.json()
    assert body["status"] == "QUEUED"
    assert body["days"] == ["2025-11-25"]
    assert body["pipeline_id"] == "acme_corp-openai-usage-cost"
    assert body["status_url"].endswith(f"/pipelines/runs/{ACME}/{body['run_id']}")
    [run] = env.airflow.triggered(USAGE_COST)
    assert run["conf"] == {"org_run_id": body["run_id"]}
    [recorded] = runs_of(services)
    assert (recorded.run_id, recorded.status) == (body["run_id"], "QUEUED")
    assert recorded.dag_run_id == run["dag_run_id"]
    assert recorded.requested_by == "key_of_acme_corp"
    assert recorded.request_id == answer.headers["X-Request-ID"]


def test_a_range_includes_both_ends(client: TestClient, acme: dict[str, str]) -> None:
    body = {"start_date": "2025-11-23", "end_date": "2025-11-25"}
    answer = client.post(RUN, json=body, headers=acme)
    assert answer.json()["days"] == ["2025-11-23", "2025-11-24", "2025-11-25"]


@pytest.mark.parametrize("path", ["openai/usage_cost", "openai/cost/usage_cost"])
def test_an_alias_leads_to_the_same_pipeline(
    client: TestClient, acme: dict[str, str], path: str
) -> None:
    answer = client.post(f"/pipelines/run/{ACME}/{path}", json={}, headers=acme)
    assert answer.json()["pipeline"] == "openai/cost/usage_cost"


@pytest.mark.parametrize("sent", [{"json": {}}, {}, {"content": b""}])
def test_an_empty_body_asks_for_what_is_due(
    client: TestClient, acme: dict[str, str], sent: dict[str, Any]
) -> None:
    days = client.post(RUN, headers=acme, **sent).json()["days"]
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert len(days) == 30
    assert days[-1] == yesterday.isoformat()


def test_a_pipeline_without_days_runs_without_days(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    answer = client.post(f"/pipelines/run/{ACME}/openai/seed_csv", json={}, headers=acme)
    assert (answer.status_code, answer.json()["days"]) == (202, [])
    assert len(env.airflow.triggered(SEED)) == 1


def test_when_nothing_is_due_the_run_succeeds_at_once_and_costs_nothing(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    env.standing(ACME, connected_on=datetime.now(UTC).date() + timedelta(days=31))
    body = client.post(RUN, json={}, headers=acme).json()
    assert (body["status"], body["days"]) == ("SUCCESS", [])
    assert "No day is due" in body["message"]
    assert not env.airflow.runs
    seen = client.get(f"/pipelines/runs/{ACME}/{body['run_id']}", headers=acme).json()
    assert seen["status"] == "SUCCESS"
    with services.store.read() as conn:
        assert slots.count_usage(conn, ACME, now=datetime.now(UTC)) == (0, 0, 0)


TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"start_date": "2025-11-25", "end_date": "2025-11-23"}, "end_date"),
        ({"start_date": "2024-01-01", "end_date": "2025-11-23"}, "end_date"),
        ({"start_date": "2025-11-25"}, "end_date"),
        ({"end_date": "2025-11-25"}, "start_date"),
        ({"date": "2025-11-25", "start_date": "2025-11-23", "end_date": "2025-11-25"}, "date"),
        ({"date": "2025-02-30"}, "date"),
        ({"date": "yesterday"}, "date"),
        ({"date": "1970-01-01"}, "date"),
        ({"date": 20251125}, "date"),
        ({"date": "20251125"}, "date"),
        ({"date": "2025-11-25T00:00:00Z"}, "date"),
        ({"date": "\uff12\uff10\uff12\uff15-11-25"}, "date"),
        ({"date": ["2025-11-25"]}, "date"),
        ({"date": (TODAY + timedelta(days=1)).isoformat()}, "date"),
        ({"dates": "2025-11-25"}, "dates"),
        ({"org_slug": GLOBEX}, "org_slug"),
        ({"org_run_id": "run_000000000000000000000000"}, "org_run_id"),
    ],
)  # fmt: skip
def test_wrong_days_and_unknown_fields_are_named(
    *,
    client: TestClient,
    env: ApiEnv,
    acme: dict[str, str],
    services: InMemoryServices,
    body: dict[str, Any],
    named: str,
) -> None:
    answer = client.post(RUN, json=body, headers=acme)
    assert answer.status_code == 422
    problem = answer.json()
    told = problem["detail"] + str(problem.get("errors"))
    assert named in told
    assert not env.airflow.runs
    assert not runs_of(services)


def test_an_unknown_field_is_answered_with_those_that_are_known(
    client: TestClient, acme: dict[str, str]
) -> None:
    problem = client.post(RUN, json={"start_dat": "2025-11-25"}, headers=acme).json()
    assert {"date", "start_date", "end_date"} <= set(problem["accepted"])
    assert problem["did_you_mean"] == "start_date"


@pytest.mark.parametrize(
    "path",
    ["openai/none", "none/cost/usage_cost", "setup/organizations/onboarding", "openai/../cost",
     "openai/cost/USAGE_COST", "openai/%2e%2e/usage_cost", "system/plans"],
)  # fmt: skip
def test_what_is_no_pipeline_of_an_org_is_not_found(
    client: TestClient, acme: dict[str, str], path: str
) -> None:
    answer = client.post(f"/pipelines/run/{ACME}/{path}", json={}, headers=acme)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"subscription_status": "SUSPENDED"}, 403, "subscription_inactive"),
        ({"subscription_status": "CANCELLED"}, 403, "subscription_inactive"),
        ({"subscription_status": None}, 403, "subscription_inactive"),
        (
            {"subscription_status": "TRIAL", "trial_ends_at": datetime(2020, 1, 1, tzinfo=UTC)},
            403,
            "subscription_inactive",
        ),
        ({"credential_id": None}, 409, "integration_invalid"),
        ({"validation_status": "PENDING"}, 409, "integration_invalid"),
        ({"validation_status": "INVALID"}, 409, "integration_invalid"),
    ],
)
def test_the_gate_refuses_and_leaves_nothing(
    *,
    client: TestClient,
    env: ApiEnv,
    acme: dict[str, str],
    services: InMemoryServices,
    changes: dict[str, Any],
    status: int,
    code: str,
) -> None:
    env.standing(ACME, **changes)
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not env.airflow.runs
    assert not runs_of(services)


@pytest.mark.parametrize(
    ("dag", "status", "code"),
    [
        ({"is_paused": True}, 409, "pipeline_unavailable"),
        ({"is_stale": True}, 409, "pipeline_unavailable"),
        ({"has_import_errors": True}, 409, "pipeline_unavailable"),
        (None, 409, "pipeline_unavailable"),
    ],
)
def test_a_paused_stale_broken_or_unknown_dag_is_a_conflict_at_once(
    *,
    client: TestClient,
    env: ApiEnv,
    acme: dict[str, str],
    services: InMemoryServices,
    dag: dict[str, bool] | None,
    status: int,
    code: str,
) -> None:
    env.airflow.dags.pop(USAGE_COST)
    if dag is not None:
        env.airflow.add_dag(USAGE_COST, **dag)
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not [run for run in runs_of(services) if run.is_live]


def refuse_triggers(status: int) -> Any:
    def refuse(request: Any) -> Response | None:
        if request.method == "POST" and request.url.path.endswith("/dagRuns"):
            return JSONResponse({"detail": "no"}, status_code=status)
        return None

    return refuse


@pytest.mark.parametrize(
    ("airflow_says", "status", "code"),
    [
        (400, 409, "configuration_invalid"),
        (404, 409, "pipeline_unavailable"),
        (409, 409, "pipeline_unavailable"),
        (403, 503, "orchestrator_unavailable"),
        (500, 503, "orchestrator_unavailable"),
        (503, 503, "orchestrator_unavailable"),
    ],
)
def test_a_run_that_airflow_does_not_take_ends_with_a_reason_and_gives_its_slot_back(
    *,
    client: TestClient,
    env: ApiEnv,
    acme: dict[str, str],
    services: InMemoryServices,
    airflow_says: int,
    status: int,
    code: str,
) -> None:
    env.airflow.broken = refuse_triggers(airflow_says)
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    [run] = runs_of(services)
    assert run.status == "FAILED"
    assert run.error is not None
    assert run.error.code == code
    with services.store.read() as conn:
        assert slots.count_usage(conn, ACME, now=datetime.now(UTC)) == (0, 0, 0)

    env.airflow.broken = None
    again = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert again.status_code == 202
    assert again.json()["run_id"] != run.run_id


def test_a_run_whose_reply_was_lost_is_accepted_when_airflow_has_it(
    client: TestClient, env: ApiEnv, acme: dict[str, str], services: InMemoryServices
) -> None:
    taken: list[str] = []

    def take_and_fail(request: Any) -> Response | None:
        if request.method == "POST" and request.url.path.endswith("/dagRuns") and not taken:
            taken.append("once")
            [run] = runs_of(services)
            key = (USAGE_COST, run.dag_run_id)
            env.airflow.runs[key] = {
                "dag_id": USAGE_COST, "dag_run_id": run.dag_run_id, "state": "queued", "conf": {},
            }  # fmt: skip
            return JSONResponse({"detail": "lost"}, status_code=502)
        return None

    env.airflow.broken = take_and_fail
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    assert answer.status_code == 202
    [run] = runs_of(services)
    assert run.status == "QUEUED"


def test_the_quota_refuses_with_the_limit_its_use_and_when_it_resets(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    env.standing(ACME, limits=RunLimits(runs_per_day=1, runs_per_month=9, concurrent_runs=9))
    assert client.post(RUN, json={"date": "2025-11-25"}, headers=acme).status_code == 202
    answer = client.post(RUN, json={"date": "2025-11-24"}, headers=acme)
    assert answer.status_code == 429
    problem = answer.json()
    assert (problem["limit"], problem["maximum"], problem["used"]) == ("runs_per_day", 1, 1)
    resets_at = datetime.fromisoformat(problem["resets_at"])
    assert resets_at.date() == TODAY + timedelta(days=1)
    assert int(answer.headers["Retry-After"]) > 0
    assert len(env.airflow.runs) == 1


def test_of_many_triggers_at_once_only_as_many_as_the_limit_leaves_are_accepted(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    env.standing(ACME, limits=RunLimits(runs_per_day=3, runs_per_month=9, concurrent_runs=9))
    days = [date(2025, 10, 1) + timedelta(days=back) for back in range(16)]

    def trigger(day: date) -> int:
        return client.post(RUN, json={"date": day.isoformat()}, headers=acme).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(trigger, days))
    assert codes == [202] * 3 + [429] * 13
    assert len(env.airflow.runs) == 3


def test_equal_triggers_within_a_minute_are_one_run(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    def trigger(_: int) -> str:
        answer = client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
        assert answer.status_code == 202
        run_id: str = answer.json()["run_id"]
        return run_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(trigger, range(24)))) == 1
    assert len(env.airflow.runs) == 1


def test_an_idempotency_key_replays_the_answer_and_says_so(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    headers = {**acme, "Idempotency-Key": "monday"}
    first = client.post(RUN, json={"date": "2025-11-25"}, headers=headers)
    again = client.post(RUN, json={"date": "2025-11-25"}, headers=headers)
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = client.post(RUN, json={"date": "2025-11-24"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(env.airflow.runs) == 1


def test_two_orgs_may_use_the_same_idempotency_key(client: TestClient, env: ApiEnv) -> None:
    for who, org in (("acme", ACME), ("globex", GLOBEX)):
        headers = {**env.headers[who], "Idempotency-Key": "monday"}
        path = f"/pipelines/run/{org}/openai/cost/usage_cost"
        assert client.post(path, json={"date": "2025-11-25"}, headers=headers).status_code == 202
    assert len(env.airflow.runs) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\xe9"])
def test_a_wrong_idempotency_key_is_refused(
    client: TestClient, env: ApiEnv, acme: dict[str, str], key: str
) -> None:
    sent = {**acme, "Idempotency-Key": key}
    headers = {name.encode(): value.encode("latin-1") for name, value in sent.items()}
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=headers)
    assert answer.status_code == 422
    assert not env.airflow.runs


def test_a_suspended_org_gets_no_replay_either(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    headers = {**acme, "Idempotency-Key": "monday"}
    client.post(RUN, json={"date": "2025-11-25"}, headers=headers)
    env.standing(ACME, subscription_status="SUSPENDED")
    assert client.post(RUN, json={"date": "2025-11-25"}, headers=headers).status_code == 403


def test_an_expired_airflow_token_is_renewed_without_the_caller_noticing(
    client: TestClient, env: ApiEnv, acme: dict[str, str]
) -> None:
    client.post(RUN, json={"date": "2025-11-25"}, headers=acme)
    env.airflow.expire_token()
    assert client.post(RUN, json={"date": "2025-11-24"}, headers=acme).status_code == 202
    assert env.airflow.calls.count("POST /auth/token") == 2

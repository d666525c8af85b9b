"""The queue and an org's own schedules, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from convergence.pipelines.files.params import ParamSpec
from convergence.state import org_runs, outbox, pipeline_configs, slots
from convergence.state.slots import RunLimits
from support.api.env import ACME, GLOBEX, USAGE_COST, ApiEnv, InMemoryServices

CONFIG = f"/pipelines/config/{ACME}/openai-usage-cost"
RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"


def queue_one(client: TestClient, env: ApiEnv, day: str, **more: Any) -> Any:
    body = {"pipeline": "openai/cost/usage_cost", "date": day, **more}
    return client.post("/scheduler/trigger", json=body, headers=env.headers["acme"])


def services_of(client: TestClient) -> InMemoryServices:
    found = cast("FastAPI", client.app).state.services
    assert isinstance(found, InMemoryServices)
    return found


@pytest.fixture
def narrow(env: ApiEnv) -> None:
    """A plan with one run at once."""
    env.standing(ACME, limits=RunLimits(50, 500, 1))


def test_with_a_free_slot_it_starts_at_once(client: TestClient, env: ApiEnv) -> None:
    answer = queue_one(client, env, "2025-11-25")
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["status"], body["days"]) == ("STARTED", ["2025-11-25"])
    [run] = env.airflow.triggered(USAGE_COST)
    assert run["conf"] == {"org_run_id": body["run_id"]}
    detail = client.get(f"/pipelines/runs/{ACME}/{body['run_id']}", headers=env.headers["acme"])
    assert detail.json()["status"] == "QUEUED"


@pytest.mark.usefixtures("narrow")
def test_without_one_it_waits_and_starts_once_there_is(client: TestClient, env: ApiEnv) -> None:
    first = queue_one(client, env, "2025-11-25").json()
    second = queue_one(client, env, "2025-11-26").json()
    assert (second["status"], second["reason"]) == (
        "QUEUED",
        "The plan allows 1 runs at once; 1 are used.",
    )
    key = env.headers["acme"]
    none = client.post("/scheduler/queue/process", headers=key).json()
    assert (none["started"], none["waiting"]) == (0, 1)
    assert [one["queue_id"] for one in none["entries"]] == [second["queue_id"]]

    client.post(f"/pipelines/runs/{ACME}/{first['run_id']}/cancel", headers=key)
    done = client.post("/scheduler/queue/process", headers=key).json()
    assert (done["started"], done["waiting"], done["entries"]) == (1, 0, [])
    listed = client.get("/scheduler/queue", headers=key).json()["entries"]
    assert [one["status"] for one in listed] == ["STARTED", "STARTED"]
    waiting = client.get("/scheduler/queue", params={"status": "QUEUED"}, headers=key)
    assert waiting.json() == {"entries": []}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_paused": True}, "The pipeline is paused by its operator."),
        ({"is_stale": True}, "The pipeline is not loaded now; its file may be broken or new."),
        (
            {"has_import_errors": True},
            "The pipeline is not loaded now; its file may be broken or new.",
        ),
        (None, "The pipeline can't be started now."),
    ],
)
def test_what_can_not_run_waits_without_a_slot_and_starts_when_it_can(
    client: TestClient, env: ApiEnv, change: dict[str, bool] | None, reason: str
) -> None:
    env.standing(ACME, limits=RunLimits(20, 300, 3))
    if change is None:
        del env.airflow.dags[USAGE_COST]
    else:
        env.airflow.add_dag(USAGE_COST, **change)
    waiting = [queue_one(client, env, f"2025-11-2{day}").json() for day in range(3)]
    assert [(one["status"], one["reason"]) for one in waiting] == [("QUEUED", reason)] * 3
    key = env.headers["acme"]
    with services_of(client).store.read() as conn:
        assert slots.count_usage(conn, ACME, now=datetime.now(UTC)) == (0, 0, 0)
    seed = client.post(f"/pipelines/run/{ACME}/openai/seed_csv", json={}, headers=key)
    assert seed.status_code == 202, seed.text
    assert env.airflow.triggered(USAGE_COST) == []

    env.airflow.add_dag(USAGE_COST)
    services_of(client).forget_dag(USAGE_COST)
    done = client.post("/scheduler/queue/process", headers=key).json()
    assert (done["started"], done["waiting"]) == (2, 1)


@pytest.mark.usefixtures("narrow")
def test_a_neighbour_sees_and_starts_nothing_of_it(client: TestClient, env: ApiEnv) -> None:
    queue_one(client, env, "2025-11-25")
    queue_one(client, env, "2025-11-26")
    key = env.headers["globex"]
    assert client.get("/scheduler/queue", headers=key).json() == {"entries": []}
    done = client.post("/scheduler/queue/process", headers=key).json()
    assert done == {"started": 0, "waiting": 0, "failed": 0, "entries": []}


@pytest.mark.parametrize(
    "body",
    [
        {"pipeline": "openai/cost/usage_cost", "date": "soon"},
        {"pipeline": "openai/cost/usage_cost", "date": "2099-01-01"},
        {"pipeline": "openai/cost/usage_cost", "params": {"nonsense": 1}},
        {"pipeline": "openai/cost/usage_cost", "priority": 11},
        {"pipeline": "openai/cost/usage_cost", "org_slug": GLOBEX},
        {},
    ],
)
def test_what_makes_no_sense_is_not_queued(
    client: TestClient, env: ApiEnv, body: dict[str, Any]
) -> None:
    answer = client.post("/scheduler/trigger", json=body, headers=env.headers["acme"])
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), answer.text
    assert client.get("/scheduler/queue", headers=env.headers["acme"]).json()["entries"] == []


def test_an_unknown_pipeline_and_a_suspended_org_are_refused(
    client: TestClient, env: ApiEnv
) -> None:
    body = {"pipeline": "no/such/pipeline"}
    answer = client.post("/scheduler/trigger", json=body, headers=env.headers["acme"])
    assert answer.status_code == 404
    env.standing(ACME, subscription_status="SUSPENDED")
    assert queue_one(client, env, "2025-11-25").json()["code"] == "subscription_inactive"


def test_a_replayed_request_queues_once(client: TestClient, env: ApiEnv) -> None:
    body = {"pipeline": "openai/cost/usage_cost", "date": "2025-11-25"}
    headers = {**env.headers["acme"], "Idempotency-Key": "queue-1"}
    first = client.post("/scheduler/trigger", json=body, headers=headers)
    again = client.post("/scheduler/trigger", json=body, headers=headers)
    assert again.json() == first.json()
    assert len(env.airflow.triggered(USAGE_COST)) == 1


# --- configuration ----------------------------------------------------------------------------


def test_a_pipeline_is_as_its_file_says_until_it_is_configured(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    key = env.headers["acme"]
    before = client.get(CONFIG, headers=key).json()
    assert (before["enabled"], before["schedule"], before["updated_at"]) == (True, None, None)
    assert before["common_schedule"]
    asked = {"schedule": "30 4 * * *", "timezone": "Europe/Berlin"}
    put = client.put(CONFIG, json=asked, headers=key)
    assert put.status_code == 200, put.text
    assert client.get(CONFIG, headers=key).json() == put.json()
    assert put.json()["next_due_at"][11:16] in {"02:30", "03:30"}
    assert put.json()["updated_by"] == f"key_of_{ACME}"
    other = f"/pipelines/config/{GLOBEX}/openai-usage-cost"
    assert client.get(other, headers=env.headers["globex"]).json()["schedule"] is None
    with services.store.read() as conn:
        [told] = outbox.list_waiting_rows(conn, "org_audit_logs")
    assert (told["action"], told["target"]) == ("pipeline.configure", "openai-usage-cost")


def test_a_pipeline_that_is_switched_off_does_not_run(client: TestClient, env: ApiEnv) -> None:
    key = env.headers["acme"]
    client.put(CONFIG, json={"enabled": False, "schedule": "@daily"}, headers=key)
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "pipeline_disabled")
    queued = queue_one(client, env, "2025-11-25")
    assert (queued.status_code, queued.json()["code"]) == (409, "pipeline_disabled")
    assert client.get("/scheduler/queue", headers=key).json()["entries"] == []
    assert env.airflow.triggered(USAGE_COST) == []
    assert client.get(CONFIG, headers=key).json()["next_due_at"] is None
    client.put(CONFIG, json={}, headers=key)
    assert client.post(RUN, json={"date": "2025-11-25"}, headers=key).status_code == 202


@pytest.fixture
def grain(services: InMemoryServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline with its own params in addition to days."""
    spec = services.catalog.find_pipeline("openai/cost/usage_cost")
    params = {
        "grain": ParamSpec(type="string", enum=("day", "hour"), default="day"),
        "depth": ParamSpec(type="integer", minimum=1),
    }
    wider = spec.model_copy(update={"params": {**spec.params, **params}})
    monkeypatch.setattr(services.catalog, "find_pipeline", lambda _path: wider)
    monkeypatch.setattr(services.catalog, "list_runnable", lambda: [wider])


@pytest.mark.usefixtures("grain")
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"grain": "hour", "depth": 3}),
        ({"depth": 5}, {"grain": "hour", "depth": 5}),
        ({"grain": "day", "depth": None}, {"grain": "day", "depth": 3}),
    ],
)
def test_a_run_takes_what_it_is_given_and_else_what_the_org_has_set(
    client: TestClient,
    env: ApiEnv,
    services: InMemoryServices,
    *,
    queued: bool,
    given: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    key = env.headers["acme"]
    put = client.put(CONFIG, json={"params": {"grain": "hour", "depth": 3}}, headers=key)
    assert put.status_code == 200, put.text
    if queued:
        answer = queue_one(client, env, "2025-11-25", params=given)
    else:
        answer = client.post(RUN, json={"date": "2025-11-25", **given}, headers=key)
    assert answer.status_code == 202, answer.text
    with services.store.read() as conn:
        run = org_runs.get_run(conn, answer.json()["run_id"])
    assert run is not None
    assert run.params == expected


@pytest.mark.usefixtures("grain")
def test_only_what_was_set_is_kept_so_that_a_default_may_change(
    client: TestClient, env: ApiEnv
) -> None:
    key = env.headers["acme"]
    put = client.put(CONFIG, json={"params": {"depth": 3}}, headers=key)
    assert put.json()["params"] == {"depth": 3}
    wrong = client.put(CONFIG, json={"params": {"grain": "year"}}, headers=key)
    assert wrong.status_code == 422


def test_settings_that_the_pipeline_takes_no_longer_are_named_at_the_trigger(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    key = env.headers["acme"]
    client.put(CONFIG, json={}, headers=key)
    with services.store.begin() as conn:
        known = pipeline_configs.get_config(conn, ACME, "openai-usage-cost")
        assert known is not None
        pipeline_configs.put_config(conn, replace(known, params={"gone": 1}))
    answer = client.post(RUN, json={"date": "2025-11-25"}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "pipeline_unavailable")
    assert "gone is not a param" in answer.json()["detail"]


def test_every_change_of_settings_goes_to_the_warehouse_too(
    client: TestClient, env: ApiEnv, services: InMemoryServices
) -> None:
    key = env.headers["acme"]
    client.put(CONFIG, json={"schedule": "@daily"}, headers=key)
    client.put(CONFIG, json={"enabled": False}, headers=key)
    with services.store.read() as conn:
        rows = outbox.list_waiting_rows(conn, "org_pipeline_configs")
    assert [(row["enabled"], row["schedule"]) for row in rows] == [(True, "@daily"), (False, None)]
    assert [row["org_slug"] for row in rows] == [ACME, ACME]


@pytest.mark.parametrize(
    "body",
    [
        {"schedule": "every day"},
        {"schedule": "61 * * * *"},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"enabled": "yes"},
        {"params": {"nonsense": 1}},
        {"params": {"start_date": "2025-11-01"}},
        {"more": 1},
    ],
)
def test_a_configuration_that_makes_no_sense_changes_nothing(
    client: TestClient, env: ApiEnv, body: dict[str, Any]
) -> None:
    answer = client.put(CONFIG, json=body, headers=env.headers["acme"])
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), answer.text
    assert client.get(CONFIG, headers=env.headers["acme"]).json()["updated_at"] is None


def test_an_unknown_pipeline_has_no_configuration(client: TestClient, env: ApiEnv) -> None:
    for pipeline in ("no-such", "platform-tick", "platform/tick", "openai/cost", "%2e%2e"):
        path = f"/pipelines/config/{ACME}/{pipeline}"
        assert client.get(path, headers=env.headers["acme"]).status_code == 404


def test_a_pipeline_is_configured_by_its_id_its_path_or_an_alias(
    client: TestClient, env: ApiEnv
) -> None:
    headers = env.headers["acme"]
    assert client.put(CONFIG, json={"enabled": False}, headers=headers).status_code == 200
    for name in ("openai/cost/usage_cost", "openai/usage_cost"):
        told = client.get(f"/pipelines/config/{ACME}/{name}", headers=headers).json()
        assert (told["pipeline_id"], told["enabled"]) == ("openai-usage-cost", False)

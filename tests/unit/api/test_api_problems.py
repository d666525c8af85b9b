"""Each error is a problem document, without internal details."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.api.app import create_app
from convergence.api.http import body
from convergence.api.http.context import accept_request_id
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.errors import RetryableError, SettingsError, WarehouseError
from convergence.settings import Settings
from support.api.env import ACME, ApiEnv, InMemoryServices, make_settings

RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"
SECRET = "sk-admin-0123456789abcdefghij"


def check_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["type"] == f"urn:convergence:problem:{code}"
    assert {"title", "detail"} <= set(problem)
    return problem


@pytest.mark.parametrize("path", ["/", "/nothing", "/pipelines/run", "/health/", "//health"])
def test_a_path_that_leads_nowhere(client: TestClient, path: str) -> None:
    check_problem(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PATCH", "/health", "GET"), ("GET", RUN, "POST"), ("DELETE", "/admin/bootstrap", "POST")],
)
def test_a_wrong_method(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


MALFORMED = [
    b"{", b"[1,", b"'a'", b"\xff\xfe", b'{"date": NaN}', b'{"date": Infinity}', b'{"a": 1, "a": 2}',
    b'{"a": "\\ud800"}', b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b"[" * 5000, b'{"a":' * 5000,
    b'{"a": ' + b"[" * 17 + b"]" * 17 + b"}", b'{"a": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}",
]  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED, ids=lambda raw: repr(raw[:20]))
def test_a_body_that_can_not_be_read_is_refused(
    client: TestClient, env: ApiEnv, content: bytes
) -> None:
    headers = {**env.headers["acme"], "Content-Type": "application/json"}
    check_problem(client.post(RUN, content=content, headers=headers), 400, "bad_request")
    assert not env.airflow.runs


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "",
     "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)  # fmt: skip
def test_what_is_not_json_is_refused(client: TestClient, env: ApiEnv, media_type: str) -> None:
    headers = {**env.headers["acme"], "Content-Type": media_type}
    answer = client.post(RUN, content=b"{}", headers=headers)
    check_problem(answer, 415, "unsupported_media_type")


def test_a_body_above_the_cap_is_refused_wherever_its_length_is_told(
    client: TestClient, env: ApiEnv
) -> None:
    headers = {**env.headers["acme"], "Content-Type": "application/json"}
    large = b'{"a": "' + b"x" * body.MAX_BYTES + b'"}'
    check_problem(client.post(RUN, content=large, headers=headers), 413, "body_too_large")
    chunks = (large[at : at + 8192] for at in range(0, len(large), 8192))
    check_problem(client.post(RUN, content=chunks, headers=headers), 413, "body_too_large")


@pytest.mark.parametrize("document", [[], "text", 7, True, None])
def test_a_body_that_is_no_object_is_refused(
    client: TestClient, env: ApiEnv, document: object
) -> None:
    path = f"/integrations/{ACME}/openai/setup"
    answer = client.post(path, json=document, headers=env.headers["acme"])
    check_problem(answer, 422, "request_invalid")


def test_an_unknown_field_is_named_with_the_known_ones(client: TestClient, env: ApiEnv) -> None:
    body = {"org_slug": "acme", "company": "A", "admin_email": "a@b.example"}
    answer = client.post("/organizations/onboard", json=body, headers=env.headers["root"])
    problem = check_problem(answer, 422, "request_invalid")
    by_field = {fault["field"]: fault for fault in problem["errors"]}
    assert by_field["body.company"]["did_you_mean"] == "company_name"
    assert "admin_email" in by_field["body.company"]["accepted"]
    assert "body.company_name" in by_field


def test_every_fault_of_an_organization_is_told_at_once(client: TestClient, env: ApiEnv) -> None:
    body = {
        "org_slug": "Acme!", "company_name": "A", "admin_email": "nobody",
        "subscription_plan": "STARTR",
    }  # fmt: skip
    answer = client.post("/organizations/onboard", json=body, headers=env.headers["root"])
    problem = check_problem(answer, 422, "request_invalid")
    fields = [fault["field"] for fault in problem["errors"]]
    assert fields == ["body.org_slug", "body.admin_email", "body.subscription_plan"]
    assert problem["errors"][2]["did_you_mean"] == "STARTER"
    assert not env.airflow.runs


@pytest.mark.parametrize(
    "value", ["a\nb", "a\x07b", "", " ", "x" * 201, 5, None, ["a"], {"a": 1}, True]
)
def test_text_fields_take_one_line_of_text(client: TestClient, env: ApiEnv, value: object) -> None:
    body = {"org_slug": "acme", "company_name": value, "admin_email": "a@b.example"}
    answer = client.post("/organizations/onboard", json=body, headers=env.headers["root"])
    check_problem(answer, 422, "request_invalid")


def test_a_refused_value_is_not_repeated(client: TestClient, env: ApiEnv) -> None:
    path = f"/integrations/{ACME}/openai/setup"
    for sent in ({"credential": [SECRET]}, {"credential": SECRET, "extra": SECRET}, {SECRET: 1}):
        answer = client.post(path, json=sent, headers=env.headers["acme"])
        check_problem(answer, 422, "request_invalid")
        assert SECRET not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=%00",
        "cursor=abc",
        "cursor=" + "a" * 201,
        "status=DONE",
        "statuss=FAILED",
        "limit=3&x=%F0%9F",
    ],
)
def test_wrong_query_parameters(client: TestClient, env: ApiEnv, query: str) -> None:
    answer = client.get(f"/pipelines/runs/{ACME}?{query}", headers=env.headers["acme"])
    check_problem(answer, 422, "request_invalid")


def test_an_unforeseen_error_tells_nothing_but_the_request_id(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    router = guarded_router(tag="test")

    @router.get("/crash")
    @require_scope(Scope.PUBLIC)
    async def crash() -> None:
        raise RuntimeError(f"the key {SECRET} in a secret place")

    @router.get("/refused")
    @require_scope(Scope.PUBLIC)
    async def refused() -> None:
        raise WarehouseError(f"Bad query with {SECRET}", job_id="job_1")

    @router.get("/passing")
    @require_scope(Scope.PUBLIC)
    async def passing() -> None:
        raise RetryableError("Try again.", reason="inside.example", retry_after=7)

    app.include_router(router)
    with TestClient(app, raise_server_exceptions=False) as client:
        crashed = client.get("/crash")
        check_problem(crashed, 500, "internal_error")
        assert "secret place" not in crashed.text
        assert "RuntimeError" not in crashed.text
        problem = check_problem(client.get("/refused"), 500, "warehouse_refused")
        assert "query" not in problem["detail"]
        assert "job_1" not in str(problem)
        answer = client.get("/passing")
        check_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "7"
        assert "inside.example" not in answer.text
    assert crashed.json()["request_id"] in caplog.text


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("order-4711.retry:2", True), ("x" * 128, True), ("short", False), ("x" * 129, False),
        ("with space here", False), ("<script>alert(1)</script>", False), ("a\tb\tc\td\te", False),
    ],
)  # fmt: skip
def test_a_request_id_is_kept_when_it_is_harmless(
    client: TestClient, offered: str, *, kept: bool
) -> None:
    answered = client.get("/health", headers={"X-Request-ID": offered}).headers["X-Request-ID"]
    assert (answered == offered) is kept
    assert accept_request_id(answered) == answered


def test_every_answer_carries_the_security_headers(client: TestClient, env: ApiEnv) -> None:
    for answer in (client.get("/health"), client.get("/nothing"), client.post(RUN)):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_only_named_origins_may_read_answers(tmp_path: Path, env: ApiEnv) -> None:
    own = make_settings(tmp_path, cors_origins=("https://app.example",))
    with TestClient(create_app(services=InMemoryServices(own, env))) as client:
        mine = client.get("/health", headers={"Origin": "https://app.example"})
        assert mine.headers["Access-Control-Allow-Origin"] == "https://app.example"
        other = client.get("/health", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        preflight = client.options(
            RUN,
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "X-API-Key, Idempotency-Key",
            },
        )
        assert preflight.status_code == 200
        assert "X-Request-ID" in preflight.headers


def test_production_refuses_a_wrong_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("DISABLE_AUTH", "true")
    with pytest.raises(SettingsError) as caught:
        create_app()
    faults = str(caught.value.details["errors"])
    assert "CA_ROOT_API_KEY" in faults
    assert "DISABLE_AUTH" in faults


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=json_values, path=st.sampled_from(
    [RUN, f"/integrations/{ACME}/openai/setup", f"/pipelines/runs/{ACME}/x/cancel"]
))  # fmt: skip
def test_no_json_whatever_makes_the_api_fail(
    client: TestClient, env: ApiEnv, document: object, path: str
) -> None:
    headers = {**env.headers["acme"], "Content-Type": "application/json"}
    answer = client.post(path, content=json.dumps(document), headers=headers)
    assert answer.status_code < 500, answer.text
    assert answer.status_code < 400 or answer.headers["content-type"].endswith("problem+json")


def test_the_access_line_names_who_and_what_but_no_key(
    client: TestClient, env: ApiEnv, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="convergence.api.access"):
        client.get(f"/pipelines/runs/{ACME}?limit=3", headers=env.headers["acme"])
    access = [one for one in caplog.records if one.name == "convergence.api.access"]
    [line] = [record.getMessage() for record in access]
    assert line.startswith("GET /pipelines/runs/{org} 200 ")
    assert "caller=key_of_acme_corp org=acme_corp" in line
    assert "_api_" not in line


def test_settings_of_the_app_are_those_of_its_services(
    settings: Settings, services: InMemoryServices
) -> None:
    assert create_app(services=services).state.services.settings is settings

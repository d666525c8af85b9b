"""Every route with every kind of key: generated, so that a new route is in it by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from convergence.api.app import create_app
from convergence.api.http.routing import GuardedRoute, check_every_route_is_guarded, guarded_router
from convergence.api.http.scopes import Scope, list_org_scopes, require_scope
from convergence.errors import ConfigurationError, SettingsError
from support.api.env import (
    ACME,
    ACME_KEY,
    GLOBEX,
    ROOT_KEY,
    ApiEnv,
    InMemoryServices,
    make_settings,
)
from support.api.routes import PATH_VALUES, ROUTES, is_problem, name_route

CLOSED = [route for route in ROUTES if route.scope is not Scope.PUBLIC]
OF_ORGS = [route for route in CLOSED if route.scope.for_orgs]
IN_AN_ORG = [route for route in OF_ORGS if "{org}" in route.path]
OF_ROOT = [route for route in CLOSED if route.scope is Scope.ADMIN]


def call(client: TestClient, route: APIRoute, *, org: str = ACME, **sent: Any) -> Any:
    path = route.path_format.format(**{**PATH_VALUES, "org": org})
    return client.request(next(iter(route.methods)), path, **sent)


def test_the_matrix_has_every_kind_of_route() -> None:
    assert len(OF_ROOT) >= 6
    assert len(IN_AN_ORG) >= 10


@pytest.mark.parametrize("route", CLOSED, ids=name_route)
def test_nobody_gets_in_without_a_key(client: TestClient, route: APIRoute) -> None:
    answer = call(client, route)
    assert is_problem(answer, 401, "not_authenticated")
    assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("route", OF_ORGS, ids=name_route)
@pytest.mark.parametrize("header", ["X-CA-Root-Key", "X-Admin-Key"])
def test_the_root_key_opens_no_org_route(client: TestClient, route: APIRoute, header: str) -> None:
    assert is_problem(call(client, route, headers={header: ROOT_KEY}), 403, "forbidden")


@pytest.mark.parametrize("route", OF_ROOT, ids=name_route)
def test_an_org_key_opens_no_root_route(client: TestClient, env: ApiEnv, route: APIRoute) -> None:
    assert is_problem(call(client, route, headers=env.headers["acme"]), 403, "forbidden")


@pytest.mark.parametrize("route", CLOSED, ids=name_route)
def test_two_keys_are_refused(client: TestClient, route: APIRoute) -> None:
    headers = {"X-CA-Root-Key": ROOT_KEY, "X-API-Key": ACME_KEY}
    assert is_problem(call(client, route, headers=headers), 400, "bad_request")


WRONG_KEYS = [
    "", "x", f"{ACME}_api_", f"{ACME}_api_AAAAbbbb1111222", f"{ACME}_api_AAAAbbbb1111222!",
    f"{GLOBEX}_api_AAAAbbbb11112222", f"{ACME}_api_ZZZZbbbb11112222", "_api_AAAAbbbb11112222",
    f"{ACME}_API_AAAAbbbb11112222", f"{ACME_KEY}x", "k" * 9000, "caf\xe9_api_AAAAbbbb11112222",
    f"{ACME}\t_api_AAAAbbbb11112222", "' OR 1=1 --",
]  # fmt: skip


@pytest.mark.parametrize("key", WRONG_KEYS)
@pytest.mark.parametrize("header", ["X-API-Key", "X-CA-Root-Key", "X-Admin-Key"])
def test_wrong_keys_all_look_alike(client: TestClient, header: str, key: str) -> None:
    path = f"/pipelines/runs/{ACME}" if header == "X-API-Key" else "/admin/operations/x"
    answer = client.get(path, headers={header.encode(): key.encode("latin-1")})
    assert is_problem(answer, 401, "not_authenticated")
    bare = client.get(path).json()
    assert {**answer.json(), "request_id": ""} == {**bare, "request_id": ""}


@pytest.mark.parametrize("route", IN_AN_ORG, ids=name_route)
def test_a_foreign_org_and_one_that_does_not_exist_get_the_same_answer(
    client: TestClient, env: ApiEnv, route: APIRoute
) -> None:
    answers = [
        call(client, route, org=org, headers=env.headers["acme"])
        for org in (GLOBEX, "no_such_org", "x", "Ünïcode", "a" * 300, "acme_corp ")
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert all(is_problem(answer, 404, "not_found") for answer in answers)
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize("route", IN_AN_ORG, ids=name_route)
def test_the_foreign_org_is_refused_before_its_body_is_read(
    client: TestClient, env: ApiEnv, route: APIRoute
) -> None:
    sent = {"content": b"{", "headers": {**env.headers["acme"], "Content-Type": "text/html"}}
    assert is_problem(call(client, route, org=GLOBEX, **sent), 404, "not_found")


@pytest.mark.parametrize("route", OF_ORGS, ids=name_route)
def test_a_key_without_the_scope_is_refused(
    client: TestClient, env: ApiEnv, route: GuardedRoute
) -> None:
    key = f"{ACME}_api_EEEEffff55556666"
    others = [scope for scope in list_org_scopes() if scope != route.scope.value]
    env.authenticator.add(key, ACME, scopes=others)
    assert is_problem(call(client, route, headers={"X-API-Key": key}), 403, "forbidden")


@pytest.mark.parametrize("route", OF_ORGS, ids=name_route)
def test_an_expired_key_is_refused(client: TestClient, env: ApiEnv, route: APIRoute) -> None:
    key, past = f"{ACME}_api_GGGGhhhh77778888", datetime.now(UTC) - timedelta(seconds=1)
    env.authenticator.add(key, ACME, scopes=list_org_scopes(), not_after=past)
    assert is_problem(call(client, route, headers={"X-API-Key": key}), 401, "not_authenticated")


def test_a_good_key_is_looked_up_once(client: TestClient, env: ApiEnv) -> None:
    for _ in range(5):
        client.get(f"/pipelines/runs/{ACME}", headers=env.headers["acme"])
    assert env.authenticator.lookups == 1


@pytest.mark.parametrize("path", ["/health", "/docs", "/redoc", "/openapi.json"])
def test_the_open_routes_are_these(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    known = {route.path for route in ROUTES if route.scope is Scope.PUBLIC}
    docs = {"/docs", "/docs/assets/{asset}", "/redoc", "/openapi.json"}
    assert known == docs | {"/health", "/health/ready"}


def test_documentation_can_be_switched_off(tmp_path: Path, env: ApiEnv) -> None:
    settings = make_settings(tmp_path, enable_api_docs=False)
    with TestClient(create_app(services=InMemoryServices(settings, env))) as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/assets/swagger-ui.css"):
            assert client.get(path).status_code == 404


def test_a_route_without_a_scope_keeps_the_app_from_starting(app: FastAPI) -> None:
    router = guarded_router(tag="test")

    async def bare() -> None:
        """Declares nothing."""

    with pytest.raises(ConfigurationError, match="declares no scope"):
        router.get("/bare")(bare)
    app.add_api_route("/bare", bare)
    with pytest.raises(ConfigurationError, match="without a guard"):
        check_every_route_is_guarded(app)


def test_a_declared_scope_is_enough(app: FastAPI) -> None:
    router = guarded_router(tag="test")

    @router.get("/open")
    @require_scope(Scope.PUBLIC)
    async def open_to_all() -> dict[str, str]:
        return {"status": "ok"}

    app.include_router(router)
    check_every_route_is_guarded(app)
    with TestClient(app) as client:
        assert client.get("/open").json() == {"status": "ok"}


# --- DISABLE_AUTH ----------------------------------------------------------------------------


@pytest.fixture
def unlocked(tmp_path: Path, env: ApiEnv) -> FastAPI:
    return create_app(services=InMemoryServices(make_settings(tmp_path, disable_auth=True), env))


@pytest.fixture
def at_home(unlocked: FastAPI) -> Iterator[TestClient]:
    with TestClient(unlocked, client=("127.0.0.1", 50_000)) as client:
        yield client


def test_without_authentication_loopback_is_root_and_the_org_in_the_path(
    at_home: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="convergence.api.access"):
        answers = [
            at_home.get(f"/pipelines/runs/{ACME}"),
            at_home.get(f"/pipelines/runs/{GLOBEX}", headers={"X-API-Key": "nonsense"}),
            at_home.get("/admin/operations/bootstrap__x"),
            at_home.get("/health"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200]
    assert {answer.headers["X-Convergence-Auth"] for answer in answers} == {"disabled"}
    lines = [one.getMessage() for one in caplog.records if one.name == "convergence.api.access"]
    assert len(lines) == 4
    assert all(line.endswith("auth=disabled") for line in lines)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "testclient"])
def test_without_authentication_the_network_still_needs_a_key(
    unlocked: FastAPI, address: str
) -> None:
    with TestClient(unlocked, client=(address, 50_000)) as client:
        answer = client.get(f"/pipelines/runs/{ACME}")
        assert answer.status_code == 401
        assert answer.headers["X-Convergence-Auth"] == "disabled"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_what_a_proxy_hands_on_is_not_loopback(at_home: TestClient, header: str) -> None:
    answer = at_home.get(f"/pipelines/runs/{ACME}", headers={header: "127.0.0.1"})
    assert answer.status_code == 401


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_authentication_can_be_off_in_development_only(
    tmp_path: Path, env: ApiEnv, environment: str
) -> None:
    settings = make_settings(tmp_path, disable_auth=True, environment=environment)
    with pytest.raises(SettingsError, match="DISABLE_AUTH"):
        create_app(services=InMemoryServices(settings, env))


def test_with_authentication_no_answer_says_it_is_off(client: TestClient) -> None:
    assert "X-Convergence-Auth" not in client.get("/health").headers


def test_a_missing_root_key_opens_nothing(tmp_path: Path, env: ApiEnv) -> None:
    settings = make_settings(tmp_path, root_api_key=None)
    with TestClient(create_app(services=InMemoryServices(settings, env))) as client:
        for key in ("", "None", "e3b0c44298fc1c149afbf4c8996fb924"):
            answer = client.get("/admin/operations/x", headers={"X-CA-Root-Key": key})
            assert answer.status_code == 401

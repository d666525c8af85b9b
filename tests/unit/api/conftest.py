"""The app of each test, on an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from convergence.api.http.scopes import list_org_scopes
from convergence.api.platform import background_tasks
from convergence.settings import Settings
from support.api.airflow_double import AirflowDouble
from support.api.apps import borrow_app
from support.api.env import (
    ACME,
    ACME_KEY,
    GLOBEX,
    GLOBEX_KEY,
    SEED,
    USAGE_COST,
    ApiEnv,
    InMemoryServices,
    make_settings,
)
from support.api.in_memory import InMemoryAuthenticator, InMemoryGate, InMemoryLedger


@pytest.fixture(autouse=True)
def _no_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_tasks, "list_tasks", lambda _services: [])


@pytest.fixture
def env() -> ApiEnv:
    airflow = AirflowDouble()
    for dag_id in (USAGE_COST, SEED):
        airflow.add_dag(dag_id)
    authenticator = InMemoryAuthenticator()
    authenticator.add(ACME_KEY, ACME, scopes=list_org_scopes())
    authenticator.add(GLOBEX_KEY, GLOBEX, scopes=list_org_scopes())
    env = ApiEnv(airflow, authenticator, InMemoryGate(), InMemoryLedger())
    for org in (ACME, GLOBEX):
        env.standing(org)
    return env


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture
def services(settings: Settings, env: ApiEnv) -> InMemoryServices:
    return InMemoryServices(settings, env)


@pytest.fixture
def app(services: InMemoryServices) -> Iterator[FastAPI]:
    with borrow_app(services) as app:
        yield app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client

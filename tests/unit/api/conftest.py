"""Each test asks the app in a world of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from convergence.api.http.scopes import org_scopes
from convergence.api.platform import background_tasks
from convergence.settings import Settings
from unit.api.airflow_double import AirflowDouble
from unit.api.apps import lent
from unit.api.edges import EdgeAuthenticator, EdgeGate, EdgeLedger
from unit.api.world import (
    ACME,
    ACME_KEY,
    GLOBEX,
    GLOBEX_KEY,
    SEED,
    USAGE_COST,
    EdgeServices,
    World,
    settings_of,
)


@pytest.fixture(autouse=True)
def _no_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_tasks, "all_of", lambda _services: [])


@pytest.fixture
def world() -> World:
    airflow = AirflowDouble()
    for dag_id in (USAGE_COST, SEED):
        airflow.add_dag(dag_id)
    authenticator = EdgeAuthenticator()
    authenticator.add(ACME_KEY, ACME, scopes=org_scopes())
    authenticator.add(GLOBEX_KEY, GLOBEX, scopes=org_scopes())
    world = World(airflow, authenticator, EdgeGate(), EdgeLedger())
    for org in (ACME, GLOBEX):
        world.standing(org)
    return world


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture
def services(settings: Settings, world: World) -> EdgeServices:
    return EdgeServices(settings, world)


@pytest.fixture
def app(services: EdgeServices) -> Iterator[FastAPI]:
    with lent(services) as app:
        yield app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client

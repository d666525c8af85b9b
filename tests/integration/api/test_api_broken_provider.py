"""The API with an error in the registry of providers: one provider refuses, the others serve."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.providers.registry import load_registry
from convergence.settings import PROJECT_ROOT
from support.api.airflow_double import AirflowDouble
from support.api.calls import ACME, OPENAI_KEY, connect_openai, onboard
from support.api.sandbox_services import ROOT, SandboxServices

RUNS = f"/pipelines/run/{ACME}"
USAGE = f"{RUNS}/openai/cost/usage_cost"
BODY = {"date": "2025-11-25"}
ANTHROPIC_KEY = "sk-ant-admin-sandbox-acme_corp"
WRONG = ("base_url: https://api.openai.com/v1", "base_url: nowhere")
TWICE = ("  anthropic:\n", "  openai: {}\n\n  anthropic:\n")


@pytest.fixture
def registry_file(services: SandboxServices, tmp_path: Path) -> Path:
    """The registry of a folder of configurations that only this test reads."""
    root = tmp_path / "configs"
    shutil.copytree(PROJECT_ROOT / "include" / "configs", root)
    services.settings = services.settings.model_copy(update={"configs_dir": root})
    return root / "system" / "providers.yml"


@pytest.fixture
def acme(registry_file: Path, client: TestClient, double: AirflowDouble) -> dict[str, str]:
    del registry_file
    for dag_id in ("anthropic.usage_cost", "anthropic.seed_csv", "openai.cost.cost_extract"):
        double.add_dag(dag_id)
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    headers = onboard(client, ACME)
    assert connect_openai(client, ACME, headers, OPENAI_KEY).status_code == 200
    return headers


def connect_anthropic(client: TestClient, headers: dict[str, str]) -> Any:
    path = f"/integrations/{ACME}/anthropic/setup"
    body = {"credential": ANTHROPIC_KEY, "import_history": False}
    return client.post(path, json=body, headers=headers)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def runs_of(client: TestClient, headers: dict[str, str]) -> list[Any]:
    found: list[Any] = client.get(f"/pipelines/runs/{ACME}", headers=headers).json()["runs"]
    return found


@pytest.mark.parametrize("change", [WRONG, TWICE], ids=["a wrong field", "the entry twice"])
def test_the_broken_provider_refuses_by_name_and_the_others_serve(
    client: TestClient, acme: dict[str, str], registry_file: Path, change: tuple[str, str]
) -> None:
    before = len(runs_of(client, acme))
    edit(registry_file, *change)
    for response in (
        client.post(USAGE, json=BODY, headers=acme),
        connect_openai(client, ACME, acme, OPENAI_KEY),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "configuration_invalid")
        assert "The provider openai can't be used until system/providers.yml" in response.text
        assert "providers.openai" in response.json()["detail"]
        assert str(registry_file.parent) not in response.text
    assert len(runs_of(client, acme)) == before

    made = connect_anthropic(client, acme)
    assert (made.status_code, made.json()["validation_status"]) == (200, "VALID"), made.text
    response = client.post(f"{RUNS}/anthropic/usage_cost", json=BODY, headers=acme)
    assert response.status_code == 202, response.text

    known = client.get(f"/integrations/{ACME}", headers=acme)
    assert known.status_code == 200, known.text
    assert {one["provider"] for one in known.json()["integrations"]} == {"openai", "anthropic"}
    listed = client.get("/pipelines", headers=acme).text
    assert "anthropic/usage_cost" in listed
    assert "openai/cost/usage_cost" in listed


def test_a_corrected_file_is_used_without_a_restart(
    client: TestClient, acme: dict[str, str], registry_file: Path, services: SandboxServices
) -> None:
    sound = client.get("/health").json()["provider_registry"]
    edit(registry_file, *WRONG)
    assert client.post(USAGE, json=BODY, headers=acme).status_code == 409
    broken = client.get("/health").json()["provider_registry"]
    edit(registry_file, *reversed(WRONG))
    assert client.post(USAGE, json=BODY, headers=acme).status_code == 202
    assert sound != broken
    assert client.get("/health").json()["provider_registry"] == sound
    assert load_registry(services.settings).edition == sound


def test_a_registry_that_is_no_yaml_refuses_providers_and_serves_the_rest(
    client: TestClient, acme: dict[str, str], registry_file: Path
) -> None:
    registry_file.write_text("providers: [", encoding="utf-8")
    for response in (
        client.post(USAGE, json=BODY, headers=acme),
        connect_openai(client, ACME, acme, OPENAI_KEY),
        connect_anthropic(client, acme),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "configuration_invalid")
        assert "system/providers.yml:2:1" in response.json()["detail"]
    assert client.get("/pipelines", headers=acme).status_code == 200
    assert client.get(f"/pipelines/runs/{ACME}", headers=acme).status_code == 200

"""A platform with two organizations that have lived for a while: keys, a connection, runs, prices.

What surrounds it is as in `conftest`: the sandbox's warehouse, KMS and providers, and a double of
Airflow, whose runs stay queued. Limits are out of the way: what is asked here are the answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from fastapi.testclient import TestClient
from pydantic import SecretStr

from support.api.airflow_double import AirflowDouble
from support.api.env import ACME, GLOBEX, ROOT_KEY
from support.api.sandbox_services import KMS_KEY, PLATFORM_DAGS, ROOT, SandboxServices, working
from support.processor_env import ProcessorEnv, connect_env
from support.sandbox_process import SandboxProcess

ApiClient: TypeAlias = httpx.Client | TestClient

ORG_DAGS = ("openai.cost.usage_cost", "openai.seed_csv")
DAY = "2025-11-25"


@dataclass(frozen=True)
class Resident:
    """An organization and what of it has an id."""

    slug: str
    company: str
    key: str
    key_id: str
    run_id: str
    queue_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key}


def connect_services(
    sandbox: SandboxProcess, folder: Path, *, project: str
) -> tuple[ProcessorEnv, SandboxServices]:
    """The app's services on a project of the sandbox that nobody has used."""
    env = connect_env(sandbox, folder, project=project)
    changes = {
        "kms_key_name": KMS_KEY,
        "rate_limit_enabled": False,
        "root_api_key": SecretStr(ROOT_KEY),
        "admin_call_wait_seconds": 5.0,
    }
    env.settings = env.settings.model_copy(update=changes)
    env.services = replace(env.services, settings=env.settings)
    double = AirflowDouble()
    for dag_id in (*PLATFORM_DAGS, *ORG_DAGS):
        double.add_dag(dag_id)
    double.work = working(env)
    return env, SandboxServices(env.settings, double)


def create_residents(client: ApiClient, env: ProcessorEnv) -> tuple[Resident, Resident]:
    """Bootstrap the platform and let both organizations move in.

    Args:
        client: reaches the app; paths begin below its `/api/v1`.
        env: the tasks' side of the same warehouse.
    """
    _sent(client, "POST", "/admin/bootstrap", headers=ROOT, json={})
    first, second = (_onboarded(client, org) for org in (ACME, GLOBEX))
    far = "SET concurrent_runs = 1000000, runs_per_day = 1000000, runs_per_month = 1000000"
    env.ask(f"UPDATE organizations.org_usage_quotas {far} WHERE TRUE")
    return _settled(client, first), _settled(client, second)


def _onboarded(client: ApiClient, org: str) -> Resident:
    company = f"{org.replace('_', ' ').title()} Holding"
    body = {
        "org_slug": org,
        "company_name": company,
        "admin_email": f"cfo@{org.replace('_', '-')}.example",
        "subscription_plan": "SCALE",
    }
    told = _sent(client, "POST", "/organizations/onboard", headers=ROOT, json=body)
    key_id = told["api_key_fingerprint"]["key_id"]
    return Resident(org, company, told["api_key"], key_id, run_id="", queue_id="")


def _settled(client: ApiClient, one: Resident) -> Resident:
    org, headers = one.slug, one.headers
    credential = {"credential": f"sk-admin-sandbox-{org}", "credential_name": f"{org} finance"}
    _sent(client, "POST", f"/integrations/{org}/openai/setup", headers=headers, json=credential)
    rate = {"effective_from": "2026-01-01", "input_per_million": "1", "output_per_million": "2"}
    _sent(client, "PUT", f"/integrations/{org}/openai/pricing/gpt-5", headers=headers, json=rate)
    path = f"/pipelines/run/{org}/openai/cost/usage_cost"
    run = _sent(client, "POST", path, headers=headers, json={"date": DAY})
    queued = {"pipeline": "openai/cost/usage_cost", "date": "2025-11-24"}
    entry = _sent(client, "POST", "/scheduler/trigger", headers=headers, json=queued)
    return replace(one, run_id=run["run_id"], queue_id=entry["queue_id"])


def _sent(client: ApiClient, method: str, path: str, **sent: Any) -> dict[str, Any]:
    answer = client.request(method, path, **sent)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    document: dict[str, Any] = answer.json()
    return document

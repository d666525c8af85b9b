"""Calls that many tests of the API begin with: onboard an organization, connect a provider."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from support.api.sandbox_services import ROOT

ACME, GLOBEX = "acme_corp", "globex_inc"
OPENAI_KEY = f"sk-admin-sandbox-{ACME}"
RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"


def body_of(org: str, **changes: str) -> dict[str, str]:
    return {
        "org_slug": org,
        "company_name": "A Company",
        "admin_email": "cfo@company.example",
        "subscription_plan": "PROFESSIONAL",
        **changes,
    }


def onboard(client: TestClient, org: str) -> dict[str, str]:
    answer = client.post("/organizations/onboard", json=body_of(org), headers=ROOT)
    assert answer.status_code == 200, answer.text
    return {"X-API-Key": answer.json()["api_key"]}


def connect_openai(client: TestClient, org: str, headers: dict[str, str], key: str) -> Any:
    body = {"credential": key, "credential_name": "Finance"}
    return client.post(f"/integrations/{org}/openai/setup", json=body, headers=headers)

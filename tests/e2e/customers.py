"""Two customers of the end-to-end tests, and how they do things through the API."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from e2e.harness import RunningStack
from stack.client import ApiClient, ApiRequestError

PROJECT = "local-dev-project"
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
RANGE = (YESTERDAY - timedelta(days=2), YESTERDAY)
DAYS = [RANGE[0] + timedelta(days=n) for n in range(3)]


@dataclass
class Customer:
    """An org with its key and what it did."""

    slug: str
    key: str = ""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        return f"{self.slug}_dev"

    @property
    def openai_key(self) -> str:
        return f"sk-admin-sandbox-{self.slug}"

    def client(self, stack: RunningStack, **headers: str) -> ApiClient:
        return ApiClient(stack.api_url, headers={"X-API-Key": self.key} | headers)


def onboard(stack: RunningStack, customer: Customer, *, imports: bool = False) -> None:
    """Everything before the first run of its own: org, key, OpenAI, prices or all that is due."""
    with stack.root() as root:
        body = {
            "org_slug": customer.slug,
            "company_name": f"{customer.slug} Ltd",
            "admin_email": "cfo@example.com",
            "subscription_plan": "SCALE",
        }
        customer.answers["onboard"] = root.post("/organizations/onboard", body)
    customer.key = customer.answers["onboard"]["api_key"]
    with customer.client(stack) as client:
        credential = {
            "credential": customer.openai_key,
            "credential_name": "tests",
            "import_history": imports,
        }
        customer.answers["setup"] = client.post(
            f"/integrations/{customer.slug}/openai/setup", credential
        )
    if imports:
        imported(stack, customer)
    else:
        run_to_end(stack, customer, "openai/seed_csv", {})


def imported(stack: RunningStack, customer: Customer) -> None:
    """Follow the runs that connecting queued, one after the other; each must succeed."""
    with customer.client(stack) as client:
        for queued in customer.answers["setup"]["import_runs"]:
            run_id = _started(client, queued["queue_id"])
            path = f"/pipelines/runs/{customer.slug}/{run_id}"
            run = client.wait_for_run(path, seconds=400)
            assert run["status"] == "SUCCESS", run


def _started(client: ApiClient, queue_id: str) -> str:
    """The run of a queue's entry, once it has started."""
    deadline = time.monotonic() + 120
    while True:
        # The platform's minute task may be at it.
        with suppress(ApiRequestError):
            client.post("/scheduler/queue/process", {})
        entries = client.get("/scheduler/queue")["entries"]
        entry = next(one for one in entries if one["queue_id"] == queue_id)
        if entry["status"] == "STARTED":
            return str(entry["run_id"])
        assert entry["status"] == "QUEUED", entry
        assert time.monotonic() < deadline, entry
        time.sleep(2)


def run_to_end(
    stack: RunningStack, customer: Customer, pipeline: str, body: dict[str, Any]
) -> dict[str, Any]:
    """Trigger a pipeline and follow it to its end; never the run of an equal trigger before."""
    unique = {"Idempotency-Key": secrets.token_hex(8)}
    with customer.client(stack, **unique) as client:
        accepted = client.post(f"/pipelines/run/{customer.slug}/{pipeline}", body)
    with customer.client(stack) as client:
        return client.wait_for_run(accepted["status_url"], seconds=240)


def range_body(first: date = RANGE[0], last: date = RANGE[1]) -> dict[str, str]:
    return {"start_date": first.isoformat(), "end_date": last.isoformat()}


def warehouse(stack: RunningStack) -> bigquery.Client:
    """The official client on the stack's own warehouse."""
    return bigquery.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": stack.bigquery_url},
    )


def fingerprint(stack: RunningStack, dataset: str, *tables: str) -> dict[str, tuple[int, str]]:
    """Row count and hash of the sorted rows of each table."""
    client = warehouse(stack)
    found: dict[str, tuple[int, str]] = {}
    for table in tables:
        sql = f"SELECT * FROM `{PROJECT}.{dataset}.{table}` WHERE usage_date >= '2000-01-01'"
        rows = sorted(json.dumps(dict(row), default=str) for row in client.query_and_wait(sql))
        found[table] = (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
    return found


def fleet_run(airflow: httpx.Client, dag_id: str, *, seconds: float = 240) -> str:
    """Start a run as the scheduler does, without any conf; its state at the end."""
    answer = airflow.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None})
    answer.raise_for_status()
    run = f"/dags/{dag_id}/dagRuns/{answer.json()['dag_run_id']}"
    deadline = time.monotonic() + seconds
    while (state := airflow.get(run).json()["state"]) in ("queued", "running"):
        assert time.monotonic() < deadline, f"{run} is still {state}"
        time.sleep(1)
    return str(state)

"""Every pipeline that ships, run through the real Airflow of one stack, for one customer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from convergence.pipelines.files.loader import load_all
from convergence.settings import get_settings
from e2e.customers import Customer, range_body
from e2e.harness import RunningStack
from stack.client import ApiClient
from stack.customers import CONNECTIONS, Connection
from stack.settings import StackSettings

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

RUN_SECONDS = 500.0
VENDOR = Connection(
    "vendor_api", "Vendor", lambda _settings, slug: f"vendor-sandbox-{slug}", pipelines=()
)
DERIVED = {
    "example/finance/subscription_costs_transform": {},
    "openai/cost/cost_calculation": range_body(),
}
"""Pipelines that read what others have published, and what they are asked."""
BY_THE_PLATFORM = {
    "integrations/validate",
    "platform/price_book_rollout",
    "platform/tick",
    "setup/initial/onetime_bootstrap",
    "setup/organizations/dryrun",
    "setup/organizations/onboarding",
}


@dataclass
class Ran:
    """What the customer has, and the runs of every pipeline it may run, by path."""

    customer: Customer
    offered: dict[str, dict[str, Any]]
    runs: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def ran(stack: RunningStack) -> Iterator[Ran]:
    customer = Customer(f"every_{secrets.token_hex(4)}")
    with stack.root() as root:
        root.post("/admin/bootstrap", {})
        answer = root.post(
            "/organizations/onboard",
            {
                "org_slug": customer.slug,
                "company_name": "Every Pipeline Ltd",
                "admin_email": "cfo@example.com",
                "subscription_plan": "SCALE",
            },
        )
    customer.key = answer["api_key"]
    with customer.client(stack) as client:
        _connect_all(client, customer, stack)
        offered = {one["path"]: one for one in client.get("/pipelines")["pipelines"]}
        seeds: dict[str, dict[str, Any]] = {
            path: {} for path in offered if path.endswith("/seed_csv")
        }
        sources = {
            path: dict(range_body()) if "start_date" in one["params"]["properties"] else {}
            for path, one in offered.items()
            if path not in seeds and path not in DERIVED
        }
        runs = _run_all(client, customer, seeds)
        seats = {"effective_from": "2026-05-01", "seats": 3, "price_per_seat": "25"}
        client.put(f"/integrations/{customer.slug}/openai/subscriptions/team", seats)
        for wave in (sources, DERIVED):
            runs |= _run_all(client, customer, wave)
        yield Ran(customer, offered, runs)


def test_every_file_is_a_pipeline_that_ran_for_a_customer_or_is_the_platforms(ran: Ran) -> None:
    shipped = {
        spec.url_path: spec.scope for spec in load_all(get_settings().configs_dir).specs.values()
    }
    assert set(ran.runs) == {path for path, scope in shipped.items() if scope == "org"}
    assert {path for path, scope in shipped.items() if scope == "platform"} == BY_THE_PLATFORM


def test_every_run_succeeded_step_by_step(ran: Ran) -> None:
    assert {path: run["status"] for path, run in ran.runs.items()} == dict.fromkeys(
        ran.runs, "SUCCESS"
    )
    for path, run in ran.runs.items():
        promised = {step["step"] for step in ran.offered[path]["steps"]}
        assert promised <= {step["step"] for step in run["steps"]}, path


def test_every_pipeline_with_tables_filled_them(ran: Ran) -> None:
    empty = {
        path
        for path, run in ran.runs.items()
        if ran.offered[path]["tables"] and not run["rows_processed"]
    }
    assert empty == set()


def test_every_provider_has_costs_of_its_default_basis(stack: RunningStack, ran: Ran) -> None:
    with ran.customer.client(stack) as client:
        told = client.get(f"/costs/{ran.customer.slug}", group_by="provider", **range_body())
    costs = {
        row["provider"]: (Decimal(row["billed_cost"] or 0), Decimal(row["expected_cost"] or 0))
        for row in told["rows"]
        if row["currency"] == "USD"
    }
    for provider in ("anthropic", "gcp", "aws"):
        billed, expected = costs[provider]
        assert billed > expected, provider
    assert costs["openai"][0] > 0
    assert {one["currency"] for one in told["totals"]} >= {"USD"}


def _connect_all(client: ApiClient, customer: Customer, stack: RunningStack) -> None:
    settings = StackSettings(
        sandbox_bigquery_port=stack.ports["SANDBOX_BIGQUERY_PORT"],
        sandbox_providers_port=stack.ports["SANDBOX_PROVIDERS_PORT"],
        sandbox_aws_port=stack.ports["SANDBOX_AWS_PORT"],
    )
    for each in (*CONNECTIONS, VENDOR):
        body = {
            "credential": each.credential(settings, customer.slug),
            "credential_name": "tests",
            "import_history": False,
        }
        answer = client.post(f"/integrations/{customer.slug}/{each.provider}/setup", body)
        assert answer["validation_status"] == "VALID", answer
        if each.configure is not None:
            pipeline, params = each.configure
            body = {"params": params(settings, customer.slug)}
            client.put(f"/pipelines/config/{customer.slug}/{pipeline}", body)


def _run_all(
    client: ApiClient, customer: Customer, wave: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    accepted = {
        path: client.post(f"/pipelines/run/{customer.slug}/{path}", body)["run_id"]
        for path, body in wave.items()
    }
    runs = client.wait_for_runs(customer.slug, list(accepted.values()), seconds=RUN_SECONDS)
    return dict(zip(accepted, runs, strict=True))

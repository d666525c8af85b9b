"""Google Cloud's pipelines through Airflow, on the sandbox: nothing is replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from convergence.processors import connect
from convergence_sandbox.providers.google.billing import exported
from support.airflow_runs import run_dag, store_credential
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

ORG = "acme_corp"


@pytest.mark.usefixtures("sandbox_environment")
def test_from_a_service_account_to_its_cost(sandbox: SandboxProcess) -> None:
    customer, now = Customer(sandbox, f"t{uuid4().hex[:10]}"), datetime.now(UTC)
    first, last = now.date() - timedelta(days=10), now.date() - timedelta(days=1)
    customer.export_days(first.isoformat(), last.isoformat(), now.isoformat())
    run_dag("setup.initial.onetime_bootstrap", {})
    organization = {"company_name": "Acme", "admin_email": "cfo@acme.example"}
    run_dag("setup.organizations.onboarding", {"org_slug": ORG, **organization})
    with connect.open_services() as services:
        store_credential(services, ORG, "GCP_SA", customer.credential)

    state, answer = run_dag("gcp.cost.billing", {})
    assert (state, answer["orgs_succeeded"]) == ("success", 1), answer
    expected = Decimal(0)
    for row in exported(customer.project, first=first, last=last, as_of=now):
        expected += row["cost"] + sum((one["amount"] for one in row["credits"]), Decimal(0))
    with connect.open_services() as services:
        dataset = services.settings.org_dataset(ORG)
        query = f"SELECT SUM(BilledCost) AS total FROM `{dataset}.cost_daily`"
        (found,) = services.warehouse.client.query_and_wait(query)
    assert found["total"] == expected

    asked = {"org_slug": ORG, "date": last.isoformat()}
    state, answer = run_dag("gcp.api.billing_accounts", asked)
    assert (state, answer["rows_processed"]) == ("success", 3), answer
    foreign = {**asked, "export_project": "customer-other"}
    assert run_dag("gcp.cost.billing", foreign)[0] == "failed"

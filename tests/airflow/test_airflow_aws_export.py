"""AWS's pipeline through Airflow, on the sandbox: from a role in KMS to cost_daily."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from convergence.processors import connect
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import lines
from support.airflow_runs import run_dag, store_credential

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

ORG = "acme_corp"
DATA_EXPORT = "aws.cost.data_export"


@pytest.mark.usefixtures("sandbox_environment")
def test_a_customers_exports_become_its_cost_and_a_second_run_reads_nothing() -> None:
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    assert run_dag("setup.initial.onetime_bootstrap", {})[0] == "success"
    organization = {
        "org_slug": ORG,
        "company_name": "Acme Corporation",
        "admin_email": "cfo@acme.example",
    }
    assert run_dag("setup.organizations.onboarding", organization)[0] == "success"
    with connect.open_services() as services:
        store_credential(services, ORG, "AWS", json.dumps(keys.role(ORG)))
    asked = {"org_slug": ORG, "date": yesterday.isoformat()}
    assert run_dag(DATA_EXPORT, asked)[0] == "failed", (
        "a run before anybody said where the export is"
    )

    asked |= {
        "bucket": keys.bucket(ORG),
        "prefix": exports.PREFIX,
        "export_name": "cur2-parquet",
        "kind": "cur2",
    }
    state, answer = run_dag(DATA_EXPORT, asked)
    assert state == "success", answer
    month = yesterday.replace(day=1)
    expected = sum((one.billed for one in lines("acme-corp", month, as_of=today)), Decimal(0))
    with connect.open_services() as services:
        query = (
            "SELECT BilledCost, x_Basis"
            f" FROM `{services.settings.org_dataset(ORG)}.cost_daily` WHERE x_Provider = 'aws'"
        )
        found = list(services.warehouse.client.query_and_wait(query))
    assert {row["x_Basis"] for row in found} == {"billed"}
    total = sum((row["BilledCost"] for row in found), Decimal(0))
    assert abs(total - expected) < Decimal("1e-9") * len(found)

    state, again = run_dag(DATA_EXPORT, asked)
    assert (state, again["rows_processed"]) == ("success", 0)

"""Google Cloud's pipelines through Airflow, on the sandbox: nothing is replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors import connect
from convergence.processors.context import TaskServices
from convergence.security.kms import connect_kms
from convergence.settings import get_settings
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import Credentials
from convergence_sandbox.providers.google.billing import exported
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

ORG = "acme_corp"
CONNECTION = {
    "conn_type": "google_cloud_platform",
    "extra": {"is_anonymous": True, "project": "local-dev-project"},
}
KMS_KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path / "sandbox")
    process.start()
    for name, value in {
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(CONNECTION),
        "BIGQUERY_EMULATOR_HOST": process.bigquery,
        "KMS_EMULATOR_HOST": process.kms,
        "KMS_KEY_NAME": KMS_KEY,
        "GCP_API_BASE_URL": f"{process.providers}/google",
        "CONVERGENCE_VAR_DIR": str(tmp_path / "var"),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield process
    assert process.stop() == 0


def run_dag(dag_id: str, conf: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run a DAG of the project in this process; its state and its closing task's answer."""
    from convergence.pipelines.dags.factory import register_dags

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        namespace: dict[str, Any] = {}
        register_dags(namespace)
    dag_run = namespace[dag_id].test(run_conf=conf)
    (closing,) = (ti for ti in dag_run.get_task_instances() if ti.task_id == "close_run")
    return str(dag_run.state), closing.xcom_pull(task_ids="close_run")


def put_credential(services: TaskServices, secret: str) -> None:
    with connect_kms(services.settings) as kms:
        Credentials(services.store, services.warehouse, kms).store_credential(
            ORG,
            "GCP_SA",
            secret,
            credential_name="main",
            validation_status="VALID",
            by=Actor("root", "root"),
            now=services.now(),
        )


def test_from_a_service_account_to_its_cost(sandbox: SandboxProcess) -> None:
    customer, now = Customer(sandbox, ORG), datetime.now(UTC)
    first, last = now.date() - timedelta(days=10), now.date() - timedelta(days=1)
    customer.export_days(first.isoformat(), last.isoformat(), now.isoformat())
    run_dag("setup.initial.onetime_bootstrap", {})
    organization = {"company_name": "Acme", "admin_email": "cfo@acme.example"}
    run_dag("setup.organizations.onboarding", {"org_slug": ORG, **organization})
    with connect.open_services() as services:
        put_credential(services, customer.credential)

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

"""AWS's pipeline through Airflow, on the sandbox: from a role in KMS to cost_daily."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors import connect
from convergence.security.kms import connect_kms
from convergence.settings import get_settings
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import Credentials
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import lines
from support.sandbox_process import SandboxProcess

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("airflow_db"),
]

ORG = "acme_corp"
DATA_EXPORT = "aws.cost.data_export"
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
        "AWS_API_BASE_URL": process.aws,
        "AWS_PLATFORM_ACCESS_KEY_ID": keys.PLATFORM,
        "AWS_PLATFORM_SECRET_ACCESS_KEY": keys.secret_of(keys.PLATFORM),
        "CONVERGENCE_VAR_DIR": str(tmp_path),
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


@pytest.mark.usefixtures("sandbox")
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
    with connect.open_services() as services, connect_kms(services.settings) as kms:
        Credentials(services.store, services.warehouse, kms).store_credential(
            ORG,
            "AWS",
            json.dumps(keys.role(ORG)),
            credential_name="main",
            validation_status="VALID",
            by=Actor("root", "root"),
            now=services.now(),
        )
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

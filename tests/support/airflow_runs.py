"""Runs of the project's own DAGs in this process, on an unused project of the sandbox."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from convergence.processors.context import TaskServices
from convergence.security.kms import connect_kms
from convergence.settings import get_settings
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import Credentials
from convergence_sandbox.aws import keys
from support.sandbox_process import SandboxProcess

KMS_KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"


def set_environment(
    monkeypatch: pytest.MonkeyPatch, sandbox: SandboxProcess, *, var_dir: Path
) -> None:
    """Set the variables by which the tasks of a run find the sandbox; nothing is replaced."""
    project = f"airflow-{uuid.uuid4().hex[:12]}"
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {"is_anonymous": True, "project": project},
    }
    for name, value in {
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "GCP_PROJECT_ID": project,
        "BIGQUERY_EMULATOR_HOST": sandbox.bigquery,
        "KMS_EMULATOR_HOST": sandbox.kms,
        "KMS_KEY_NAME": KMS_KEY,
        "OPENAI_BASE_URL": f"{sandbox.providers}/openai/v1",
        "GCP_API_BASE_URL": f"{sandbox.providers}/google",
        "AWS_API_BASE_URL": sandbox.aws,
        "AWS_PLATFORM_ACCESS_KEY_ID": keys.PLATFORM,
        "AWS_PLATFORM_SECRET_ACCESS_KEY": keys.secret_of(keys.PLATFORM),
        "CONVERGENCE_VAR_DIR": str(var_dir),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


def load_airflow_dag(dag_id: str) -> Any:
    """Return a DAG of the project, as a task's process parses it."""
    from convergence.pipelines.dags.factory import register_dags

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        namespace: dict[str, Any] = {}
        register_dags(namespace)
    return namespace[dag_id]


def run_dag(dag_id: str, conf: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Run a DAG in this process; return its state and the result of its closing task."""
    dag_run = load_airflow_dag(dag_id).test(run_conf=conf)
    (closing,) = (ti for ti in dag_run.get_task_instances() if ti.task_id == "close_run")
    return str(dag_run.state), closing.xcom_pull(task_ids="close_run")


def store_credential(services: TaskServices, org_slug: str, provider: str, secret: str) -> None:
    """Store a valid credential of an org, encrypted by the sandbox's KMS."""
    with connect_kms(services.settings) as kms:
        Credentials(services.store, services.warehouse, kms).store_credential(
            org_slug,
            provider,
            secret,
            credential_name="main",
            validation_status="VALID",
            by=Actor("root", "root"),
            now=services.now(),
        )

"""Environment variables of each component of the local stack."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from convergence_sandbox.aws.keys import PLATFORM, secret_of
from stack.secrets import ADMIN_USER, SERVICE_USER, LocalSecrets
from stack.settings import LOOPBACK, REPOSITORY, StackSettings

PROJECT = "local-dev-project"
# Bills of the demo's second organization disagree with its usage.
DEMO_BILLS = Path(__file__).with_name("demo_bills.toml")
SHARED_OPTIONS = REPOSITORY / "tools" / "deploy" / "airflow.env"
KMS_KEY = f"projects/{PROJECT}/locations/global/keyRings/convergence/cryptoKeys/credentials"

# Of the caller's environment only what a process needs to run at all; clouds, proxies and other
# Airflows of this machine stay out.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "SSL_CERT_FILE")
# Limits of the product that a person may set for a local stack.
_LIMITS = ("PLATFORM_STALL_SECONDS",)


def base_environment() -> dict[str, str]:
    """Return the little that every component inherits from the caller."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    scripts = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join([scripts, kept.get("PATH", "")])
    return kept | {"PYTHONUNBUFFERED": "1"}


def sandbox_environment(settings: StackSettings) -> dict[str, str]:
    """Environment of the process that stands in for the clouds."""
    return base_environment() | {
        "PYTHONPATH": str(REPOSITORY / "sandbox" / "src"),
        "SANDBOX_DATA_DIR": str(settings.var_dir / "sandbox"),
        "SANDBOX_BIGQUERY_PORT": str(settings.sandbox_bigquery_port),
        "SANDBOX_KMS_PORT": str(settings.sandbox_kms_port),
        "SANDBOX_PROVIDERS_PORT": str(settings.sandbox_providers_port),
        "SANDBOX_AWS_PORT": str(settings.sandbox_aws_port),
        "SANDBOX_SMTP_PORT": str(settings.sandbox_smtp_port),
        "SANDBOX_BILL_EFFECTS": str(DEMO_BILLS),
    }


def convergence_environment(settings: StackSettings) -> dict[str, str]:
    """Return the product's own variables: where the services are, and where its state lives."""
    providers = f"http://{LOOPBACK}:{settings.sandbox_providers_port}"
    return {
        "ENVIRONMENT": "development",
        "GCP_PROJECT_ID": PROJECT,
        "KMS_KEY_NAME": KMS_KEY,
        "BIGQUERY_EMULATOR_HOST": f"http://{LOOPBACK}:{settings.sandbox_bigquery_port}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"{LOOPBACK}:{settings.sandbox_kms_port}",
        "KMS_EMULATOR_HOST": f"{LOOPBACK}:{settings.sandbox_kms_port}",
        "OPENAI_BASE_URL": f"{providers}/openai/v1",
        "ANTHROPIC_BASE_URL": f"{providers}/anthropic",
        "DEEPSEEK_BASE_URL": f"{providers}/deepseek",
        "GCP_API_BASE_URL": f"{providers}/google",
        "PROVIDER_BASE_URLS": json.dumps({"vendor_api": f"{providers}/vendor/v1"}),
        "AWS_API_BASE_URL": f"http://{LOOPBACK}:{settings.sandbox_aws_port}",
        "AWS_PLATFORM_ACCESS_KEY_ID": PLATFORM,
        "AWS_PLATFORM_SECRET_ACCESS_KEY": secret_of(PLATFORM),
        "CONVERGENCE_VAR_DIR": str(settings.var_dir),
        **{name: os.environ[name] for name in _LIMITS if name in os.environ},
        # A task starts with the code in memory; a file that is edited meanwhile is noticed.
        "CONVERGENCE_PRELOAD": "all",
    }


def shared_airflow_options() -> dict[str, str]:
    """Airflow's options that the containers have too, from the file that they read."""
    lines = SHARED_OPTIONS.read_text().splitlines()
    options = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value.strip("'") for name, _, value in options}


def airflow_environment(settings: StackSettings, secrets: LocalSecrets) -> dict[str, str]:
    """Return what every Airflow component shares."""
    home = settings.var_dir / "airflow"
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {"is_anonymous": True, "project": PROJECT},
    }
    return (
        base_environment()
        | convergence_environment(settings)
        | {
            **shared_airflow_options(),
            "PYTHONPATH": str(REPOSITORY / "plugins"),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
            **_messaging(settings),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
            "AIRFLOW__API__BASE_URL": settings.base_url,
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__INSTANCE_NAME": "Convergence",
            "AIRFLOW__API__PORT": str(settings.port),
            "AIRFLOW__API__SECRET_KEY": secrets.session_secret,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.base_url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(settings.parallelism),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": (f"{ADMIN_USER}:admin,{SERVICE_USER}:op"),
            "AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL": "error",
            # Each reading of the DAG files builds every DAG again, changed or not: at 15 s this was
            # half of what an idle stack costs. docs/pipelines.md promises half a minute.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        }
    )


def _messaging(settings: StackSettings) -> dict[str, str]:
    """Airflow's Connections to the stand-ins for a mail server and Slack."""
    plain = {"disable_ssl": True, "disable_tls": True, "from_email": "convergence@example.com"}
    mail = {"host": LOOPBACK, "port": settings.sandbox_smtp_port, "extra": plain}
    slack = {
        "host": f"http://{LOOPBACK}:{settings.sandbox_providers_port}/slack/services",
        "password": "T00000000/B00000000/convergence",
    }
    return {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({"conn_type": "smtp", **mail}),
        "AIRFLOW_CONN_SLACKWEBHOOK_DEFAULT": json.dumps({"conn_type": "slackwebhook", **slack}),
    }


def service_account(base_url: str, secrets: LocalSecrets) -> dict[str, str]:
    """Return what the API servers alone hold: the root key and the service account."""
    return {
        "CA_ROOT_API_KEY": secrets.root_api_key,
        "AIRFLOW_API_URL": base_url,
        "AIRFLOW_API_USERNAME": SERVICE_USER,
        "AIRFLOW_API_PASSWORD": secrets.service_password,
    }

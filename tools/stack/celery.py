"""The stack that production's is like: PostgreSQL, Redis, two API servers, a Celery worker.

The processes are those of docker-compose.yaml with the same commands; the clouds are the sandbox.
"""

from __future__ import annotations

from pathlib import Path

from stack.databases import (
    AIRFLOW_DATABASE,
    STATE_DATABASE,
    database_url,
    databases_response,
    postgres_service,
    redis_service,
    redis_url,
)
from stack.environment import service_account
from stack.secrets import ADMIN_USER
from stack.service import Service, airflow_service
from stack.settings import REPOSITORY, CeleryStackSettings
from stack.stack import SKIP_LOG_SERVER, Stack

DATABASES_READY_SECONDS = 30
VIEWER_USER = "viewer"
EXECUTOR = "convergence.executors.watched_celery.WatchedCeleryExecutor"
# The slots of a dead worker, until they are given back, keep no other task from being sent.
SLOTS_PER_PROCESS = 2
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


class CeleryStack(Stack):
    """A stack with Airflow's CeleryExecutor and FAB accounts."""

    settings: CeleryStackSettings

    def backing(self) -> tuple[Service, ...]:
        """Return the sandbox, PostgreSQL and Redis."""
        self._say("starting PostgreSQL and Redis")
        return (
            *super().backing(),
            postgres_service(self.settings, self.secrets),
            redis_service(self.settings, self.secrets),
        )

    def services(self) -> tuple[Service, ...]:
        """Two API servers, each with its own address, and one each of the others."""
        first, second = (self._api_server(url) for url in self.settings.base_urls)
        shared = self._shared_environment()
        # The worker reports to the second server, so that both serve tasks.
        worker = shared | {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.settings.base_urls[1]}/execution/"
        }
        return (
            airflow_service("api-server-1", first, "api-server"),
            airflow_service("api-server-2", second, "api-server"),
            *self._single(shared),
            airflow_service("worker", worker, "celery", "worker", SKIP_LOG_SERVER),
        )

    def _api_server(self, base_url: str) -> dict[str, str]:
        port = {"AIRFLOW__API__PORT": base_url.rpartition(":")[2]}
        return self._shared_environment() | service_account(base_url, self.secrets) | port

    def _shared_environment(self) -> dict[str, str]:
        settings, secrets = self.settings, self.secrets
        airflow = database_url(settings, secrets, AIRFLOW_DATABASE)
        state = database_url(settings, secrets, STATE_DATABASE)
        ours = {
            "API_PROCESSES": str(len(settings.base_urls)),
            "REDIS_URL": redis_url(settings, secrets, 1),
            "STATE_DATABASE_URL": state.replace("postgresql:", "postgresql+psycopg:"),
        }
        celery = {
            "AIRFLOW__CELERY__BROKER_URL": redis_url(settings, secrets, 0),
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{airflow}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(settings.parallelism),
            "AIRFLOW__CORE__AUTH_MANAGER": FAB,
            "AIRFLOW__CORE__EXECUTOR": EXECUTOR,
            "AIRFLOW__CORE__PARALLELISM": str(SLOTS_PER_PROCESS * settings.parallelism),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow.replace(
                "postgresql:", "postgresql+psycopg2:"
            ),
        }
        return super()._shared_environment() | ours | celery

    def _wait_for_backing(self) -> None:
        super()._wait_for_backing()
        self._wait(
            "PostgreSQL and Redis",
            lambda: databases_response(self.settings, self.secrets),
            DATABASES_READY_SECONDS,
        )

    def _prepare(self) -> None:
        env = self._shared_environment()
        Path(env["AIRFLOW_HOME"]).mkdir(parents=True, exist_ok=True)
        self._run_job("migrate", "airflow", "db", "migrate", env=env)
        account = service_account(self.settings.base_url, self.secrets)
        accounts = {
            "PYTHONPATH": f"{env['PYTHONPATH']}:{REPOSITORY / 'tools'}",
            "AIRFLOW_ADMIN_USERNAME": ADMIN_USER,
            "AIRFLOW_ADMIN_PASSWORD": self.secrets.admin_password,
            "AIRFLOW_VIEWER_USERNAME": VIEWER_USER,
            "AIRFLOW_VIEWER_PASSWORD": self.secrets.viewer_password,
            "AIRFLOW_API_USERNAME": account["AIRFLOW_API_USERNAME"],
            "AIRFLOW_API_PASSWORD": account["AIRFLOW_API_PASSWORD"],
        }
        self._run_job("accounts", "deploy.accounts", env=env | accounts)

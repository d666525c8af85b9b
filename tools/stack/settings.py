"""The launcher's knobs, read once from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"


class StackSettings(BaseSettings):
    """Ports, places and limits of one stack; every field is an environment variable."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    port: int = Field(default=8080, ge=1, le=65535, description="Port of Airflow's UI and the API.")
    sandbox_bigquery_port: int = Field(
        default=9050, ge=1, le=65535, description="Port of the BigQuery stand-in."
    )
    sandbox_kms_port: int = Field(
        default=9060, ge=1, le=65535, description="Port of the Cloud KMS stand-in."
    )
    sandbox_providers_port: int = Field(
        default=9070, ge=1, le=65535, description="Port of the providers, mail and Slack messages."
    )
    sandbox_aws_port: int = Field(
        default=9080, ge=1, le=65535, description="Port of the AWS stand-in."
    )
    sandbox_smtp_port: int = Field(
        default=9025, ge=1, le=65535, description="Port of the mail server."
    )

    var_dir: Path = Field(
        default=REPOSITORY / "var",
        validation_alias="CONVERGENCE_VAR_DIR",
        description="Directory of all state: databases, logs, spool, the demo's report.",
    )
    ready_timeout_seconds: float = Field(
        default=240,
        gt=0,
        validation_alias="STACK_READY_TIMEOUT_SECONDS",
        description="Seconds until the stack must be ready.",
    )
    stop_timeout_seconds: float = Field(
        default=15,
        gt=0,
        validation_alias="STACK_STOP_TIMEOUT_SECONDS",
        description="Seconds until a component that does not stop is killed.",
    )
    parallelism: int = Field(
        default=4,
        ge=1,
        validation_alias="STACK_PARALLELISM",
        description="Tasks that run at the same time.",
    )

    @property
    def ports(self) -> dict[str, int]:
        """Return every port that the stack listens on, by the variable that changes it."""
        return {
            "PORT": self.port,
            "SANDBOX_BIGQUERY_PORT": self.sandbox_bigquery_port,
            "SANDBOX_KMS_PORT": self.sandbox_kms_port,
            "SANDBOX_PROVIDERS_PORT": self.sandbox_providers_port,
            "SANDBOX_AWS_PORT": self.sandbox_aws_port,
            "SANDBOX_SMTP_PORT": self.sandbox_smtp_port,
        }

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Return the address where each API server listens."""
        return (f"http://{LOOPBACK}:{self.port}",)

    @property
    def base_url(self) -> str:
        """Return the address where Airflow's UI listens."""
        return self.base_urls[0]

    @property
    def api_urls(self) -> tuple[str, ...]:
        """Return the address where our own API listens, on each API server."""
        return tuple(f"{url}/api/v1" for url in self.base_urls)

    @property
    def api_url(self) -> str:
        """Return the address where our own API listens."""
        return self.api_urls[0]

    @property
    def log_dir(self) -> Path:
        """Return one log file per component."""
        return self.var_dir / "log"


class CeleryStackSettings(StackSettings):
    """The same for the stack that production's is like; its state is apart."""

    second_port: int = Field(
        default=8081, ge=1, le=65535, description="Port of the second API server."
    )
    postgres_port: int = Field(default=5442, ge=1, le=65535, description="Port of PostgreSQL.")
    redis_port: int = Field(default=6389, ge=1, le=65535, description="Port of Redis.")

    var_dir: Path = Field(
        default=REPOSITORY / "var" / "celery",
        validation_alias="CONVERGENCE_VAR_DIR",
        description="Directory of all state of this stack.",
    )
    # A Celery worker finishes its tasks first.
    stop_timeout_seconds: float = Field(
        default=60,
        gt=0,
        validation_alias="STACK_STOP_TIMEOUT_SECONDS",
        description="Seconds until a component that does not stop is killed.",
    )

    @property
    def ports(self) -> dict[str, int]:
        """Return every port that the stack listens on, by the variable that changes it."""
        return super().ports | {
            "SECOND_PORT": self.second_port,
            "POSTGRES_PORT": self.postgres_port,
            "REDIS_PORT": self.redis_port,
        }

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Return the address where each of the two API servers listens."""
        return tuple(f"http://{LOOPBACK}:{port}" for port in (self.port, self.second_port))

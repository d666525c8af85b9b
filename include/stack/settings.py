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

    port: int = Field(default=8080, ge=1, le=65535, description="Airflow's UI and our API")
    sandbox_bigquery_port: int = Field(default=9050, ge=1, le=65535)
    sandbox_kms_port: int = Field(default=9060, ge=1, le=65535)
    sandbox_providers_port: int = Field(default=9070, ge=1, le=65535)
    worker_log_port: int = Field(default=8793, ge=1, le=65535)
    triggerer_log_port: int = Field(default=8794, ge=1, le=65535)

    var_dir: Path = Field(default=REPOSITORY / "var", validation_alias="CONVERGENCE_VAR_DIR")
    ready_timeout_seconds: float = Field(
        default=240, gt=0, validation_alias="STACK_READY_TIMEOUT_SECONDS"
    )
    stop_timeout_seconds: float = Field(
        default=15, gt=0, validation_alias="STACK_STOP_TIMEOUT_SECONDS"
    )
    parallelism: int = Field(default=4, ge=1, validation_alias="STACK_PARALLELISM")

    @property
    def ports(self) -> dict[str, int]:
        """Every port that the stack listens on, by the variable that changes it."""
        return {
            "PORT": self.port,
            "SANDBOX_BIGQUERY_PORT": self.sandbox_bigquery_port,
            "SANDBOX_KMS_PORT": self.sandbox_kms_port,
            "SANDBOX_PROVIDERS_PORT": self.sandbox_providers_port,
            "WORKER_LOG_PORT": self.worker_log_port,
            "TRIGGERER_LOG_PORT": self.triggerer_log_port,
        }

    @property
    def base_url(self) -> str:
        """Where Airflow's UI answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def api_url(self) -> str:
        """Where our own API answers."""
        return f"{self.base_url}/api/v1"

    @property
    def log_dir(self) -> Path:
        """One log file per component."""
        return self.var_dir / "log"

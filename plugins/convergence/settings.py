"""All settings, read once from the environment and checked for production.

Names and defaults are the outside contract. `Settings.find_errors` lists every value that staging
or production refuses. A secret may also be a file in `SECRETS_DIR`, named as its variable, as
container platforms mount them; the environment wins over a file.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from convergence.errors import SettingsError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MIN_ROOT_KEY_CHARS = 32
_UVICORN_TRUSTS = "127.0.0.1,::1"


class Environment(StrEnum):
    """Environment of this process; decides the suffix of every org's dataset."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"

    @property
    def dataset_suffix(self) -> str:
        """`dev`, `stage` or `prod`."""
        return {"development": "dev", "staging": "stage", "production": "prod"}[self.value]


class Settings(BaseSettings):
    """The environment, parsed. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    environment: Environment = Field(
        default=Environment.DEVELOPMENT,
        description="`development`, `staging` or `production`: names the datasets of the orgs, "
        "`{org}_dev`, `{org}_stage` or `{org}_prod`; production refuses weak settings.",
    )
    gcp_project_id: str = Field(
        default="local-dev-project", description="Google Cloud project of the datasets."
    )
    bigquery_location: str = Field(default="US", description="Location of the datasets.")
    kms_key_name: str | None = Field(
        default=None,
        description="Cloud KMS key that encrypts credentials and keys, as a full resource name.",
    )

    root_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("CA_ROOT_API_KEY", "ADMIN_API_KEY"),
        description="The platform's own key; at least 32 characters in production. Secret. API.",
    )
    disable_auth: bool = Field(
        default=False, description="Serve without authentication; development only. API."
    )
    enable_api_docs: bool = Field(default=True, description="Serve `/api/v1/docs`. API.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins of browsers that may call the API, separated by commas. API.",
    )
    rate_limit_enabled: bool = Field(
        default=True, description="Limit request rates; can't be off in production. API."
    )
    rate_limit_requests_per_minute: int = Field(
        default=100, ge=1, description="Requests of one org in a minute. API."
    )
    rate_limit_global_requests_per_minute: int = Field(
        default=10_000, ge=1, description="Requests of all orgs together in a minute. API."
    )

    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks of reverse proxies whose `X-Forwarded-For` counts, as CIDRs "
        "separated by commas. API.",
    )
    forwarded_allow_ips: str | None = Field(
        default=None,
        description="uvicorn's own variable: with `--proxy-headers` it reads `X-Forwarded-For` "
        "of these peers. API.",
    )

    bigquery_emulator_host: str | None = Field(
        default=None,
        description="Address of a stand-in for BigQuery; production refuses it.",
    )
    bigquery_storage_emulator_host: str | None = Field(
        default=None,
        description="Address of a stand-in for BigQuery's Storage API; production refuses it.",
    )
    kms_emulator_host: str | None = Field(
        default=None, description="Address of a stand-in for Cloud KMS; production refuses it."
    )
    openai_base_url: str | None = Field(
        default=None, description="Base URL instead of OpenAI's own; production refuses it."
    )
    anthropic_base_url: str | None = Field(
        default=None, description="Base URL instead of Anthropic's own; production refuses it."
    )
    deepseek_base_url: str | None = Field(
        default=None, description="Base URL instead of DeepSeek's own; production refuses it."
    )
    gcp_api_base_url: str | None = Field(
        default=None, description="Base URL instead of Google's REST APIs; production refuses it."
    )
    provider_base_urls: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="Base URLs of any providers of the registry, as a JSON object by provider; "
        "production refuses it.",
    )
    aws_api_base_url: str | None = Field(
        default=None, description="Base URL instead of AWS's own; production refuses it."
    )

    aws_platform_access_key_id: str | None = Field(
        default=None, description="AWS access key of the platform, which assumes customers' roles."
    )
    aws_platform_secret_access_key: SecretStr | None = Field(
        default=None, description="The secret of that access key. Secret."
    )

    airflow_api_url: str | None = Field(
        default=None,
        description="Address of Airflow's API server; unset, the server that holds the API. API.",
    )
    airflow_api_username: str | None = Field(
        default=None,
        description="Airflow account of the API, which may trigger, stop and read runs. API.",
    )
    airflow_api_password: SecretStr | None = Field(
        default=None, description="The password of that account. Secret. API."
    )
    airflow_api_most_changes: int | None = Field(
        default=None,
        ge=1,
        description="Changes that the API sends to Airflow at the same time; unset for any number. "
        "1 where Airflow runs on SQLite, which locks itself when two changes meet. API.",
    )
    admin_call_wait_seconds: float = Field(
        default=120.0,
        gt=0,
        description="Seconds that a bootstrap or onboarding call waits for its run before it "
        "responds with 202. API.",
    )
    platform_stall_seconds: float = Field(
        default=180.0,
        ge=1,
        description="Seconds in which tasks wait and none begins until the service is not ready "
        "and the platform's recipients are notified. API.",
    )

    state_database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the state store; unset, SQLite below `CONVERGENCE_VAR_DIR`. "
        "Secret.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis that holds the counters of rate limits; required for several API "
        "processes in production. Secret.",
    )
    api_processes: int = Field(
        default=1,
        ge=1,
        validation_alias=AliasChoices("API_PROCESSES", "AIRFLOW__API__WORKERS"),
        description="API processes of the installation. API.",
    )

    configs_dir: Path = Field(
        default=PROJECT_ROOT / "include" / "configs",
        validation_alias="CONVERGENCE_CONFIGS_DIR",
        description="Directory of pipelines, schemas, SQL and settings.",
    )
    var_dir: Path = Field(
        default=PROJECT_ROOT / "var",
        validation_alias="CONVERGENCE_VAR_DIR",
        description="Directory of local state: spool, raw responses, quarantine, SQLite.",
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(",") if part.strip()]
            return tuple(ip_network(part) for part in parts)
        return value

    @field_validator("provider_base_urls", mode="before")
    @classmethod
    def _read_base_urls(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError("is not a JSON object of base URLs by provider") from None
        return value

    @property
    def platform_stall(self) -> timedelta:
        """Longest time without a started task while tasks wait."""
        return timedelta(seconds=self.platform_stall_seconds)

    @property
    def state_url(self) -> str:
        """SQLAlchemy URL of the state store; SQLite under `var/` unless configured."""
        if self.state_database_url is not None:
            return self.state_database_url.get_secret_value()
        return f"sqlite:///{self.var_dir / 'state' / 'state.db'}"

    @property
    def server_trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `FORWARDED_ALLOW_IPS`, or uvicorn's default; names are left out."""
        networks: list[IPv4Network | IPv6Network] = []
        for part in (self.forwarded_allow_ips or _UVICORN_TRUSTS).split(","):
            with suppress(ValueError):
                networks.append(ip_network(part.strip(), strict=False))
        return tuple(networks)

    @property
    def _server_trusts_everyone(self) -> bool:
        parts = [part.strip() for part in (self.forwarded_allow_ips or "").split(",")]
        return "*" in parts or any(one.prefixlen == 0 for one in self.server_trusted_proxies)

    @property
    def emulators(self) -> dict[str, str]:
        """The variables that point at a stand-in instead of the real service, as set."""
        names = (
            "bigquery_emulator_host",
            "bigquery_storage_emulator_host",
            "kms_emulator_host",
            "openai_base_url",
            "anthropic_base_url",
            "deepseek_base_url",
            "gcp_api_base_url",
            "aws_api_base_url",
        )
        hosts = {name.upper(): value for name in names if (value := getattr(self, name))}
        moved = ", ".join(f"{name}={url}" for name, url in sorted(self.provider_base_urls.items()))
        return {**hosts, "PROVIDER_BASE_URLS": moved} if moved else hosts

    def org_dataset(self, org_slug: str) -> str:
        """Name of an org's dataset, such as `acme_corp_prod`."""
        return f"{org_slug}_{self.environment.dataset_suffix}"

    def find_errors(self, *, serves_api: bool = True) -> list[str]:
        """Return the errors of the settings in this environment; none in development.

        Only a process that serves the API needs a root key and shared counters: workers hold less.
        """
        if self.environment is Environment.DEVELOPMENT:
            return []
        where = self.environment.value
        open_to_all = f"DISABLE_AUTH: true; authentication can't be off in {where}"
        if self.environment is not Environment.PRODUCTION:
            return [open_to_all] if self.disable_auth else []
        everyone = "trusts every address; name the networks of the reverse proxies"
        key = self.root_api_key.get_secret_value() if self.root_api_key else ""
        violations = [
            (serves_api and not key, "CA_ROOT_API_KEY: missing; production needs a root key"),
            (
                0 < len(key) < MIN_ROOT_KEY_CHARS,
                f"CA_ROOT_API_KEY: {len(key)} characters; at least {MIN_ROOT_KEY_CHARS} are needed",
            ),
            (
                len(key) >= MIN_ROOT_KEY_CHARS and len(set(key)) < MIN_ROOT_KEY_CHARS // 4,
                "CA_ROOT_API_KEY: too few different characters; make one with a random generator",
            ),
            (not self.kms_key_name, "KMS_KEY_NAME: missing; credentials can't be encrypted"),
            (self.disable_auth, open_to_all),
            (not self.rate_limit_enabled, "RATE_LIMIT_ENABLED: false; limits can't be off"),
            (
                serves_api and self.api_processes > 1 and self.redis_url is None,
                f"REDIS_URL: missing; {self.api_processes} API processes share their limits there",
            ),
            (
                any("*" in origin for origin in self.cors_origins),
                "CORS_ORIGINS: a wildcard; name each origin",
            ),
            (
                serves_api and self._server_trusts_everyone,
                f"FORWARDED_ALLOW_IPS: {self.forwarded_allow_ips} {everyone}",
            ),
            *(
                (True, f"TRUSTED_PROXIES: {network} {everyone}")
                for network in self.trusted_proxies
                if network.prefixlen == 0
            ),
            *(
                (True, f"{name}: set to {value}; production talks to the real service only")
                for name, value in self.emulators.items()
            ),
        ]
        return [text for wrong, text in violations if wrong]


_Read: TypeAlias = tuple[Settings, list[str]]


def read_settings(*, serves_api: bool = True) -> Settings:
    """Parse the environment now, and the files of `SECRETS_DIR` where it is set.

    Raises:
        SettingsError: the directory is missing; or values have the wrong type or are refused by
            their environment, all named at once.
    """
    secrets_dir = os.environ.get("SECRETS_DIR") or None
    if secrets_dir is not None and not Path(secrets_dir).is_dir():
        missing = [f"SECRETS_DIR: {secrets_dir} is not a directory"]
        raise SettingsError("The environment is wrong", errors=missing)
    malformed: list[str] = []
    try:
        settings = Settings(_secrets_dir=secrets_dir)
    except ValidationError as error:
        settings, malformed = _without_malformed(error, secrets_dir)
    violations = malformed + settings.find_errors(serves_api=serves_api)
    if violations:
        where = settings.environment.title()
        refused = "The environment is wrong" if malformed else f"{where} refuses this environment"
        raise SettingsError(refused, errors=violations)
    return settings


def _without_malformed(error: ValidationError, secrets_dir: str | None) -> _Read:
    """Return the settings without the malformed values, and the errors of these values."""
    violations, defaults = [], {}
    for violation in error.errors(include_input=False, include_url=False):
        name = str(violation["loc"][0])
        violations.append(
            f"{'.'.join(str(part) for part in violation['loc']).upper()}: {violation['msg']}"
        )
        defaults[name] = _field(name).get_default(call_default_factory=True)
    return Settings(_secrets_dir=secrets_dir, **defaults), violations


def _field(name: str) -> FieldInfo:
    """Return the field with this name or variable."""
    if name in Settings.model_fields:
        return Settings.model_fields[name]
    return next(
        field
        for field in Settings.model_fields.values()
        if (
            isinstance(field.validation_alias, AliasChoices)
            and name in field.validation_alias.choices
        )
        or field.validation_alias == name
    )


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of a process that runs pipelines; read at the first call."""
    return read_settings(serves_api=False)

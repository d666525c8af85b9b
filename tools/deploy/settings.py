"""Settings of a deployment, from its environment; a password may be a file."""

from __future__ import annotations

import os

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_PASSWORD_CHARS = 12


class AccountSettings(BaseSettings):
    """Accounts with a log-in; a password may be a file of its variable's name in `SECRETS_DIR`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    airflow_admin_username: str = Field(default="admin", description="Login of Airflow's admin.")
    airflow_admin_password: SecretStr = Field(
        min_length=MIN_PASSWORD_CHARS, description="The admin's password; at least 12 characters."
    )
    airflow_viewer_username: str = Field(
        default="viewer", description="Login of an account that may only look."
    )
    airflow_viewer_password: SecretStr = Field(
        min_length=MIN_PASSWORD_CHARS, description="The viewer's password; at least 12 characters."
    )
    airflow_api_username: str = Field(
        default="convergence", description="Login of the API; may trigger, stop and read runs."
    )
    airflow_api_password: SecretStr = Field(
        min_length=MIN_PASSWORD_CHARS, description="The API's password; at least 12 characters."
    )
    airflow_accounts_domain: str = Field(
        default="accounts.invalid", description="Domain of the accounts' email addresses."
    )


class EntrySettings(BaseSettings):
    """Settings of a container that starts its command."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    sandbox_forward: str | None = Field(
        default=None,
        description="Host whose sandbox ports are forwarded to loopback; development only.",
    )


def read_account_settings() -> AccountSettings:
    """Parse the environment and the files of `SECRETS_DIR` where it is set.

    Raises:
        pydantic.ValidationError: a password is missing or shorter than 12 characters.
    """
    return AccountSettings(_secrets_dir=os.environ.get("SECRETS_DIR") or None)

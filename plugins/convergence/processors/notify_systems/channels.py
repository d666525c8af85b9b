"""The settings of the channels: `notify_systems/config.yml` and `{channel}_notification/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from convergence.config_files import Strict, read_config

FOLDER: Final = "notify_systems"
ADMIN_EMAIL: Final = "admin_email"
"""Among recipients: the address of the org's administrator."""

Trigger = Literal["on_failure", "on_success", "on_completion", "always"]
Audience = Literal["organization", "platform"]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{1,48}[a-z0-9]$")]
ConnectionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
TemplateFile = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*\.j2$")]
"""A file of the channel's `templates/`."""

LONGEST_ADDRESS: Final = 254
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


def is_address(text: str) -> bool:
    """Return whether a text is one plain email address, without a name and without line breaks."""
    return len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("must be an email address such as finance@example.com")
    return text


def _recipient(text: str) -> str:
    return text if text == ADMIN_EMAIL else _address(text)


Address = Annotated[str, AfterValidator(_address)]
Recipient = Annotated[str, AfterValidator(_recipient)]


class Words(Strict):
    """`notify_systems/config.yml`: what all channels share.

    Attributes:
        base_url: where customers reach the API; Airflow's own address when absent.
        run_link: of an org's run; `{base_url}`, `{org_slug}` and `{run_id}` are filled in.
        fleet_link: of a whole run, for the platform; `{base_url}`, `{dag_id}`, `{dag_run_id}`.
        reasons: why a run failed, for a customer, by the error's code.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*[^\s/]$")] | None = None
    run_link: str = Field(min_length=1)
    fleet_link: str = Field(min_length=1)
    reasons: dict[str, str] = Field(default_factory=dict)


class _Recipients(Strict):
    """Recipients by audience."""


class EmailRecipients(_Recipients):
    """Addresses of the platform, of every org, and of single orgs instead."""

    platform: tuple[Address, ...] = ()
    organization: tuple[Recipient, ...] = (ADMIN_EMAIL,)
    organizations: dict[Slug, tuple[Recipient, ...]] = Field(default_factory=dict)


class SlackRecipients(_Recipients):
    """Airflow Connections of webhooks; otherwise as `EmailRecipients`."""

    platform: tuple[ConnectionId, ...] = ()
    organization: tuple[ConnectionId, ...] = ()
    organizations: dict[Slug, tuple[ConnectionId, ...]] = Field(default_factory=dict)


class EmailTemplates(Strict):
    """Files of one message."""

    subject: TemplateFile
    text: TemplateFile
    html: TemplateFile | None = None


class SlackTemplates(Strict):
    """File of one message."""

    text: TemplateFile


class _Channel(Strict):
    """Settings of both channels.

    Attributes:
        timeout_seconds: longest wait for a response.
        attempts: how often one message is tried, all tries of the task together.
        retry_delay_seconds: before the second try; doubles with each further one.
        triggers: the audiences of each trigger that a pipeline's `notify:` may name.
    """

    timeout_seconds: int = Field(default=20, ge=1, le=120)
    attempts: int = Field(default=3, ge=1, le=10)
    retry_delay_seconds: float = Field(default=2.0, ge=0, le=60)
    triggers: dict[Trigger, tuple[Audience, ...]] = Field(min_length=1)


class EmailChannel(_Channel):
    """`email_notification/config.yml`."""

    connection: ConnectionId = "smtp_default"
    from_email: Address | None = None
    recipients: EmailRecipients = EmailRecipients()
    templates: dict[Audience, EmailTemplates] = Field(min_length=2, max_length=2)


class SlackChannel(_Channel):
    """`slack_notification/config.yml`."""

    recipients: SlackRecipients = SlackRecipients()
    templates: dict[Audience, SlackTemplates] = Field(min_length=2, max_length=2)


Channel = EmailChannel | SlackChannel
CHANNELS: Final[Mapping[str, type[EmailChannel | SlackChannel]]] = {
    "email": EmailChannel,
    "slack": SlackChannel,
}


def folder_of(configs: Path, name: str) -> Path:
    """Return the folder of a channel's config.yml and templates."""
    return configs / FOLDER / f"{name}_notification"


def words(configs: Path) -> Words:
    """Return the settings that all channels share.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    return _words(configs / FOLDER / "config.yml")


def channel(configs: Path, name: str) -> Channel:
    """Return the settings of a channel.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    return _channel(folder_of(configs, name) / "config.yml", name)


@lru_cache(maxsize=4)
def _words(path: Path) -> Words:
    return read_config(path, Words)


@lru_cache(maxsize=16)
def _channel(path: Path, name: str) -> Channel:
    return read_config(path, CHANNELS[name])


def recipients_for(settings: Channel, audience: Audience, org_slug: str) -> tuple[str, ...]:
    """Return the configured recipients; `admin_email` is not resolved yet."""
    if audience == "platform":
        return settings.recipients.platform
    chosen = settings.recipients.organizations.get(org_slug)
    return settings.recipients.organization if chosen is None else chosen

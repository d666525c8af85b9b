"""Configuration of the steps that send messages."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from convergence.processors.notify_systems.channels import (
    Audience,
    ConnectionId,
    Recipient,
    Trigger,
)
from convergence.processors.step_config import StepConfig


class _NotificationConfig(StepConfig):
    """Configuration that the steps of both channels share."""

    trigger: Trigger = "on_completion"
    """When the step sends: on_success and on_failure look at how the run stands; on_completion
    when it did something, always also when there was nothing to do."""

    audience: Audience = "organization"
    """`organization`: the org's own recipients. `platform`: those of the platform."""

    must_arrive: bool = False
    """Whether a message that can't be sent fails the run; it is recorded in any case."""


class EmailNotificationConfig(_NotificationConfig):
    """Sends an email about the org's run so far, once per run."""

    ps_type: ClassVar[str] = "notify_systems.email_notification"

    recipients: Annotated[tuple[Recipient, ...], Field(max_length=50)] = ()
    """Addresses, or admin_email for the org's administrator, instead of those of the channel's
    config.yml."""


class SlackNotificationConfig(_NotificationConfig):
    """Posts to Slack about the org's run so far, once per run."""

    ps_type: ClassVar[str] = "notify_systems.slack_notification"

    recipients: Annotated[tuple[ConnectionId, ...], Field(max_length=50)] = ()
    """Airflow Connections of webhooks, instead of those of the channel's config.yml."""

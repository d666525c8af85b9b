"""`notify_systems.slack_notification`: a Slack message about the org's run so far."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.notify_systems.config import SlackNotificationConfig
from convergence.processors.notify_systems.links import base_url
from convergence.processors.notify_systems.notifier import Notifier
from convergence.processors.notify_systems.step import NotificationStep, notify_recipients


class SlackNotification(OrgProcessor[SlackNotificationConfig]):
    """Post once per run to the org's webhooks, or to the platform's."""

    Config = SlackNotificationConfig

    def run_step(self, org: OrgContext, config: SlackNotificationConfig) -> StepResult:
        """Send the message and return `notification_sent`.

        Raises:
            NotificationUnavailableError: the message must arrive and was not sent.
        """
        step = NotificationStep(channel="slack", **dict(config))
        notifier = Notifier(org.store, org.settings.configs_dir, org.now)
        return notify_recipients(org, step, notifier=notifier, base_url=base_url())

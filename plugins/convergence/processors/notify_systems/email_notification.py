"""`notify_systems.email_notification`: an email about the org's run so far."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.notify_systems.config import EmailNotificationConfig
from convergence.processors.notify_systems.links import base_url
from convergence.processors.notify_systems.notifier import Notifier
from convergence.processors.notify_systems.step import NotificationStep, notify_recipients


class EmailNotification(OrgProcessor[EmailNotificationConfig]):
    """Send one email per run to the org's recipients, or to the platform's."""

    Config = EmailNotificationConfig

    def run_step(self, org: OrgContext, config: EmailNotificationConfig) -> StepResult:
        """Send the message and return `notification_sent`.

        Raises:
            NotificationUnavailableError: the message must arrive and was not sent.
        """
        step = NotificationStep(channel="email", **dict(config))
        notifier = Notifier(org.store, org.settings.configs_dir, org.now)
        return notify_recipients(org, step, notifier=notifier, base_url=base_url())

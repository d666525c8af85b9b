"""Slack through the provider's webhook Connections."""

from __future__ import annotations

import http.client
import urllib.error
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
from airflow.sdk.exceptions import AirflowException
from slack_sdk.errors import SlackClientError

from convergence.errors import NotificationRejectedError, NotificationUnavailableError
from convergence.processors.notify_systems.channels import SlackChannel
from convergence.processors.notify_systems.messages import Message
from convergence.security.redaction import redact, register_secret
from convergence.state.notifications import NotificationKey

if TYPE_CHECKING:
    from datetime import datetime

    from slack_sdk.webhook import WebhookResponse

LONGEST_WAIT_SECONDS = 30.0


class SlackSender:
    """Posts to the webhooks of Connections."""

    def __init__(self, channel: SlackChannel) -> None:
        self._channel = channel
        self._posted: set[tuple[NotificationKey, str]] = set()

    def send(
        self,
        message: Message,
        *,
        to: Sequence[str],
        key: NotificationKey,
        now: datetime,  # noqa: ARG002  # the senders are called alike
    ) -> int:
        """Post one message to each webhook; return their number.

        A retry skips the webhooks that accepted the message before.

        Raises:
            NotificationUnavailableError: no answer, 429 or 5xx; with `retry_after` where said.
            NotificationRejectedError: any other answer, or the Connection is missing or wrong.
        """
        for connection in to:
            if (key, connection) not in self._posted:
                self._post(connection, message)
                self._posted.add((key, connection))
        return len(to)

    def close(self) -> None:
        """Do nothing; no connection stays open."""

    def _post(self, connection: str, message: Message) -> None:
        hook = SlackWebhookHook(
            slack_webhook_conn_id=connection,
            timeout=self._channel.timeout_seconds,
            retry_handlers=[],
        )
        try:
            client = hook.client
            # A webhook's URL is the secret: it is enough to post there.
            register_secret(client.url)
            register_secret(client.url.partition("/services/")[2] or client.url)
            response = client.send(text=message.text, unfurl_links=False, unfurl_media=False)
        except AirflowException:
            raise NotificationRejectedError(
                f"The Airflow Connection {connection} is not defined, or holds no webhook"
            ) from None
        except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
            raise NotificationUnavailableError(
                f"Slack does not respond ({type(error).__name__})"
            ) from None
        except (SlackClientError, ValueError) as error:
            raise NotificationRejectedError(
                redact(f"The request to Slack failed: {error}")
            ) from None
        _judge(response)


def _judge(response: WebhookResponse) -> None:
    """Accept status 200; raise a retryable error for 429 and 5xx, a final one otherwise.

    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
    """
    if response.status_code == 200:
        return
    message = (
        f"Slack says: {redact(' '.join(response.body.split())[:200])} ({response.status_code})"
    )
    if response.status_code == 429 or response.status_code >= 500:
        raise NotificationUnavailableError(message, retry_after=_wait(response))
    raise NotificationRejectedError(message)


def _wait(response: WebhookResponse) -> float:
    """Return the seconds that Slack asks to wait, at most LONGEST_WAIT_SECONDS."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    text = str(headers.get("retry-after", ""))
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isdecimal() else 0.0

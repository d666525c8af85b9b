"""Send each message once: claim it, try it `attempts` times, record the outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from convergence.errors import NotificationUnavailableError
from convergence.processors.batch import build_run_error
from convergence.processors.notify_systems.channels import (
    Audience,
    Channel,
    EmailChannel,
    channel,
    folder_of,
)
from convergence.processors.notify_systems.messages import Message, Report, render
from convergence.state import notifications
from convergence.state.notifications import NotificationKey, NotificationStatus
from convergence.state.store import StateStore

BUDGET = timedelta(minutes=5)
"""Longest time for all notifications of one run."""

log = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends messages of one channel: `mail.MailSender`, `slack.SlackSender`."""

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        """Send one message; return the number of recipients that accepted it."""

    def close(self) -> None:
        """Close the connection."""


Connect = Callable[[str, Channel], Sender]


def connect_sender(name: str, settings: Channel) -> Sender:
    """Return a sender that uses Airflow's Connections."""
    del name
    if isinstance(settings, EmailChannel):
        from convergence.processors.notify_systems.mail import MailSender

        return MailSender(settings)
    from convergence.processors.notify_systems.slack import SlackSender

    return SlackSender(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Outcome of one message; `error` says why it was not sent."""

    key: NotificationKey
    sent: bool
    recipients: int = 0
    error: str | None = None


@dataclass
class Notifier:
    """Sends through the channels of a folder of configurations; a context.

    Attributes:
        store: where claims are kept.
        configs: the folder of configurations.
        now: returns the current time, UTC.
        connect: makes the sender of a channel.
        sleep: waits for a number of seconds.
    """

    store: StateStore
    configs: Path
    now: Callable[[], datetime]
    connect: Connect = connect_sender
    sleep: Callable[[float], None] = time.sleep
    budget: timedelta = BUDGET
    deliveries: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._senders: dict[str, Sender] = {}
        self._deadline = time.monotonic() + self.budget.total_seconds()

    def channel(self, name: str) -> Channel:
        """Return the settings of a channel.

        Raises:
            ConfigurationError: they are missing or wrong.
        """
        return channel(self.configs, name)

    def send_report(
        self, key: NotificationKey, report: Report, *, audience: Audience, to: Sequence[str]
    ) -> Delivery:
        """Send a report unless it was sent before; return the outcome.

        A failure is recorded, not raised.
        """
        settings, folder = self.channel(key.channel), folder_of(self.configs, key.channel)
        return self._deliver(key, lambda: render(settings, audience, report, folder=folder), to=to)

    def send(self, key: NotificationKey, message: Message, *, to: Sequence[str]) -> Delivery:
        """Send a message without a template; otherwise as `send_report`."""
        return self._deliver(key, lambda: message, to=to)

    def _deliver(
        self, key: NotificationKey, compose: Callable[[], Message], *, to: Sequence[str]
    ) -> Delivery:
        settings = self.channel(key.channel)
        outcome: Delivery | None = None
        for attempt in range(settings.attempts):
            with self.store.begin() as conn:
                owner = notifications.claim_notification(
                    conn, key, now=self.now(), max_attempts=settings.attempts
                )
            if owner is None:
                break
            outcome, wait = self._try(key, compose, to=to, settings=settings)
            with self.store.begin() as conn:
                notifications.finish_notification(
                    conn,
                    key,
                    owner=owner,
                    now=self.now(),
                    recipients=outcome.recipients,
                    error=outcome.error,
                )
            if wait is None or not self._has_time(wait := max(wait, _delay(settings, attempt))):
                break
            self.sleep(wait)
        if outcome is None:
            return self._before(key)
        self.deliveries.append(outcome)
        return outcome

    def _before(self, key: NotificationKey) -> Delivery:
        """Return the recorded outcome of a message that this call does not send."""
        with self.store.read() as conn:
            kept = notifications.get_notification(conn, key)
        sent = kept is not None and kept.status is NotificationStatus.SENT
        if kept is None or sent:
            return Delivery(key=key, sent=sent, recipients=kept.recipients if kept else 0)
        return Delivery(key=key, sent=False, error=kept.error or "it is being sent")

    def _try(
        self,
        key: NotificationKey,
        compose: Callable[[], Message],
        *,
        to: Sequence[str],
        settings: Channel,
    ) -> tuple[Delivery, float | None]:
        """Try once; return the outcome and the wait in seconds, None when a retry is useless."""
        wait: float | None = None
        try:
            message = compose()
            sender = self._sender(key.channel, settings)
            taken = sender.send(message, to=to, key=key, now=self.now())
            return Delivery(key=key, sent=True, recipients=taken), None
        except NotificationUnavailableError as error:
            pause = error.details.pop("retry_after", 0.0)
            wait = float(pause) if isinstance(pause, int | float) else 0.0
            reason = build_run_error(error).message
        except Exception as error:  # noqa: BLE001  # a failed message must not fail its run
            reason = build_run_error(error).message
        log.warning("%s could not be notified by %s: %s", key.org_slug, key.channel, reason)
        return Delivery(key=key, sent=False, error=reason), wait

    def _sender(self, name: str, settings: Channel) -> Sender:
        if name not in self._senders:
            self._senders[name] = self.connect(name, settings)
        return self._senders[name]

    def _has_time(self, wait: float) -> bool:
        return time.monotonic() + wait < self._deadline

    def close(self) -> None:
        """Close every sender."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()

    def summary(self) -> Mapping[str, int]:
        """Count the messages that were sent and those that failed."""
        sent = sum(one.sent for one in self.deliveries)
        return {"sent": sent, "failed": len(self.deliveries) - sent}


@contextmanager
def notifying(notifier: Notifier) -> Iterator[Notifier]:
    """Yield the notifier and close it afterwards."""
    try:
        yield notifier
    finally:
        notifier.close()


def _delay(settings: Channel, attempt: int) -> float:
    return settings.retry_delay_seconds * 2.0**attempt

"""Send each message once: claim it, try as often as the channel says, record what became of it."""

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
"""How long the end of one run may take to tell everybody of it."""

log = logging.getLogger(__name__)


class Sender(Protocol):
    """A way out: `mail.MailSender`, `slack.SlackSender`."""

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        """Send one message; how many recipients took it."""

    def close(self) -> None:
        """Let go of what is open."""


Connect = Callable[[str, Channel], Sender]


def connect_sender(name: str, settings: Channel) -> Sender:
    """The way out through Airflow's Connections."""
    del name
    if isinstance(settings, EmailChannel):
        from convergence.processors.notify_systems.mail import MailSender

        return MailSender(settings)
    from convergence.processors.notify_systems.slack import SlackSender

    return SlackSender(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one message; `error` says why it was not sent."""

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
        now: the present, UTC.
        connect: makes the way out of a channel.
        sleep: waits, in seconds.
    """

    store: StateStore
    configs: Path
    now: Callable[[], datetime]
    connect: Connect = connect_sender
    sleep: Callable[[float], None] = time.sleep
    budget: timedelta = BUDGET
    told: list[Told] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._senders: dict[str, Sender] = {}
        self._deadline = time.monotonic() + self.budget.total_seconds()

    def channel(self, name: str) -> Channel:
        """A channel's settings.

        Raises:
            ConfigurationError: they are missing or wrong.
        """
        return channel(self.configs, name)

    def tell(
        self, key: NotificationKey, report: Report, *, audience: Audience, to: Sequence[str]
    ) -> Told:
        """Send a report unless that is done, and say what became of it.

        A failure is recorded, not raised.
        """
        settings, folder = self.channel(key.channel), folder_of(self.configs, key.channel)
        return self._deliver(key, lambda: render(settings, audience, report, folder=folder), to=to)

    def send(self, key: NotificationKey, message: Message, *, to: Sequence[str]) -> Told:
        """Send a message that needs no template, as `tell` does."""
        return self._deliver(key, lambda: message, to=to)

    def _deliver(
        self, key: NotificationKey, compose: Callable[[], Message], *, to: Sequence[str]
    ) -> Told:
        settings = self.channel(key.channel)
        outcome: Told | None = None
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
        self.told.append(outcome)
        return outcome

    def _before(self, key: NotificationKey) -> Told:
        """What became of a message that is not this call's to send."""
        with self.store.read() as conn:
            kept = notifications.get_notification(conn, key)
        sent = kept is not None and kept.status is NotificationStatus.SENT
        if kept is None or sent:
            return Told(key=key, sent=sent, recipients=kept.recipients if kept else 0)
        return Told(key=key, sent=False, error=kept.error or "it is being sent")

    def _try(
        self,
        key: NotificationKey,
        compose: Callable[[], Message],
        *,
        to: Sequence[str],
        settings: Channel,
    ) -> tuple[Told, float | None]:
        """One try, and how many seconds to wait for another; None when there is no use in one."""
        wait: float | None = None
        try:
            message = compose()
            sender = self._sender(key.channel, settings)
            taken = sender.send(message, to=to, key=key, now=self.now())
            return Told(key=key, sent=True, recipients=taken), None
        except NotificationUnavailableError as error:
            asked = error.details.pop("retry_after", 0.0)
            wait = float(asked) if isinstance(asked, int | float) else 0.0
            told = build_run_error(error).message
        except Exception as error:  # noqa: BLE001  # no failure to tell may fail what is told of
            told = build_run_error(error).message
        log.warning("%s could not be told by %s: %s", key.org_slug, key.channel, told)
        return Told(key=key, sent=False, error=told), wait

    def _sender(self, name: str, settings: Channel) -> Sender:
        if name not in self._senders:
            self._senders[name] = self.connect(name, settings)
        return self._senders[name]

    def _has_time(self, wait: float) -> bool:
        return time.monotonic() + wait < self._deadline

    def close(self) -> None:
        """Let go of every way out."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()

    def summary(self) -> Mapping[str, int]:
        """How many messages were sent and how many were not."""
        sent = sum(one.sent for one in self.told)
        return {"sent": sent, "failed": len(self.told) - sent}


@contextmanager
def notifying(notifier: Notifier) -> Iterator[Notifier]:
    """The notifier, closed afterwards."""
    try:
        yield notifier
    finally:
        notifier.close()


def _delay(settings: Channel, attempt: int) -> float:
    return settings.retry_delay_seconds * 2.0**attempt

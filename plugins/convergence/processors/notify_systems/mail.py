"""Email through the SMTP provider's Connection: one line to the server for many messages."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from convergence.errors import NotificationRejectedError, NotificationUnavailableError
from convergence.processors.notify_systems.channels import EmailChannel, is_address
from convergence.processors.notify_systems.messages import Message
from convergence.security.redaction import redact, register_secret
from convergence.state.notifications import NotificationKey

if TYPE_CHECKING:
    from datetime import datetime

_SECRET_EXTRAS = ("access_token", "client_secret")


class _Smtp(SmtpHook):
    """The provider's hook, with our timeouts instead of the Connection's, and our message."""

    def __init__(self, connection: str, *, seconds: int) -> None:
        super().__init__(smtp_conn_id=connection)
        self._seconds = seconds

    @property
    def timeout(self) -> int:
        return self._seconds

    @property
    def smtp_retry_limit(self) -> int:
        # Tries are counted where claims are: two places would multiply them.
        return 0

    def mask_secrets(self) -> None:
        """Keep the Connection's secrets out of every text from here on."""
        found = self.get_connection(self.smtp_conn_id)
        extra = found.extra_dejson
        for secret in (found.password, *(extra.get(name) for name in _SECRET_EXTRAS)):
            if secret:
                register_secret(str(secret))

    def deliver(self, message: EmailMessage, sender: str, to: Sequence[str]) -> int:
        """Send; how many recipients were taken."""
        if not isinstance(self._smtp_client, smtplib.SMTP):
            raise NotificationUnavailableError("There is no line to the mail server")
        return len(to) - len(self._smtp_client.send_message(message, sender, list(to)))

    def hang_up(self) -> None:
        """End the line; a server that is gone already is no fault."""
        client, self._smtp_client = self._smtp_client, None
        if isinstance(client, smtplib.SMTP):
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()


class MailSender:
    """Sends through one Connection; a context, since the line is kept between messages."""

    def __init__(self, channel: EmailChannel) -> None:
        self._channel = channel
        self._hook: _Smtp | None = None

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        """Send one message; how many of its recipients the server took.

        Raises:
            NotificationUnavailableError: the server does not answer, hangs up, or says to come
                back later.
            NotificationRejectedError: it refuses the message or all of its recipients, the
                Connection is missing, or what we were given has no form that can be sent.
        """
        try:
            hook = self._line()
            sender = self._channel.from_email or hook.from_email
            if not sender or not is_address(sender):
                raise NotificationRejectedError(
                    "No sender: the channel's from_email and the Connection's are no address"
                )
            return hook.deliver(
                _letter(message, sender=sender, to=to, key=key, now=now), sender, to
            )
        except smtplib.SMTPRecipientsRefused as error:
            self.close()
            codes = [code for code, _ in error.recipients.values()]
            raise _answered(min(codes, default=550), "refuses every recipient") from None
        except smtplib.SMTPResponseException as error:
            self.close()
            raise _answered(error.smtp_code, _words(error)) from None
        except smtplib.SMTPServerDisconnected:
            self.close()
            raise NotificationUnavailableError("The mail server hung up or fell silent") from None
        # smtplib's errors are OSErrors too: the order matters.
        except (smtplib.SMTPException, AirflowException) as error:
            self.close()
            told = redact(f"The mail server can't be used: {error}")
            raise NotificationRejectedError(told) from None
        except OSError as error:
            self.close()
            why = type(error).__name__
            raise NotificationUnavailableError(f"The mail server does not answer ({why})") from None

    def close(self) -> None:
        """End the line to the server."""
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.hang_up()

    def _line(self) -> _Smtp:
        if self._hook is None:
            hook = _Smtp(self._channel.connection, seconds=self._channel.timeout_seconds)
            try:
                hook.mask_secrets()
            except AirflowNotFoundException:
                raise NotificationRejectedError(
                    f"The Airflow Connection {self._channel.connection} is not defined"
                ) from None
            hook.get_conn()
            self._hook = hook
        return self._hook


def _letter(
    message: Message, *, sender: str, to: Sequence[str], key: NotificationKey, now: datetime
) -> EmailMessage:
    """The message as it travels; its id is the claim's, so that a mailbox knows a repetition.

    Raises:
        NotificationRejectedError: a header would hold a line break, or a recipient is no address.
    """
    if wrong := [one for one in to if not is_address(one)]:
        raise NotificationRejectedError(
            f"{len(wrong)} of {len(to)} recipients are no email address"
        )
    letter = EmailMessage(policy=SMTP)
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
    try:
        letter["From"] = sender
        letter["To"] = ", ".join(to)
        letter["Subject"] = message.subject
    except ValueError:
        raise NotificationRejectedError("A header would hold a line break") from None
    letter["Date"] = format_datetime(now)
    letter["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    # Machines don't answer machines: https://www.rfc-editor.org/rfc/rfc3834#section-5
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    if message.html is not None:
        letter.add_alternative(message.html, subtype="html")
    return letter


def _answered(code: int, said: str) -> NotificationUnavailableError | NotificationRejectedError:
    """The error of an answer of the server: 4yz is passing, 5yz is for good (RFC 5321, 4.2.1)."""
    told = f"The mail server {said} ({code})"
    return (
        NotificationUnavailableError(told) if 400 <= code < 500 else NotificationRejectedError(told)
    )


def _words(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return f"says: {redact(' '.join(text.split())[:200])}"

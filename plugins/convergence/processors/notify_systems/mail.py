"""Send email through an SMTP Connection; one connection serves many messages."""

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
        """Send; return the number of accepted recipients."""
        if not isinstance(self._smtp_client, smtplib.SMTP):
            raise NotificationUnavailableError("There is no connection to the mail server")
        return len(to) - len(self._smtp_client.send_message(message, sender, list(to)))

    def hang_up(self) -> None:
        """Close the connection; ignore a server that is gone already."""
        client, self._smtp_client = self._smtp_client, None
        if isinstance(client, smtplib.SMTP):
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()


class MailSender:
    """Sends through one Connection and keeps it open between messages."""

    def __init__(self, channel: EmailChannel) -> None:
        self._channel = channel
        self._hook: _Smtp | None = None

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        """Send one message; return the number of recipients that the server accepted.

        Raises:
            NotificationUnavailableError: the server does not answer, hangs up, or asks to
                try later.
            NotificationRejectedError: it rejects the message or all of its recipients, the
                Connection is missing, or the message can't be sent in this form.
        """
        try:
            hook = self._line()
            sender = self._channel.from_email or hook.from_email
            if not sender or not is_address(sender):
                raise NotificationRejectedError(
                    "No sender: neither the channel nor the Connection has a valid from_email"
                )
            return hook.deliver(
                _letter(message, sender=sender, to=to, key=key, now=now), sender, to
            )
        except smtplib.SMTPRecipientsRefused as error:
            self.close()
            codes = [code for code, _ in error.recipients.values()]
            raise _answered(min(codes, default=550), "rejects every recipient") from None
        except smtplib.SMTPResponseException as error:
            self.close()
            raise _answered(error.smtp_code, _words(error)) from None
        except smtplib.SMTPServerDisconnected:
            self.close()
            raise NotificationUnavailableError(
                "The mail server closed the connection or sent no response in time"
            ) from None
        # smtplib's errors are OSErrors too: the order matters.
        except (smtplib.SMTPException, AirflowException) as error:
            self.close()
            text = redact(f"The mail server can't be used: {error}")
            raise NotificationRejectedError(text) from None
        except OSError as error:
            self.close()
            why = type(error).__name__
            raise NotificationUnavailableError(
                f"The mail server does not respond ({why})"
            ) from None

    def close(self) -> None:
        """Close the connection to the server."""
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
    """Build the email; its Message-ID comes from the claim, so a mailbox recognises a repetition.

    Raises:
        NotificationRejectedError: a header would hold a line break, or a recipient is no address.
    """
    if wrong := [one for one in to if not is_address(one)]:
        raise NotificationRejectedError(
            f"{len(wrong)} of {len(to)} recipients are not email addresses"
        )
    letter = EmailMessage(policy=SMTP)
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
    try:
        letter["From"] = sender
        letter["To"] = ", ".join(to)
        letter["Subject"] = message.subject
    except ValueError:
        raise NotificationRejectedError("A header must not contain a line break") from None
    letter["Date"] = format_datetime(now)
    letter["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    # Asks automatic responders not to reply: https://www.rfc-editor.org/rfc/rfc3834#section-5
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    if message.html is not None:
        letter.add_alternative(message.html, subtype="html")
    return letter


def _answered(code: int, said: str) -> NotificationUnavailableError | NotificationRejectedError:
    """Build the error of a response: 4yz is retryable, 5yz is permanent (RFC 5321, 4.2.1)."""
    message = f"The mail server {said} ({code})"
    return (
        NotificationUnavailableError(message)
        if 400 <= code < 500
        else NotificationRejectedError(message)
    )


def _words(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return f"says: {redact(' '.join(text.split())[:200])}"

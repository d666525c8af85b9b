"""A mail server that delivers nothing: what it takes is listed at `GET /_sandbox/mail`.

Addresses that begin with `rejected` are unknown to it (550), those that begin with `later` are
busy (451).
"""

from __future__ import annotations

import asyncio
import socket
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session

from convergence_sandbox.kept import Kept

MAX_BYTES = 2 * 1024 * 1024


class _Mailroom:
    """The handler that aiosmtpd calls at each command."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            return "451 4.3.2 busy, come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content or b""
        raw = content.encode() if isinstance(content, str) else content
        message = message_from_bytes(raw, policy=policy.default)
        self._kept.add(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "subject": str(message["Subject"] or "").strip(),
                "message_id": str(message["Message-ID"] or ""),
                "text": _part(message, "plain"),
                "html": _part(message, "html"),
            }
        )
        return "250 2.0.0 kept"


async def serve(line: socket.socket, kept: Kept) -> asyncio.Server:
    """Take mail on a listening socket."""
    handler = _Mailroom(kept)
    return await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, data_size_limit=MAX_BYTES, enable_SMTPUTF8=True), sock=line
    )


def _part(message: EmailMessage, kind: str) -> str | None:
    found = message.get_body((kind,))
    return found.get_content() if found is not None else None

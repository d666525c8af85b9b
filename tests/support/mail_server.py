"""A mail server and a webhook of one's own, well behaved or not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class MailBox:
    """What a server was sent, and how it answers.

    Attributes:
        answers: SMTP replies to the next recipients, before it takes any.
        data_answers: the same for the next message bodies.
        drops: how many of the next bodies it hangs up on.
        slow_seconds: how long it takes to answer a body.
    """

    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[tuple[str, ...]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    data_answers: list[str] = field(default_factory=list)
    drops: int = 0
    slow_seconds: float = 0.0

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.sleep(self.slow_seconds)
        if self.drops:
            self.drops -= 1
            assert server.transport is not None
            server.transport.close()
        if self.data_answers:
            return self.data_answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        self.messages.append(message_from_bytes(content, policy=policy.default))
        self.recipients.append(tuple(envelope.rcpt_tos))
        return "250 OK"


class MailServer:
    """aiosmtpd on a free port of loopback."""

    def __init__(self) -> None:
        self.box = MailBox()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._controller = Controller(
            self.box,
            hostname="127.0.0.1",
            port=self.port,
            auth_require_tls=False,
            authenticator=lambda *_: AuthResult(success=True),
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def connection(self, **extra: Any) -> str:
        """The Airflow Connection of this server."""
        return json.dumps(
            {
                "conn_type": "smtp",
                "host": "127.0.0.1",
                "port": self.port,
                "extra": {
                    "disable_ssl": True,
                    "disable_tls": True,
                    "from_email": "convergence@example.com",
                    **extra,
                },
            }
        )


class WebhookServer:
    """Takes what is posted to it; `answers` are (status, headers) before it says ok."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                if status == 200:
                    outer.posted.append({"path": self.path, **json.loads(body)})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                text = b"ok" if status == 200 else b"no"
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            log_message: Callable[..., None] = staticmethod(lambda *_: None)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def connection(self, token: str = "T0/B0/s3cr3tw3bh00k") -> str:
        """The Airflow Connection of this webhook."""
        port = self._server.server_port
        return json.dumps(
            {
                "conn_type": "slackwebhook",
                "password": token,
                "host": f"http://127.0.0.1:{port}/services",
            }
        )

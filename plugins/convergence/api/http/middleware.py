"""Middleware of every request: its id, access log line, security headers, unexpected errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence.api.http.client_address import Network, client_address
from convergence.api.http.context import (
    RequestContext,
    accept_request_id,
    attach_context,
    current_request,
)
from convergence.api.http.problems import build_unexpected_problem

log = logging.getLogger("convergence.api.access")

AUTH_DISABLED_HEADER = "X-Convergence-Auth"
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestContextMiddleware:
    """Gives every request an id, a context and an access log line; turns a crash into a 500."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        auth_disabled: bool,
        trusted_proxies: Sequence[Network] = (),
        server_trusted: Sequence[Network] = (),
    ) -> None:
        self._app = app
        self._trusted_proxies = trusted_proxies
        self._server_trusted = server_trusted
        self._auth_disabled = auth_disabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent_id = Headers(scope=scope).get("x-request-id")
        context = RequestContext(accept_request_id(sent_id), auth_disabled=self._auth_disabled)
        peer = scope.get("client")
        context.address = client_address(
            peer[0] if peer else None,
            Headers(scope=scope).getlist("x-forwarded-for"),
            self._trusted_proxies,
            server_trusted=self._server_trusted,
        )
        attach_context(scope, context)
        token = current_request.set(context)
        response = _ResponseSender(context, send)
        began = time.perf_counter()
        try:
            await self._app(scope, receive, response)
        except Exception:
            log.exception("unexpected error, request_id=%s", context.request_id)
            if response.status:
                raise
            await build_unexpected_problem(Request(scope))(scope, receive, response)
        finally:
            current_request.reset(token)
            _write_access_line(scope, context, response.status, time.perf_counter() - began)


class _ResponseSender:
    """The `send` of one request; it adds the headers of every response."""

    def __init__(self, context: RequestContext, send: Send) -> None:
        self._context = context
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            for name, value in self._context.headers.items():
                headers[name] = value
            headers["X-Request-ID"] = self._context.request_id
            if self._context.auth_disabled:
                headers[AUTH_DISABLED_HEADER] = "disabled"
        await self._send(message)


def _write_access_line(scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
    route = scope.get("route")
    log.info(
        "%s %s %s %.0fms request_id=%s caller=%s org=%s%s",
        scope["method"],
        getattr(route, "path", "(no route)"),
        status,
        seconds * 1000,
        context.request_id,
        context.caller.key_id,
        context.caller.org_slug or "-",
        " auth=disabled" if context.auth_disabled else "",
    )

"""A gRPC channel to a stand-in on this machine that carries a bearer token.

Such a channel has no TLS, and over one without grpc sends no call credentials of its own accord.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import grpc
from google.auth.credentials import Credentials

Send = Callable[[object, object], object]
"""Sends a call: (details, request) → response."""


class _Details(NamedTuple):
    """Details of a call; grpc reads these names."""

    method: str
    timeout: float | None
    metadata: object
    credentials: object
    wait_for_ready: bool | None
    compression: object


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpc ships no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # grpc ships no types
):
    """Puts the token into a call's metadata."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def intercept_unary_unary(
        self, continuation: Send, client_call_details: grpc.ClientCallDetails, request: object
    ) -> object:
        """See grpc."""
        return continuation(self._bearing(client_call_details), request)

    def intercept_unary_stream(
        self, continuation: Send, client_call_details: grpc.ClientCallDetails, request: object
    ) -> object:
        """See grpc."""
        return continuation(self._bearing(client_call_details), request)

    def _bearing(self, details: grpc.ClientCallDetails) -> _Details:
        if not self._credentials.valid:
            self._credentials.refresh(None)
        bearer = ("authorization", f"Bearer {self._credentials.token}")
        return _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=[*(details.metadata or ()), bearer],
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )


def bearing_channel(address: str, credentials: Credentials) -> grpc.Channel:
    """Return a channel to `host:port` that sends tokens of these credentials."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    return grpc.intercept_channel(
        grpc.insecure_channel(address, options=options), _Bearer(credentials)
    )

"""Restrict where a socket may connect: resolve a name once, check its addresses, connect to them.

A check of the name with a later connection by name would allow DNS rebinding. The streams also
respect the deadline of their request. A response that arrives byte by byte therefore ends as early
as one that hangs; a read timeout alone never fires in that case.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from convergence.errors import ConfigurationError
from convergence.extract.clock import Deadline
from convergence.extract.origin import Origin

Address = IPv4Address | IPv6Address
Resolve = Callable[..., Sequence[tuple[Any, ...]]]

_NAT64 = ip_network("64:ff9b::/96")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Egress(StrEnum):
    """The addresses that a client may reach."""

    PUBLIC = "public"
    """https on port 443 of public addresses, embedded forms of an address included."""

    LOOPBACK = "loopback"
    """This machine only: the sandbox, and servers in tests."""


def check_origin(origin: Origin, *, egress: Egress) -> None:
    """Raise ConfigurationError for an origin outside the egress."""
    if egress is Egress.LOOPBACK:
        if origin.host not in _LOOPBACK_NAMES:
            raise ConfigurationError("Only the loopback address is allowed", host=origin.host)
    elif (origin.scheme, origin.port) != ("https", 443):
        raise ConfigurationError(
            "A provider's URL must use https on port 443", host=origin.host, port=origin.port
        )


def is_public(address: Address) -> bool:
    """Return whether an address, and every address embedded in it, is public unicast."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return all(is_public(inner) for inner in _list_embedded(address))


def _list_embedded(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo:
        found.extend(address.teredo)
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner is not None]


class DeadlineStream(httpcore.NetworkStream):
    """A stream whose reads and writes end at the deadline of its backend."""

    def __init__(self, inner: httpcore.NetworkStream, backend: CheckedBackend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read bytes; raise httpcore.ReadTimeout after the deadline."""
        left = self._backend.remaining_seconds(timeout, error=httpcore.ReadTimeout)
        return self._inner.read(max_bytes, timeout=left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write bytes; raise httpcore.WriteTimeout after the deadline."""
        left = self._backend.remaining_seconds(timeout, error=httpcore.WriteTimeout)
        self._inner.write(buffer, timeout=left)

    def close(self) -> None:
        """Close the socket."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Start TLS with the requested name, not with the connected address."""
        left = self._backend.remaining_seconds(timeout, error=httpcore.ConnectTimeout)
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return DeadlineStream(inner, self._backend)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        """Return the information of the inner stream."""
        return self._inner.get_extra_info(info)


class CheckedBackend(httpcore.NetworkBackend):
    """The network backend of httpcore; it checks addresses and respects `deadline`.

    It serves one request at a time: the client sets `deadline` before each request.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        resolve: Resolve = socket.getaddrinfo,
        sockets: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._egress = egress
        self._resolve = resolve
        self._sockets = sockets or httpcore.SyncBackend()
        self.deadline: Deadline | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first checked address that accepts the connection.

        Raises:
            ConfigurationError: any address of the host lies outside the egress.
        """
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in self._resolve_addresses(host, port):
            left = self.remaining_seconds(timeout, error=httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return DeadlineStream(stream, self)
        raise failure

    def remaining_seconds(self, timeout: float | None, *, error: type[Exception]) -> float | None:
        """Return the seconds that a call may take; raise `error` after the deadline."""
        if self.deadline is None:
            return timeout
        left = self.deadline.seconds_left()
        if left <= 0:
            raise error("the deadline has passed")
        return left if timeout is None else min(timeout, left)

    def _resolve_addresses(self, host: str, port: int) -> list[Address]:
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from None
        addresses = [ip_address(str(row[4][0]).partition("%")[0]) for row in found]
        fits = is_public if self._egress is Egress.PUBLIC else _is_loopback
        if not all(fits(address) for address in addresses):
            raise ConfigurationError(
                "A provider's host name resolves to an address that is not allowed", host=host
            )
        return list(dict.fromkeys(addresses))


def _is_loopback(address: Address) -> bool:
    return address.is_loopback

"""Where a socket may go: names are resolved once, checked, and connected by checked address.

Checking a name first and connecting by name later would leave DNS rebinding open. The streams
made here also keep to the deadline of the request they serve, so that an answer which drips byte
by byte ends as early as one that hangs; a read timeout alone never fires on a drip.
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
    """What a client may reach."""

    PUBLIC = "public"
    """https on port 443 of addresses that are public, whatever form they hide in."""

    LOOPBACK = "loopback"
    """This machine only: the sandbox, and servers in tests."""


def check_origin(origin: Origin, *, egress: Egress) -> None:
    """Refuse an origin that its egress does not cover; raises ConfigurationError."""
    if egress is Egress.LOOPBACK:
        if origin.host not in _LOOPBACK_NAMES:
            raise ConfigurationError("Only this machine may be reached", host=origin.host)
    elif (origin.scheme, origin.port) != ("https", 443):
        raise ConfigurationError(
            "A provider is reached by https on port 443 only", host=origin.host, port=origin.port
        )


def is_public(address: Address) -> bool:
    """Whether an address, and every address embedded in it, is public unicast."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return all(is_public(inner) for inner in _embedded(address))


def _embedded(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo:
        found.extend(address.teredo)
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [inner for inner in found if inner is not None]


class DeadlineStream(httpcore.NetworkStream):
    """A stream none of whose reads and writes outlasts the deadline of its backend."""

    def __init__(self, inner: httpcore.NetworkStream, backend: CheckedBackend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read; raises httpcore.ReadTimeout."""
        left = self._backend.remaining_seconds(timeout, error=httpcore.ReadTimeout)
        return self._inner.read(max_bytes, timeout=left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write; raises httpcore.WriteTimeout."""
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
        """Shake hands under the name that was asked for, not the address connected to."""
        left = self._backend.remaining_seconds(timeout, error=httpcore.ConnectTimeout)
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return DeadlineStream(inner, self._backend)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        """As the inner stream."""
        return self._inner.get_extra_info(info)


class CheckedBackend(httpcore.NetworkBackend):
    """httpcore's way to the network, with addresses checked and `deadline` kept.

    One request at a time: `deadline` is set by the client before each.
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
        """Connect to the first checked address that answers.

        Raises:
            ConfigurationError: any address of the host lies outside the egress.
        """
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in self._addresses(host, port):
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
        """Seconds a call may take; raises `error` when the deadline has passed."""
        if self.deadline is None:
            return timeout
        left = self.deadline.left()
        if left <= 0:
            raise error("the deadline has passed")
        return left if timeout is None else min(timeout, left)

    def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from None
        addresses = [ip_address(str(row[4][0]).partition("%")[0]) for row in found]
        fits = is_public if self._egress is Egress.PUBLIC else _is_loopback
        if not all(fits(address) for address in addresses):
            raise ConfigurationError(
                "A provider's name leads to an address that may not be reached", host=host
            )
        return list(dict.fromkeys(addresses))


def _is_loopback(address: Address) -> bool:
    return address.is_loopback

"""One HTTP client per run and credential, bound to one origin and bounded in every direction."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx

from convergence.errors import (
    MalformedResponseError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from convergence.extract.clock import Deadline
from convergence.extract.egress import CheckedBackend, Egress, check_origin
from convergence.extract.origin import Origin, Params
from convergence.metering import Resource, Use, record_usage
from convergence.settings import Environment, Settings

MIB = 1024 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PASSING_STATUSES = frozenset({408, 425, 429})
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": "convergence",
}
_GZIP = 16 + zlib.MAX_WBITS
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one request may take: seconds to connect, between two reads, in all; decoded bytes."""

    connect_seconds: float = 10
    read_seconds: float = 30
    request_seconds: float = 120
    body_bytes: int = 32 * MIB


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """A 2xx answer, whole and decoded. Header names are lowercase; `url` is without credential."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class OriginClient:
    """Speaks to one origin with one credential; for one thread at a time.

    Redirects are not followed, proxy and netrc variables are not read, cookies are not kept, and
    bodies never reach an exception or a log.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Params = (),
        egress: Egress = Egress.PUBLIC,
        limits: HttpLimits | None = None,
        backend: CheckedBackend | None = None,
    ) -> None:
        """Bind to a base URL; `headers` and `params` (the credential) go with every request.

        Raises:
            ConfigurationError: the URL can't be read or lies outside the egress.
            ProviderRejectedError: the credential can't be the value of a header.
        """
        self.origin = Origin.parse(base_url)
        check_origin(self.origin, egress=egress)
        self._params = tuple(params)
        self._limits = limits or HttpLimits()
        self._backend = backend or CheckedBackend(egress)
        self._client = httpx.Client(
            transport=_Transport(self._backend, tls=self.origin.scheme == "https"),
            headers={**_HEADERS, **_checked(headers or {})},
            timeout=httpx.Timeout(self._limits.read_seconds, connect=self._limits.connect_seconds),
            follow_redirects=False,
            trust_env=False,
        )

    @classmethod
    def for_settings(
        cls,
        base_url: str,
        *,
        settings: Settings,
        headers: Mapping[str, str] | None = None,
        params: Params = (),
        limits: HttpLimits | None = None,
    ) -> OriginClient:
        """A client for a configured URL: loopback is for stand-ins, so never in production."""
        host = urlsplit(base_url).hostname
        local = host in _LOOPBACK and settings.environment is not Environment.PRODUCTION
        egress = Egress.LOOPBACK if local else Egress.PUBLIC
        return cls(base_url, headers=headers, params=params, egress=egress, limits=limits)

    def get(
        self, path: str, params: Params = (), *, deadline: Deadline | None = None
    ) -> ProviderResponse:
        """GET a path below the prefix, within `request_seconds` and `deadline`.

        Raises:
            ProviderUnavailableError: no whole answer in time, 429, 408, 425 or 5xx.
            ProviderRejectedError: any other 4xx.
            ProviderProtocolError: a redirect, an odd status or encoding, or a body over the cap.
        """
        return self._send("GET", path, params, deadline=deadline)

    def post(
        self,
        path: str,
        params: Params = (),
        *,
        body: Mapping[str, Any],
        deadline: Deadline | None = None,
    ) -> ProviderResponse:
        """POST a JSON object, for APIs that list so; else as `get`."""
        content = json.dumps(body).encode()
        return self._send(
            "POST", path, params, content=content, kind="application/json", deadline=deadline
        )

    def post_form(
        self, path: str, form: Params, *, deadline: Deadline | None = None
    ) -> ProviderResponse:
        """POST fields as a web form does, such as a grant to a token endpoint; else as `get`."""
        content = urlencode(form).encode()
        return self._send("POST", path, (), content=content, kind=_FORM, deadline=deadline)

    def _send(
        self,
        method: str,
        path: str,
        params: Params,
        *,
        content: bytes | None = None,
        kind: str = "",
        deadline: Deadline | None,
    ) -> ProviderResponse:
        seconds = self._limits.request_seconds
        self._backend.deadline = deadline.within(seconds) if deadline else Deadline.after(seconds)
        url = self.origin.url(path, params)
        whole_url = self.origin.url(path, (*params, *self._params))
        facts = {"host": self.origin.host, "path": path}
        headers = {"content-type": kind} if kind else None
        record_usage(Resource.PROVIDER, Use(calls=1))
        try:
            with self._client.stream(
                method, whole_url, content=content, headers=headers
            ) as response:
                _check_status(response, facts)
                body = b"".join(_decoded(response, cap=self._limits.body_bytes, facts=facts))
                record_usage(Resource.PROVIDER, Use(bytes_received=len(body)))
                return ProviderResponse(response.status_code, dict(response.headers), body, url)
        except httpcore.TimeoutException:
            raise ProviderUnavailableError("The provider did not answer in time", **facts) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise ProviderUnavailableError(
                "The connection to the provider broke", fault=type(error).__name__, **facts
            ) from None

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Transport(httpx.BaseTransport):
    """httpx on a connection pool whose network backend is ours; httpx's own offers no such seam."""

    def __init__(self, backend: CheckedBackend, *, tls: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False) if tls else None,
            max_connections=1,
            keepalive_expiry=30,
            network_backend=backend,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.read() or None,
                extensions=request.extensions,
            )
        )
        body = _Body(answer)
        return httpx.Response(answer.status, headers=answer.headers, stream=body)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that can be sent; httpx would put a value that can't into its exception."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ProviderRejectedError("A header can't carry this credential", header=name)
    return headers


def _check_status(response: httpx.Response, facts: Mapping[str, str]) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    if status >= 500 or status in _PASSING_STATUSES:
        raise ProviderUnavailableError(
            "The provider asks to come back later",
            status=status,
            retry_after=response.headers.get("retry-after"),
            **facts,
        )
    if status >= 400:
        raise ProviderRejectedError("The provider refused the request", status=status, **facts)
    raise ProviderProtocolError(
        "The provider answered with a redirect or an odd status; it was not followed",
        status=status,
        **facts,
    )


def _decoded(response: httpx.Response, *, cap: int, facts: Mapping[str, str]) -> Iterator[bytes]:
    """The body's bytes; unpacked in steps, so that a bomb is noticed before it has unfolded."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise ProviderProtocolError(
            "The provider used an encoding that was not offered", encoding=encoding[:40], **facts
        )
    unpacker = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    size = 0
    for raw in response.iter_raw():
        part = _unpack(unpacker, raw, most=cap - size + 1, facts=facts) if unpacker else raw
        size += len(part)
        if size > cap:
            raise ProviderProtocolError(
                "The answer is larger than any page should be", cap_bytes=cap, **facts
            )
        yield part
    if unpacker is not None and not unpacker.eof:
        raise MalformedResponseError("The answer is cut short", **facts)


def _unpack(
    unpacker: zlib._Decompress, raw: bytes, *, most: int, facts: Mapping[str, str]
) -> bytes:
    try:
        part = unpacker.decompress(raw, most)
    except zlib.error:
        raise MalformedResponseError("The answer can't be unpacked", **facts) from None
    if unpacker.unused_data:
        raise MalformedResponseError("Something follows the packed answer", **facts)
    return part

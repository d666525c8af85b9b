"""The HTTP client of an extraction: one origin, one credential, limited time and size."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
from convergence.extract.response_checks import remove_credential_from_links
from convergence.metering import Resource, Use, record_usage
from convergence.settings import Environment, Settings

MIB = 1024 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TEMPORARY_STATUSES = frozenset({408, 425, 429})
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": "convergence",
}
_GZIP = 16 + zlib.MAX_WBITS
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one request: seconds to connect, between reads and in total; decoded bytes."""

    connect_seconds: float = 10
    read_seconds: float = 30
    request_seconds: float = 120
    body_bytes: int = 32 * MIB


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """A complete, decoded 2xx response. Header names are lowercase; `url` has no credential."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class OriginClient:
    """Send requests to one origin with one credential; for one thread at a time.

    Redirects are not followed, since they would carry the credential elsewhere. Proxy and netrc
    variables are not read, cookies are not kept, and bodies never appear in an exception or a log.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Params = (),
        secrets: Sequence[str] = (),
        egress: Egress = Egress.PUBLIC,
        limits: HttpLimits | None = None,
        backend: CheckedBackend | None = None,
    ) -> None:
        """Bind to a base URL; `headers` and `params` (the credential) go with every request.

        `secrets` are the forms of the credential that no response may repeat.

        Raises:
            ConfigurationError: the URL can't be read or lies outside the egress.
            ProviderRejectedError: the credential is not a valid value of a header.
        """
        self.origin = Origin.from_url(base_url)
        check_origin(self.origin, egress=egress)
        self.secrets = tuple(secrets)
        self._params = tuple(params)
        self._limits = limits or HttpLimits()
        self._backend = backend or CheckedBackend(egress)
        self._client = httpx.Client(
            transport=_Transport(self._backend, tls=self.origin.scheme == "https"),
            headers={**_HEADERS, **_check_headers(headers or {})},
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
        secrets: Sequence[str] = (),
        limits: HttpLimits | None = None,
    ) -> OriginClient:
        """Return a client for a configured URL; production never allows loopback stand-ins."""
        host = urlsplit(base_url).hostname
        local = host in _LOOPBACK and settings.environment is not Environment.PRODUCTION
        egress = Egress.LOOPBACK if local else Egress.PUBLIC
        return cls(
            base_url,
            headers=headers,
            params=params,
            secrets=secrets,
            egress=egress,
            limits=limits,
        )

    def get(
        self, path: str, params: Params = (), *, deadline: Deadline | None = None
    ) -> ProviderResponse:
        """GET a path below the prefix, within `request_seconds` and `deadline`.

        Raises:
            ProviderUnavailableError: no complete response in time, or 429, 408, 425 or 5xx.
            ProviderRejectedError: any other 4xx.
            ProviderProtocolError: a redirect, another status or encoding, or a body over the limit.
        """
        return self._send_request("GET", path, params, deadline=deadline)

    def post(
        self,
        path: str,
        params: Params = (),
        *,
        body: Mapping[str, Any],
        deadline: Deadline | None = None,
    ) -> ProviderResponse:
        """POST a JSON object, for APIs whose lists need it; errors as `get`."""
        content = json.dumps(body).encode()
        return self._send_request(
            "POST", path, params, content=content, kind="application/json", deadline=deadline
        )

    def post_form(
        self, path: str, form: Params, *, deadline: Deadline | None = None
    ) -> ProviderResponse:
        """POST form fields, such as a grant to a token endpoint; errors as `get`."""
        content = urlencode(form).encode()
        return self._send_request("POST", path, (), content=content, kind=_FORM, deadline=deadline)

    def _send_request(
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
        details = {"host": self.origin.host, "path": path}
        headers = {"content-type": kind} if kind else None
        record_usage(Resource.PROVIDER, Use(calls=1))
        try:
            with self._client.stream(
                method, whole_url, content=content, headers=headers
            ) as response:
                _check_status(response, details)
                body = b"".join(
                    _decode_body(response, cap=self._limits.body_bytes, details=details)
                )
                record_usage(Resource.PROVIDER, Use(bytes_received=len(body)))
                body = remove_credential_from_links(body, self._params)
                return ProviderResponse(response.status_code, dict(response.headers), body, url)
        except httpcore.TimeoutException:
            raise ProviderUnavailableError(
                "The provider did not respond in time", **details
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise ProviderUnavailableError(
                "The connection to the provider broke", cause=type(error).__name__, **details
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
    """An httpx transport whose connection pool uses our network backend, which httpx can't."""

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
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.read() or None,
                extensions=request.extensions,
            )
        )
        body = _Body(response)
        return httpx.Response(response.status, headers=response.headers, stream=body)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


def _check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Reject header values that can't be sent: httpx would put them into its exception."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ProviderRejectedError("A header can't carry this credential", header=name)
    return headers


def _check_status(response: httpx.Response, details: Mapping[str, str]) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    if status >= 500 or status in _TEMPORARY_STATUSES:
        raise ProviderUnavailableError(
            "The provider is temporarily unavailable",
            status=status,
            retry_after=response.headers.get("retry-after"),
            **details,
        )
    if status >= 400:
        raise ProviderRejectedError("The provider rejected the request", status=status, **details)
    raise ProviderProtocolError(
        "The provider returned a redirect, which is not followed, or an unexpected status",
        status=status,
        **details,
    )


def _decode_body(
    response: httpx.Response, *, cap: int, details: Mapping[str, str]
) -> Iterator[bytes]:
    """Yield the body; unpack it in steps, so that a zip bomb stops at the limit."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in {"identity", "gzip"}:
        raise ProviderProtocolError(
            "The response has an encoding that was not requested", encoding=encoding[:40], **details
        )
    unpacker = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    size = 0
    for raw in response.iter_raw():
        part = (
            _unpack_chunk(unpacker, raw, max_size=cap - size + 1, details=details)
            if unpacker
            else raw
        )
        size += len(part)
        if size > cap:
            raise ProviderProtocolError(
                "The response is larger than the limit of a page", cap_bytes=cap, **details
            )
        yield part
    if unpacker is not None and not unpacker.eof:
        raise MalformedResponseError("The response is incomplete", **details)


def _unpack_chunk(
    unpacker: zlib._Decompress, raw: bytes, *, max_size: int, details: Mapping[str, str]
) -> bytes:
    try:
        part = unpacker.decompress(raw, max_size)
    except zlib.error:
        raise MalformedResponseError("The response can't be unpacked", **details) from None
    if unpacker.unused_data:
        raise MalformedResponseError("Extra data follows the packed response", **details)
    return part

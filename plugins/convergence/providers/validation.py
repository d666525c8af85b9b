"""Validate a credential with its provider.

VALID and INVALID are statements of the provider; PENDING is every response that says nothing about
the credential. The text of a response is never passed on, since it may quote the key.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal

import httpx

from convergence.errors import CredentialRejectedError, ProviderProtocolError
from convergence.providers.authorization import Authorization, authorize
from convergence.providers.forms import check_form
from convergence.providers.registry import Provider
from convergence.settings import Settings

DEADLINE_SECONDS: Final = 15.0
MAX_BODY_BYTES: Final = 256 * 1024
_TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
# Uncompressed, so that a small response can't unpack to a large one.
_DEFAULT_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Validation:
    """The result; `error` explains a status other than VALID and never has the secret."""

    status: Literal["VALID", "INVALID", "PENDING"]
    error: str | None = None


def validate_credential(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Validation:
    """Check a credential's form and call its provider; for a thread without an event loop."""
    return asyncio.run(
        validate_credential_async(provider, secret, settings=settings, now=now, transport=transport)
    )


async def validate_credential_async(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Validation:
    """Check a credential's form and call its provider, within `DEADLINE_SECONDS` in total.

    Args:
        provider: the entry of the registry.
        secret: the credential of the org.
        settings: name the address of the provider's API.
        now: the current time, for calls that name a day.
        transport: replaces the network in tests.
    """
    try:
        text = check_form(provider, secret)
    except CredentialRejectedError as error:
        accepted = " or ".join(str(hint) for hint in list_hints(provider))
        return Validation("INVALID", f"{error.message}; accepted: {accepted}")
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await _validate_with_provider(
                provider, text, settings=settings, now=now, transport=transport
            )
    except (TimeoutError, httpx.TimeoutException):
        return Validation("PENDING", f"{provider.name} did not respond in time; try again")
    except httpx.HTTPError as error:
        why = type(error).__name__
        return Validation("PENDING", f"{provider.name} could not be reached ({why}); try again")


def list_hints(provider: Provider) -> list[str]:
    """Return the hints that describe the accepted credentials of the provider."""
    return [form.hint for form in provider.credentials]


async def _validate_with_provider(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None,
) -> Validation:
    """Exchange the credential for a token if the provider needs one, then call the provider."""
    exchange, token = provider.auth.exchange, secret
    if exchange == "aws_signature":
        return await _validate_aws(provider, secret, settings=settings)
    if exchange == "google_service_account":
        found = await _fetch_google_token(provider, secret, settings=settings, transport=transport)
        if isinstance(found, Validation):
            return found
        token = found
    elif exchange is not None:
        reason = f"The form is valid; {provider.name} has no pipeline yet, so it was not tried"
        return Validation("PENDING", reason)
    return await _call_provider(provider, token, settings=settings, now=now, transport=transport)


async def _validate_aws(provider: Provider, secret: str, *, settings: Settings) -> Validation:
    from convergence.providers.aws import validate_aws_credential

    return Validation(*await validate_aws_credential(provider, secret, settings=settings))


async def _fetch_google_token(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
) -> str | Validation:
    """Return a token for the service account, or the result that explains why there is none."""
    from convergence.providers import google

    # A grant needs the current time; `now` may name another day.
    now = datetime.now(UTC)
    try:
        grant = google.ServiceAccount.parse(secret).grant([google.CLOUD_BILLING], now=now)
    except CredentialRejectedError as error:
        return Validation("INVALID", error.message)
    url = google.token_origin(provider, settings) + google.TOKEN_PATH
    async with (
        _build_client(transport) as client,
        client.stream("POST", url, data=dict(grant), headers=_DEFAULT_HEADERS) as response,
    ):
        status, body = response.status_code, await _read_body(response)
    if google.is_key_rejected(status, body):
        return Validation("INVALID", provider.validation.refusals["401"])
    verdict = _interpret_response(provider, status, body)
    if verdict.status != "VALID" or body is None:
        return verdict
    try:
        return google.Token.from_response(json.loads(body), now=now).value
    except ProviderProtocolError as error:
        return Validation("PENDING", error.message)


async def _call_provider(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None,
) -> Validation:
    sent = authorize(provider.auth, secret)
    async with (
        _build_client(transport) as client,
        client.stream(
            "GET",
            provider.url(settings) + provider.validation.path,
            params={**_build_query(provider, now), **dict(sent.params)},
            headers=_build_headers(provider, sent),
        ) as response,
    ):
        return _interpret_response(provider, response.status_code, await _read_body(response))


def _build_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    # A redirect would carry the key to another host, and so would a proxy variable.
    return httpx.AsyncClient(
        timeout=_TIMEOUT, follow_redirects=False, trust_env=False, transport=transport
    )


async def _read_body(response: httpx.Response) -> bytes | None:
    """Return the decoded body, or None if it is larger than any valid response."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _build_headers(provider: Provider, sent: Authorization) -> dict[str, str]:
    return {**_DEFAULT_HEADERS, **provider.headers, **sent.headers}


def _build_query(provider: Provider, now: datetime) -> dict[str, str]:
    yesterday = datetime.combine(now.astimezone(UTC).date() - timedelta(days=1), time.min, UTC)
    values = {"yesterday_unix": str(int(yesterday.timestamp()))}
    return {name: text.format_map(values) for name, text in provider.validation.query.items()}


def _interpret_response(provider: Provider, status: int, body: bytes | None) -> Validation:
    if status in {401, 403}:
        return Validation(
            "INVALID", provider.validation.refusals["401" if status == 401 else "403"]
        )
    if status == 429:
        return Validation("PENDING", f"{provider.name} is throttling us; try again in a minute")
    if status >= 500:
        return Validation(
            "PENDING", f"{provider.name} has a server error (HTTP {status}); try again"
        )
    if status != 200:
        return Validation(
            "PENDING", f"{provider.name} returned an unexpected status (HTTP {status})"
        )
    if not _is_json_object(body):
        return Validation("PENDING", f"{provider.name} returned a response that is not JSON")
    return Validation("VALID")


def _is_json_object(body: bytes | None) -> bool:
    if body is None:
        return False
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False

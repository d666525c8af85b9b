"""Ask a provider whether it takes a credential.

VALID and INVALID are what the provider said; PENDING is everything that says nothing of the
credential. No text of the provider's is handed on, since it may quote the key.
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
# Uncompressed, so that what arrives is no larger than what was sent.
_OWN_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Validation:
    """What became of it; `error` says why it is not VALID, in words and without the secret."""

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
    """Check a credential's form and ask its provider; for a thread without an event loop."""
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
    """Check a credential's form and ask its provider, within `DEADLINE_SECONDS` in all.

    Args:
        provider: the registry's entry.
        secret: the credential as the org gave it.
        settings: say where the provider's API is.
        now: the instant, for calls that name a day.
        transport: takes the request instead of the network.
    """
    try:
        text = check_form(provider, secret)
    except CredentialRejectedError as error:
        accepted = " or ".join(str(hint) for hint in provider_hints(provider))
        return Validation("INVALID", f"{error.message}; accepted: {accepted}")
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await _asked(provider, text, settings=settings, now=now, transport=transport)
    except (TimeoutError, httpx.TimeoutException):
        return Validation("PENDING", f"{provider.name} did not answer in time; try again")
    except httpx.HTTPError as error:
        why = type(error).__name__
        return Validation("PENDING", f"{provider.name} could not be reached ({why}); try again")


def provider_hints(provider: Provider) -> list[str]:
    """What the provider's accepted credentials are, in words."""
    return [form.hint for form in provider.credentials]


async def _asked(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None,
) -> Validation:
    """What the provider says, once a credential that is no token was used in its own way."""
    exchange, token = provider.auth.exchange, secret
    if exchange == "aws_signature":
        return await _ask_aws(provider, secret, settings=settings)
    if exchange == "google_service_account":
        found = await _google_token(provider, secret, settings=settings, transport=transport)
        if isinstance(found, Validation):
            return found
        token = found
    elif exchange is not None:
        told = f"The form is right; no pipeline reads {provider.name} yet, so nobody has tried it"
        return Validation("PENDING", told)
    return await _call(provider, token, settings=settings, now=now, transport=transport)


async def _ask_aws(provider: Provider, secret: str, *, settings: Settings) -> Validation:
    from convergence.providers.aws import validate_aws_credential

    return Validation(*await validate_aws_credential(provider, secret, settings=settings))


async def _google_token(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
) -> str | Validation:
    """A token for the service account, or why there is none."""
    from convergence.providers import google

    # A grant is for this very moment, whatever day is asked about.
    now = datetime.now(UTC)
    try:
        grant = google.ServiceAccount.parse(secret).grant([google.CLOUD_BILLING], now=now)
    except CredentialRejectedError as error:
        return Validation("INVALID", error.message)
    url = google.token_origin(provider, settings) + google.TOKEN_PATH
    async with (
        _client(transport) as client,
        client.stream("POST", url, data=dict(grant), headers=_OWN_HEADERS) as response,
    ):
        status, body = response.status_code, await _body(response)
    if google.is_key_rejected(status, body):
        return Validation("INVALID", provider.validation.refusals["401"])
    verdict = _verdict(provider, status, body)
    if verdict.status != "VALID" or body is None:
        return verdict
    try:
        return google.Token.read(json.loads(body), now=now).value
    except ProviderProtocolError as error:
        return Validation("PENDING", error.message)


async def _call(
    provider: Provider,
    secret: str,
    *,
    settings: Settings,
    now: datetime,
    transport: httpx.AsyncBaseTransport | None,
) -> Validation:
    sent = authorize(provider.auth, secret)
    async with (
        _client(transport) as client,
        client.stream(
            "GET",
            provider.url(settings) + provider.validation.path,
            params={**_query(provider, now), **dict(sent.params)},
            headers=_headers(provider, sent),
        ) as response,
    ):
        return _verdict(provider, response.status_code, await _body(response))


def _client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    # A redirect would carry the key to another host, and so would a proxy variable.
    return httpx.AsyncClient(
        timeout=_TIMEOUT, follow_redirects=False, trust_env=False, transport=transport
    )


async def _body(response: httpx.Response) -> bytes | None:
    """The decoded body, or None when it is larger than any honest answer."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _headers(provider: Provider, sent: Authorization) -> dict[str, str]:
    return {**_OWN_HEADERS, **provider.headers, **sent.headers}


def _query(provider: Provider, now: datetime) -> dict[str, str]:
    yesterday = datetime.combine(now.astimezone(UTC).date() - timedelta(days=1), time.min, UTC)
    values = {"yesterday_unix": str(int(yesterday.timestamp()))}
    return {name: text.format_map(values) for name, text in provider.validation.query.items()}


def _verdict(provider: Provider, status: int, body: bytes | None) -> Validation:
    if status in {401, 403}:
        return Validation(
            "INVALID", provider.validation.refusals["401" if status == 401 else "403"]
        )
    if status == 429:
        return Validation("PENDING", f"{provider.name} is throttling us; try again in a minute")
    if status >= 500:
        return Validation("PENDING", f"{provider.name} is in trouble (HTTP {status}); try again")
    if status != 200:
        return Validation("PENDING", f"{provider.name} gave an unexpected answer (HTTP {status})")
    if not _is_json_object(body):
        return Validation("PENDING", f"{provider.name} answered with something that is not JSON")
    return Validation("VALID")


def _is_json_object(body: bytes | None) -> bool:
    if body is None:
        return False
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False

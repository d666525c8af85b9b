"""Build the request of a Google access token from a service account's key, and read the response.

A grant that is signed with the account's key is sent to the token endpoint as a form; the response
has a bearer token (RFC 7523;
https://developers.google.com/identity/protocols/oauth2/service-account). The caller sends it with
its own HTTP client: validation is asynchronous, a step is not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Self

from google.auth import jwt
from google.auth.crypt import RSASigner

from convergence.errors import CredentialRejectedError, ProviderProtocolError
from convergence.providers.registry import Provider
from convergence.settings import Settings

PROVIDER: Final = "gcp"
TOKEN_ORIGIN: Final = "https://oauth2.googleapis.com"  # noqa: S105  # an address, no secret
TOKEN_PATH: Final = "/token"  # noqa: S105  # an address, no secret
CLOUD_BILLING: Final = "https://www.googleapis.com/auth/cloud-billing.readonly"
BIGQUERY: Final = "https://www.googleapis.com/auth/bigquery"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_REJECTED_KEY_ERRORS: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_LIFETIME: Final = timedelta(hours=1)
_MAX_LIFETIME: Final = timedelta(hours=12)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account with its signing key.

    Attributes:
        email: the name of the account.
        project_id: the project of the account; None if its key does not name it.
    """

    email: str
    project_id: str | None
    _signer: RSASigner = field(repr=False)

    @classmethod
    def parse(cls, secret: str) -> Self:
        """Read a JSON key of a checked form; the URLs in it are not used.

        Raises:
            CredentialRejectedError: it can't be read. The error has no part of the key.
        """
        try:
            parts = json.loads(secret)
            signer = RSASigner.from_service_account_info(parts)
            project = parts.get("project_id")
            return cls(str(parts["client_email"]), str(project) if project else None, signer)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # Parsers of keys may put parts of them into their messages.
            raise CredentialRejectedError(
                "The service account's private key can't be read"
            ) from None

    def grant(self, scopes: Sequence[str], *, now: datetime) -> Pairs:
        """Return the form that requests a token with these scopes; it is valid for an hour."""
        claims = {
            "iss": self.email,
            "scope": " ".join(scopes),
            "aud": f"{TOKEN_ORIGIN}{TOKEN_PATH}",
            "iat": int(now.timestamp()),
            "exp": int((now + _LIFETIME).timestamp()),
        }
        signed = jwt.encode(self._signer, claims).decode()
        return (("grant_type", _GRANT), ("assertion", signed))


@dataclass(frozen=True, slots=True)
class Token:
    """An access token.

    Attributes:
        value: the text after `Bearer`.
        expires_at: aware, UTC.
    """

    value: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def from_response(cls, body: Any, *, now: datetime) -> Self:  # noqa: ANN401  # any JSON value
        """Read the token in the endpoint's response.

        Raises:
            ProviderProtocolError: the response has no valid token.
        """
        fields = body if isinstance(body, dict) else {}
        value, seconds = fields.get("access_token"), fields.get("expires_in")
        sound = isinstance(value, str) and value.isascii() and value.isprintable() and value
        if not sound or not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
            raise ProviderProtocolError("The response of Google's token endpoint has no token")
        return cls(str(value), now + min(timedelta(seconds=seconds), _MAX_LIFETIME))


def token_origin(provider: Provider, settings: Settings) -> str:
    """Return the origin of the token endpoint: Google's, or that of the configured stand-in.

    A signed grant is never sent anywhere else, even if the key's file names another URL.
    """
    stand_in = settings.emulators.get(provider.base_url_variable or "")
    return stand_in.rstrip("/") if stand_in else TOKEN_ORIGIN


def is_key_rejected(status: int, body: bytes | None) -> bool:
    """Return whether the token endpoint's response rejects the key or its account.

    RFC 6749, 5.2: a 400 may also report an error of our request, which says nothing about the key.
    """
    if status in {401, 403}:
        return True
    try:
        fields = json.loads(body or b"") if status == 400 else None
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("error") in _REJECTED_KEY_ERRORS

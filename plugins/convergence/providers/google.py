"""Google's way from a service account's key to an access token, without the network.

A grant signed with the account's key is sent to the token endpoint as a form, and answered with a
bearer token (RFC 7523; https://developers.google.com/identity/protocols/oauth2/service-account).
Who sends it brings its own client: validation is asynchronous, a step is not.
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
_REFUSALS: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})
_LIFETIME: Final = timedelta(hours=1)
_LONGEST: Final = timedelta(hours=12)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account that can sign.

    Attributes:
        email: its name.
        project_id: the project it was made in; None when its key does not say.
    """

    email: str
    project_id: str | None
    _signer: RSASigner = field(repr=False)

    @classmethod
    def parse(cls, secret: str) -> Self:
        """The account of a JSON key whose form was checked; URLs that it names are not used.

        Raises:
            CredentialRejectedError: it can't be read; nothing of it is told.
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
        """The form that asks for a token with these scopes; it is good for an hour."""
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
        value: what goes after `Bearer`.
        expires_at: aware, UTC.
    """

    value: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def read(cls, body: Any, *, now: datetime) -> Self:  # noqa: ANN401  # JSON is anything
        """The token in the endpoint's answer.

        Raises:
            ProviderProtocolError: there is none.
        """
        told = body if isinstance(body, dict) else {}
        value, seconds = told.get("access_token"), told.get("expires_in")
        sound = isinstance(value, str) and value.isascii() and value.isprintable() and value
        if not sound or not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
            raise ProviderProtocolError("Google's token endpoint gave no token")
        return cls(str(value), now + min(timedelta(seconds=seconds), _LONGEST))


def token_origin(provider: Provider, settings: Settings) -> str:
    """Where tokens are to be had: Google's own endpoint, or that of the stand-in in use.

    A signed grant goes nowhere else, whatever the key's file says.
    """
    stand_in = settings.emulators.get(provider.base_url_variable or "")
    return stand_in.rstrip("/") if stand_in else TOKEN_ORIGIN


def is_key_rejected(status: int, body: bytes | None) -> bool:
    """Whether the token endpoint's answer says that the key or its account is not good.

    RFC 6749, 5.2: a 400 may also say that our request is wrong, which says nothing of the key.
    """
    if status in {401, 403}:
        return True
    try:
        told = json.loads(body or b"") if status == 400 else None
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("error") in _REFUSALS

"""A service account's signed grant, and what the token endpoint's answers mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from google.auth import jwt

from convergence.errors import CredentialRejectedError, ProviderProtocolError
from convergence.providers.google import (
    BIGQUERY,
    CLOUD_BILLING,
    ServiceAccount,
    Token,
    is_key_rejected,
    token_origin,
)
from convergence.providers.registry import load_registry
from convergence.settings import Settings
from convergence_sandbox.providers.google.accounts import service_account

NOW = datetime.now(UTC).replace(microsecond=0)


def test_a_grant_is_signed_by_the_account_for_google_and_an_hour() -> None:
    key = service_account("acme_corp")
    grant = dict(ServiceAccount.parse(json.dumps(key)).grant([BIGQUERY, CLOUD_BILLING], now=NOW))
    assert grant["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    private = load_pem_private_key(key["private_key"].encode(), None)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(
        grant["assertion"], certs=public, audience="https://oauth2.googleapis.com/token"
    )
    assert claims["iss"] == key["client_email"]
    assert claims["scope"].split() == [BIGQUERY, CLOUD_BILLING]
    assert claims["exp"] - claims["iat"] == 3600


def test_urls_of_a_keys_file_are_not_used() -> None:
    key = service_account("acme_corp") | {"token_uri": "https://evil.example/token"}
    account = ServiceAccount.parse(json.dumps(key))
    assert "evil" not in repr(account)
    assert "PRIVATE" not in repr(account)
    google = load_registry(Settings()).get("gcp")
    assert token_origin(google, Settings()) == "https://oauth2.googleapis.com"
    elsewhere = Settings(gcp_api_base_url="http://127.0.0.1:9070/google/")
    assert token_origin(google, elsewhere) == "http://127.0.0.1:9070/google"


@pytest.mark.parametrize(
    "secret",
    [
        "nothing",
        "[]",
        json.dumps({"client_email": "a@b"}),
        json.dumps({"client_email": "a@b", "private_key": "-----BEGIN PRIVATE KEY-----\nabc"}),
        json.dumps(service_account("acme_corp") | {"private_key": 5}),
    ],
)
def test_a_key_that_cant_be_read_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(CredentialRejectedError) as caught:
        ServiceAccount.parse(secret)
    assert caught.value.__suppress_context__
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"access_token": "", "expires_in": 5},
        {"access_token": "a\r\nb", "expires_in": 5},
        {"access_token": "a", "expires_in": "soon"},
        {"access_token": "a", "expires_in": True},
        {"access_token": "a", "expires_in": -1},
    ],
)
def test_an_answer_without_a_token_is_an_error(body: Any) -> None:
    with pytest.raises(ProviderProtocolError):
        Token.from_response(body, now=NOW)


def test_a_token_is_good_as_long_as_google_says_and_not_for_ever() -> None:
    found = Token.from_response({"access_token": "ya29.secret", "expires_in": 3599}, now=NOW)
    assert found.expires_at == NOW + timedelta(seconds=3599)
    assert "ya29" not in repr(found)
    forever = Token.from_response({"access_token": "a", "expires_in": 10**9}, now=NOW)
    assert forever.expires_at == NOW + timedelta(hours=12)


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (400, b'{"error": "invalid_grant"}', True),
        (400, b'{"error": "invalid_request"}', False),
        (400, b"<html>", False),
        (400, None, False),
        (401, b"", True),
        (403, b"", True),
        (429, b'{"error": "invalid_grant"}', False),
        (503, b"", False),
    ],
)
def test_only_what_speaks_of_the_key_refuses_it(
    status: int, body: bytes | None, refused: bool
) -> None:
    assert is_key_rejected(status, body) is refused

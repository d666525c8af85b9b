from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions as google_errors
from google.cloud import kms

from convergence.errors import (
    ConfigurationError,
    DecryptionError,
    KeyServiceUnavailableError,
    SettingsError,
)
from convergence.security.kms import (
    CALL_SECONDS,
    KeyManager,
    api_key_aad,
    connect_kms,
    credential_aad,
)
from convergence.settings import Settings

KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"


class FakeClient:
    """Answers as KMS does, or as the test says."""

    def __init__(self, **changes: object) -> None:
        self.changes = changes
        self.requests: list[Any] = []
        self.options: list[dict[str, Any]] = []
        self.fault: Exception | None = None

    def encrypt(self, *, request: kms.EncryptRequest, **options: object) -> SimpleNamespace:
        return self._answer(request, options, ciphertext=b"sealed:" + request.plaintext)

    def decrypt(self, *, request: kms.DecryptRequest, **options: object) -> SimpleNamespace:
        plaintext = request.ciphertext.removeprefix(b"sealed:")
        return self._answer(request, options, plaintext=plaintext)

    def _answer(self, request: object, options: dict[str, Any], **data: bytes) -> SimpleNamespace:
        self.requests.append(request)
        self.options.append(options)
        if self.fault:
            raise self.fault
        ((name, value),) = data.items()
        answer = {
            "name": f"{KEY}/cryptoKeyVersions/1",
            name: value,
            f"{name}_crc32c": google_crc32c.value(value),
            "verified_plaintext_crc32c": True,
            "verified_additional_authenticated_data_crc32c": True,
        }
        return SimpleNamespace(**{**answer, **self.changes})


def _manager(client: FakeClient) -> KeyManager:
    return KeyManager(client, KEY)  # type: ignore[arg-type]


def test_both_directions_carry_checksums_and_a_time_limit() -> None:
    client = FakeClient()
    sealed = _manager(client).encrypt(b"secret", aad=b"owner")
    assert sealed.key_version == f"{KEY}/cryptoKeyVersions/1"
    assert _manager(client).decrypt(sealed.data, aad=b"owner") == b"secret"
    for request in client.requests:
        assert request.additional_authenticated_data == b"owner"
        assert request.additional_authenticated_data_crc32c == google_crc32c.value(b"owner")
    assert client.requests[0].plaintext_crc32c == google_crc32c.value(b"secret")
    assert client.requests[1].ciphertext_crc32c == google_crc32c.value(sealed.data)
    for options in client.options:
        assert options["timeout"] == CALL_SECONDS
        assert options["retry"].timeout == 30.0


@pytest.mark.parametrize(
    "damage",
    [
        {"verified_plaintext_crc32c": False},
        {"verified_additional_authenticated_data_crc32c": False},
        {"ciphertext_crc32c": 1},
    ],
)
def test_a_message_damaged_on_its_way_is_not_stored(damage: dict[str, object]) -> None:
    with pytest.raises(KeyServiceUnavailableError):
        _manager(FakeClient(**damage)).encrypt(b"secret", aad=b"owner")


def test_a_plaintext_damaged_on_its_way_is_not_used() -> None:
    with pytest.raises(KeyServiceUnavailableError):
        _manager(FakeClient(plaintext_crc32c=1)).decrypt(b"sealed:secret", aad=b"owner")


def _encrypt(manager: KeyManager) -> object:
    return manager.encrypt(b"s", aad=b"a")


def _decrypt(manager: KeyManager) -> object:
    return manager.decrypt(b"s", aad=b"a")


@pytest.mark.parametrize(
    ("act", "fault", "kind"),
    [
        (_encrypt, google_errors.ServiceUnavailable("down"), KeyServiceUnavailableError),
        (_encrypt, google_errors.DeadlineExceeded("slow"), KeyServiceUnavailableError),
        (_encrypt, google_errors.NotFound("no key"), ConfigurationError),
        (_encrypt, google_errors.PermissionDenied("no"), ConfigurationError),
        (_decrypt, google_errors.ServiceUnavailable("down"), KeyServiceUnavailableError),
        (_decrypt, google_errors.PermissionDenied("no"), ConfigurationError),
        (_decrypt, google_errors.InvalidArgument("moved"), DecryptionError),
        (_decrypt, google_errors.FailedPrecondition("destroyed"), DecryptionError),
        (_decrypt, google_errors.NotFound("gone"), DecryptionError),
    ],
)
def test_what_kms_answers_is_named(
    act: Callable[[KeyManager], object], fault: Exception, kind: type[Exception]
) -> None:
    client = FakeClient()
    client.fault = fault
    with pytest.raises(kind) as caught:
        act(_manager(client))
    assert "secret" not in str(caught.value)


def test_too_long_a_plaintext_is_refused_before_any_call() -> None:
    client = FakeClient()
    with pytest.raises(ConfigurationError):
        _manager(client).encrypt(b"x" * (64 * 1024 + 1), aad=b"a")
    assert not client.requests


def test_owners_never_run_into_each_other() -> None:
    assert credential_aad("acme", "OPENAI", "c1") == b"v1|acme|OPENAI|c1"
    assert api_key_aad("acme", "k1") == b"v1|acme|api_key|k1"
    with pytest.raises(ConfigurationError):
        credential_aad("acme|OPENAI", "x", "c1")
    with pytest.raises(ConfigurationError):
        credential_aad("acme", "", "c1")


def test_without_a_key_name_nothing_is_connected() -> None:
    with pytest.raises(SettingsError):
        connect_kms(Settings())

"""Encryption by Cloud KMS, bound to its owner by additional authenticated data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import google_crc32c
import grpc
from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.auth import exceptions as auth_errors
from google.cloud import kms
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcTransport,
)

from convergence.errors import (
    ConfigurationError,
    DecryptionError,
    KeyServiceUnavailableError,
    SettingsError,
)
from convergence.metering import Resource, Use, record_usage
from convergence.settings import Settings

CALL_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 30.0
MAX_PLAINTEXT_BYTES: Final = 64 * 1024
"""KMS encrypts at most 64 KiB directly (cloud.google.com/kms/docs/encrypt-decrypt)."""

_SEPARATOR: Final = "|"
_PASSING: Final = (
    google_errors.ServiceUnavailable,
    google_errors.DeadlineExceeded,
    google_errors.InternalServerError,
    google_errors.ResourceExhausted,
    google_errors.Aborted,
    google_errors.RetryError,
    auth_errors.TransportError,
)
_RETRY: Final = Retry(
    predicate=if_exception_type(google_errors.ServiceUnavailable, google_errors.DeadlineExceeded),
    initial=0.2,
    maximum=5.0,
    timeout=RETRY_SECONDS,
)


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A ciphertext of KMS.

    Attributes:
        data: the ciphertext; it names its key version itself.
        key_version: full resource name of the version, for rotation reports.
    """

    data: bytes
    key_version: str


class KeyManager:
    """One KMS key. Plaintexts live in this process' memory only."""

    def __init__(self, client: kms.KeyManagementServiceClient, key_name: str) -> None:
        self._client = client
        self.key_name = key_name

    def encrypt(self, plaintext: bytes, *, aad: bytes) -> Ciphertext:
        """Encrypt under the key's primary version; `aad` must be given again to decrypt.

        Raises:
            ConfigurationError: the key is missing, disabled, or not ours to use.
            KeyServiceUnavailableError: no response, or a damaged one.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ConfigurationError("Too long to encrypt directly", bytes=len(plaintext))
        with _translate_encrypt_errors(self.key_name):
            response = self._client.encrypt(
                request=kms.EncryptRequest(
                    name=self.key_name,
                    plaintext=plaintext,
                    plaintext_crc32c=_compute_crc(plaintext),
                    additional_authenticated_data=aad,
                    additional_authenticated_data_crc32c=_compute_crc(aad),
                ),
                retry=_RETRY,
                timeout=CALL_SECONDS,
            )
        whole = (
            response.verified_plaintext_crc32c
            and response.verified_additional_authenticated_data_crc32c
            and response.ciphertext_crc32c == _compute_crc(response.ciphertext)
        )
        if not whole:
            raise KeyServiceUnavailableError(
                "A message to or from KMS was damaged on its way", key=self.key_name
            )
        return Ciphertext(data=response.ciphertext, key_version=response.name)

    def decrypt(self, data: bytes, *, aad: bytes) -> bytes:
        """Decrypt what was encrypted with the same `aad`.

        Raises:
            DecryptionError: another owner's, damaged, or its key version is gone.
            KeyServiceUnavailableError: no response, or a damaged one.
        """
        record_usage(Resource.KMS, Use(calls=1))
        with _translate_decrypt_errors(self.key_name):
            response = self._client.decrypt(
                request=kms.DecryptRequest(
                    name=self.key_name,
                    ciphertext=data,
                    ciphertext_crc32c=_compute_crc(data),
                    additional_authenticated_data=aad,
                    additional_authenticated_data_crc32c=_compute_crc(aad),
                ),
                retry=_RETRY,
                timeout=CALL_SECONDS,
            )
        if response.plaintext_crc32c != _compute_crc(response.plaintext):
            raise KeyServiceUnavailableError(
                "A response of KMS was damaged on its way", key=self.key_name
            )
        return bytes(response.plaintext)

    def get_primary_version(self) -> str:
        """Return the primary key version's name; this also proves that the key is reachable."""
        with _translate_encrypt_errors(self.key_name):
            key = self._client.get_crypto_key(
                request=kms.GetCryptoKeyRequest(name=self.key_name),
                retry=_RETRY,
                timeout=CALL_SECONDS,
            )
        return str(key.primary.name)

    def create_version(self) -> str:
        """Make a new key version the primary one, which encrypts from now on; its name.

        Needs more rights than encrypting does: `cloudkms.cryptoKeyVersions.create` and
        `cloudkms.cryptoKeys.update`.

        Raises:
            ConfigurationError: the key is missing, or not ours to change.
            KeyServiceUnavailableError: no response.
        """
        with _translate_encrypt_errors(self.key_name):
            made = self._client.create_crypto_key_version(
                request=kms.CreateCryptoKeyVersionRequest(parent=self.key_name),
                timeout=CALL_SECONDS,
            )
            self._client.update_crypto_key_primary_version(
                request=kms.UpdateCryptoKeyPrimaryVersionRequest(
                    name=self.key_name, crypto_key_version_id=made.name.rpartition("/")[2]
                ),
                retry=_RETRY,
                timeout=CALL_SECONDS,
            )
        return str(made.name)

    def close(self) -> None:
        """Close the channel."""
        self._client.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def connect_kms(settings: Settings) -> KeyManager:
    """Return the KMS key that the environment names, at Google or at a stand-in.

    Raises:
        SettingsError: KMS_KEY_NAME is not set.
    """
    if not settings.kms_key_name:
        raise SettingsError("KMS_KEY_NAME is not set: credentials can't be encrypted")
    if settings.kms_emulator_host:
        # The stand-in is on this machine: no proxy of the environment leads to it.
        channel = grpc.insecure_channel(
            settings.kms_emulator_host, options=[("grpc.enable_http_proxy", 0)]
        )
        transport = KeyManagementServiceGrpcTransport(channel=channel)
        client = kms.KeyManagementServiceClient(transport=transport)
    else:
        client = kms.KeyManagementServiceClient()
    return KeyManager(client, settings.kms_key_name)


def credential_aad(org_slug: str, provider: str, credential_id: str) -> bytes:
    """Return the data that binds a credential to its row: in another row it does not decrypt."""
    return _build_aad(org_slug, provider, credential_id)


def api_key_aad(org_slug: str, key_id: str) -> bytes:
    """Return the data that binds an org key to its row; no provider is named `api_key`."""
    return _build_aad(org_slug, "api_key", key_id)


def _build_aad(*parts: str) -> bytes:
    if not all(parts) or any(_SEPARATOR in part for part in parts):
        raise ConfigurationError("An owner's name is empty or contains a separator", parts=parts)
    return _SEPARATOR.join(("v1", *parts)).encode()


def _compute_crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


@contextmanager
def _translate_encrypt_errors(key_name: str) -> Iterator[None]:
    try:
        yield
    except _PASSING as error:
        raise _build_unavailable_error(error, key_name) from error
    except (google_errors.GoogleAPICallError, auth_errors.GoogleAuthError) as error:
        raise ConfigurationError(
            "KMS rejects encryption with this key", key=key_name, response=_describe_error(error)
        ) from error


@contextmanager
def _translate_decrypt_errors(key_name: str) -> Iterator[None]:
    try:
        yield
    except _PASSING as error:
        raise _build_unavailable_error(error, key_name) from error
    except (google_errors.PermissionDenied, auth_errors.GoogleAuthError) as error:
        raise ConfigurationError(
            "This process may not decrypt with this key",
            key=key_name,
            response=_describe_error(error),
        ) from error
    except google_errors.GoogleAPICallError as error:
        raise DecryptionError(
            "The ciphertext does not decrypt: another owner's, damaged, or its key is gone",
            key=key_name,
            response=_describe_error(error),
        ) from error


def _build_unavailable_error(error: Exception, key_name: str) -> KeyServiceUnavailableError:
    return KeyServiceUnavailableError(
        "KMS does not respond", key=key_name, response=_describe_error(error)
    )


def _describe_error(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", None) or error).split())[:300]

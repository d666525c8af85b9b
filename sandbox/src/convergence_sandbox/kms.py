"""Cloud KMS over gRPC, for google-cloud-kms' own `KeyManagementServiceClient`.

Symmetric encryption only: keys, versions, rotation, destruction. Checksums are verified and
returned, additional data is enforced, and a method that is not covered here is rejected by name.
Behaviour follows <https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1>.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import google_crc32c
import grpc
from google.cloud import kms_v1

from convergence_sandbox import kms_keys
from convergence_sandbox.kms_keys import (
    AlreadyThereError,
    Key,
    KeyFile,
    UndecipherableError,
    Version,
)

SERVICE = "google.cloud.kms.v1.KeyManagementService"
CREDENTIALS_KEY = (
    "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"
)
MAX_BYTES = 64 * 1024

_ID = r"[a-zA-Z0-9_-]{1,63}"
_LOCATION = r"projects/[a-z0-9.:-]{1,63}/locations/[a-z0-9-]{1,63}"
_RING = rf"{_LOCATION}/keyRings/{_ID}"
_KEY = rf"{_RING}/cryptoKeys/{_ID}"
_VERSION = rf"({_KEY})/cryptoKeyVersions/([1-9][0-9]{{0,8}})"
_SYMMETRIC = kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT
_ALGORITHM = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm.GOOGLE_SYMMETRIC_ENCRYPTION
_SOFTWARE = kms_v1.ProtectionLevel.SOFTWARE
_STATES = {
    kms_keys.ENABLED: kms_v1.CryptoKeyVersion.CryptoKeyVersionState.ENABLED,
    kms_keys.DESTROY_SCHEDULED: kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DESTROY_SCHEDULED,
    kms_keys.DESTROYED: kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DESTROYED,
}


class KmsCallError(Exception):
    """Raised when a call ends with a gRPC status other than OK."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


class KeyManagement:
    """The covered methods, each from its request message to its response or a `KmsCallError`."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys
        self._ensure(CREDENTIALS_KEY)

    def encrypt(self, request: kms_v1.EncryptRequest) -> kms_v1.EncryptResponse:
        """Encrypt with the primary version, or the one that is named."""
        checked_plaintext = _verify("plaintext", request.plaintext, request.plaintext_crc32c)
        checked_aad = _verify_aad(request)
        key, version = self._encrypting_version(request.name)
        aad = request.additional_authenticated_data
        ciphertext = kms_keys.seal(version, request.plaintext, aad=aad)
        return kms_v1.EncryptResponse(
            name=_version_name(key, version),
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=checked_plaintext,
            verified_additional_authenticated_data_crc32c=checked_aad,
            protection_level=_SOFTWARE,
        )

    def decrypt(self, request: kms_v1.DecryptRequest) -> kms_v1.DecryptResponse:
        """Decrypt what any enabled version of the key encrypted with the same additional data."""
        _verify("ciphertext", request.ciphertext, request.ciphertext_crc32c, limited=False)
        _verify_aad(request)
        key = self._key(request.name)
        aad = request.additional_authenticated_data
        try:
            version = kms_keys.sealing_version(key, request.ciphertext)
            _require_enabled(key, version)
            plaintext = kms_keys.unseal(version, request.ciphertext, aad=aad)
        except UndecipherableError:
            _reject_argument("Decryption failed: the ciphertext is invalid.")
        return kms_v1.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext),
            used_primary=version.number == key.primary,
            protection_level=_SOFTWARE,
        )

    def get_crypto_key(self, request: kms_v1.GetCryptoKeyRequest) -> kms_v1.CryptoKey:
        """Return the key and its primary version."""
        return _key_message(self._key(request.name))

    def get_crypto_key_version(
        self, request: kms_v1.GetCryptoKeyVersionRequest
    ) -> kms_v1.CryptoKeyVersion:
        """Return one version, whatever its state."""
        return _version_message(*self._version(request.name))

    def create_crypto_key_version(
        self, request: kms_v1.CreateCryptoKeyVersionRequest
    ) -> kms_v1.CryptoKeyVersion:
        """A new enabled version; it becomes primary only by UpdateCryptoKeyPrimaryVersion."""
        key = self._key(request.parent)
        return _version_message(key, self._keys.add_version(key))

    def update_crypto_key_primary_version(
        self, request: kms_v1.UpdateCryptoKeyPrimaryVersionRequest
    ) -> kms_v1.CryptoKey:
        """Rotate: encrypt with this version from now on."""
        key, version = self._version(
            f"{request.name}/cryptoKeyVersions/{request.crypto_key_version_id}"
        )
        _require_enabled(key, version)
        self._keys.make_primary(key, version.number)
        return _key_message(key)

    def destroy_crypto_key_version(
        self, request: kms_v1.DestroyCryptoKeyVersionRequest
    ) -> kms_v1.CryptoKeyVersion:
        """Schedule a version's destruction; it neither encrypts nor decrypts from now on."""
        key, version = self._version(request.name)
        _require_enabled(key, version)
        self._keys.destroy(version)
        return _version_message(key, version)

    def create_key_ring(self, request: kms_v1.CreateKeyRingRequest) -> kms_v1.KeyRing:
        """Return a new, empty ring."""
        name = f"{request.parent}/keyRings/{request.key_ring_id}"
        _match(_RING, name)
        try:
            created_at = self._keys.create_ring(name)
        except AlreadyThereError:
            raise KmsCallError(grpc.StatusCode.ALREADY_EXISTS, f"KeyRing {name} exists.") from None
        return kms_v1.KeyRing(name=name, create_time=datetime.fromisoformat(created_at))

    def create_crypto_key(self, request: kms_v1.CreateCryptoKeyRequest) -> kms_v1.CryptoKey:
        """Return a new symmetric key, with a first version unless the request says otherwise."""
        name = f"{request.parent}/cryptoKeys/{request.crypto_key_id}"
        _match(_KEY, name)
        if self._keys.ring(request.parent) is None:
            raise KmsCallError(grpc.StatusCode.NOT_FOUND, f"KeyRing {request.parent} not found.")
        if request.crypto_key.purpose != _SYMMETRIC:
            raise KmsCallError(
                grpc.StatusCode.UNIMPLEMENTED, "The sandbox's KMS has ENCRYPT_DECRYPT keys only."
            )
        try:
            key = self._keys.create_key(
                name,
                labels=dict(request.crypto_key.labels),
                with_version=not request.skip_initial_version_creation,
            )
        except AlreadyThereError:
            raise KmsCallError(
                grpc.StatusCode.ALREADY_EXISTS, f"CryptoKey {name} exists."
            ) from None
        return _key_message(key)

    def _ensure(self, name: str) -> None:
        ring = name.rpartition("/cryptoKeys/")[0]
        if self._keys.ring(ring) is None:
            self._keys.create_ring(ring)
        if self._keys.key(name) is None:
            self._keys.create_key(name, labels={}, with_version=True)

    def _key(self, name: str) -> Key:
        _match(_KEY, name)
        key = self._keys.key(name)
        if key is None:
            raise KmsCallError(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        return key

    def _version(self, name: str) -> tuple[Key, Version]:
        parts = _match(_VERSION, name)
        key = self._key(parts[1])
        version = key.versions.get(int(parts[2]))
        if version is None:
            raise KmsCallError(grpc.StatusCode.NOT_FOUND, f"CryptoKeyVersion {name} not found.")
        return key, version

    def _encrypting_version(self, name: str) -> tuple[Key, Version]:
        if "/cryptoKeyVersions/" in name:
            key, version = self._version(name)
        else:
            key = self._key(name)
            if key.primary == 0:
                raise KmsCallError(
                    grpc.StatusCode.FAILED_PRECONDITION, f"CryptoKey {name} has no primary version."
                )
            version = key.versions[key.primary]
        _require_enabled(key, version)
        return key, version


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Routes `/google.cloud.kms.v1.KeyManagementService/<Method>` to `KeyManagement`."""

    def __init__(self, service: KeyManagement) -> None:
        requests = kms_v1.types
        self._methods = {
            f"/{SERVICE}/{name}": (getattr(requests, f"{name}Request"), call)
            for name, call in {
                "Encrypt": service.encrypt,
                "Decrypt": service.decrypt,
                "GetCryptoKey": service.get_crypto_key,
                "GetCryptoKeyVersion": service.get_crypto_key_version,
                "CreateCryptoKeyVersion": service.create_crypto_key_version,
                "UpdateCryptoKeyPrimaryVersion": service.update_crypto_key_primary_version,
                "DestroyCryptoKeyVersion": service.destroy_crypto_key_version,
                "CreateKeyRing": service.create_key_ring,
                "CreateCryptoKey": service.create_crypto_key,
            }.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of one method; unknown ones get a handler that says so."""
        method = handler_call_details.method
        if method not in self._methods:
            return grpc.unary_unary_rpc_method_handler(_unknown(method))
        message, call = self._methods[method]
        return grpc.unary_unary_rpc_method_handler(
            _answering(call),
            request_deserializer=message.deserialize,
            response_serializer=lambda response: type(response).serialize(response),
        )


def serve(
    address: str, data_dir: Path, *, services: Sequence[grpc.GenericRpcHandler] = ()
) -> grpc.Server:
    """Start answering at `host:port`; the keys live in `data_dir/kms_keys.json`.

    Args:
        address: where.
        data_dir: of the keys.
        services: further services of the same server.

    Raises:
        RuntimeError: the address is taken or can't be bound.
    """
    service = KeyManagement(KeyFile(data_dir / "kms_keys.json"))
    # Without this, a second process would silently share the port.
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((*services, _Methods(service)))
    if not server.add_insecure_port(address):
        raise RuntimeError(f"The KMS sandbox can't listen on {address}.")
    server.start()
    return server


def _answering(call: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], object]:
    def response(request: object, context: grpc.ServicerContext) -> object:
        try:
            return call(request)
        except KmsCallError as rejection:
            return context.abort(rejection.status, str(rejection))

    return response


def _unknown(method: str) -> Callable[[bytes, grpc.ServicerContext], object]:
    def response(_request: bytes, context: grpc.ServicerContext) -> object:
        return context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"The sandbox's KMS does not have {method}."
        )

    return response


def _reject_argument(message: str) -> NoReturn:
    raise KmsCallError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _match(pattern: str, name: str) -> re.Match[str]:
    parts = re.fullmatch(pattern, name)
    if parts is None:
        _reject_argument(f"Resource name {name!r} is malformed.")
    return parts


def _verify(field: str, value: bytes, checksum: object, *, limited: bool = True) -> bool:
    """Whether a checksum (None or int) was sent; rejects a wrong one, and more than 64 KiB."""
    if limited and len(value) > MAX_BYTES:
        _reject_argument(f"The {field} is {len(value)} bytes; at most {MAX_BYTES} are allowed.")
    if checksum is not None and checksum != google_crc32c.value(value):
        _reject_argument(f"The checksum in field {field}_crc32c did not match the data in {field}.")
    return checksum is not None


def _verify_aad(request: kms_v1.EncryptRequest | kms_v1.DecryptRequest) -> bool:
    return _verify(
        "additional_authenticated_data",
        request.additional_authenticated_data,
        request.additional_authenticated_data_crc32c,
    )


def _require_enabled(key: Key, version: Version) -> None:
    if version.state != kms_keys.ENABLED:
        raise KmsCallError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{_version_name(key, version)} is not enabled, current state is: {version.state}.",
        )


def _version_name(key: Key, version: Version) -> str:
    return f"{key.name}/cryptoKeyVersions/{version.number}"


def _key_message(key: Key) -> kms_v1.CryptoKey:
    primary = key.versions.get(key.primary)
    return kms_v1.CryptoKey(
        name=key.name,
        primary=_version_message(key, primary) if primary else None,
        purpose=_SYMMETRIC,
        create_time=datetime.fromisoformat(key.created_at),
        labels=key.labels,
        destroy_scheduled_duration=kms_keys.DESTROY_DELAY,
        version_template={"protection_level": _SOFTWARE, "algorithm": _ALGORITHM},
    )


def _version_message(key: Key, version: Version) -> kms_v1.CryptoKeyVersion:
    created_at = datetime.fromisoformat(version.created_at)
    destroy_at = datetime.fromisoformat(version.destroy_at) if version.destroy_at else None
    return kms_v1.CryptoKeyVersion(
        name=_version_name(key, version),
        state=_STATES[version.state],
        protection_level=_SOFTWARE,
        algorithm=_ALGORITHM,
        create_time=created_at,
        generate_time=created_at,
        destroy_time=destroy_at,
    )

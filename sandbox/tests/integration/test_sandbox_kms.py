"""The KMS stand-in, driven by google-cloud-kms' own client."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import google_crc32c
import grpc
import pytest
from google.api_core import exceptions
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcTransport,
)

from convergence_sandbox.kms import CREDENTIALS_KEY, serve
from stack import guarded

RING = "projects/local-dev-project/locations/global/keyRings/convergence"


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def connect(address: str) -> kms_v1.KeyManagementServiceClient:
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    transport = KeyManagementServiceGrpcTransport(channel=channel)
    return kms_v1.KeyManagementServiceClient(transport=transport)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "sandbox"


@pytest.fixture
def client(data_dir: Path) -> Iterator[kms_v1.KeyManagementServiceClient]:
    address = free_address()
    server = serve(address, data_dir)
    kms = connect(address)
    yield kms
    server.stop(None).wait()


def encrypt(
    client: kms_v1.KeyManagementServiceClient, text: bytes, *, aad: bytes = b""
) -> kms_v1.EncryptResponse:
    return client.encrypt(
        request={
            "name": CREDENTIALS_KEY,
            "plaintext": text,
            "plaintext_crc32c": google_crc32c.value(text),
            "additional_authenticated_data": aad,
            "additional_authenticated_data_crc32c": google_crc32c.value(aad),
        }
    )


def decrypt(
    client: kms_v1.KeyManagementServiceClient, ciphertext: bytes, *, aad: bytes = b""
) -> kms_v1.DecryptResponse:
    return client.decrypt(
        request={
            "name": CREDENTIALS_KEY,
            "ciphertext": ciphertext,
            "additional_authenticated_data": aad,
        }
    )


def test_round_trip_returns_verified_checksums_and_the_version(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    encrypted = encrypt(client, b"a credential", aad=b"v1|acme|OPENAI|c1")
    assert encrypted.name == f"{CREDENTIALS_KEY}/cryptoKeyVersions/1"
    assert encrypted.verified_plaintext_crc32c
    assert encrypted.verified_additional_authenticated_data_crc32c
    assert encrypted.ciphertext_crc32c == google_crc32c.value(encrypted.ciphertext)
    assert b"a credential" not in encrypted.ciphertext
    opened = decrypt(client, encrypted.ciphertext, aad=b"v1|acme|OPENAI|c1")
    assert opened.plaintext == b"a credential"
    assert opened.plaintext_crc32c == google_crc32c.value(b"a credential")
    assert opened.used_primary


def test_the_same_plaintext_never_gives_the_same_ciphertext(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    assert encrypt(client, b"x").ciphertext != encrypt(client, b"x").ciphertext


def test_unsent_checksums_are_not_called_verified(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    encrypted = client.encrypt(request={"name": CREDENTIALS_KEY, "plaintext": b"x"})
    assert not encrypted.verified_plaintext_crc32c
    assert not encrypted.verified_additional_authenticated_data_crc32c


@pytest.mark.parametrize("field", ["plaintext_crc32c", "additional_authenticated_data_crc32c"])
def test_a_wrong_checksum_on_the_way_in_is_rejected(
    client: kms_v1.KeyManagementServiceClient, field: str
) -> None:
    request = {
        "name": CREDENTIALS_KEY,
        "plaintext": b"x",
        "additional_authenticated_data": b"y",
        field: 1,
    }
    with pytest.raises(exceptions.InvalidArgument, match=field):
        client.encrypt(request=request)


def test_a_wrong_ciphertext_checksum_is_rejected(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    encrypted = encrypt(client, b"x").ciphertext
    request = {"name": CREDENTIALS_KEY, "ciphertext": encrypted, "ciphertext_crc32c": 1}
    with pytest.raises(exceptions.InvalidArgument, match="ciphertext_crc32c"):
        client.decrypt(request=request)


def test_a_ciphertext_moved_to_another_owner_does_not_open(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    owners = [b"v1|acme|OPENAI|c1", b"v1|globex|OPENAI|c1", b"v1|acme|ANTHROPIC|c1", b""]
    encrypted = {owner: encrypt(client, b"secret", aad=owner).ciphertext for owner in owners}
    for owner, other in permutations(owners, 2):
        with pytest.raises(exceptions.InvalidArgument, match="the ciphertext is invalid"):
            decrypt(client, encrypted[owner], aad=other)


def test_every_damaged_byte_is_noticed(client: kms_v1.KeyManagementServiceClient) -> None:
    encrypted = encrypt(client, b"secret").ciphertext
    for index in range(len(encrypted)):
        damaged = bytearray(encrypted)
        damaged[index] ^= 1
        with pytest.raises(exceptions.InvalidArgument):
            decrypt(client, bytes(damaged))
    for cut in (0, 4, 10, len(encrypted) - 1):
        with pytest.raises(exceptions.InvalidArgument):
            decrypt(client, encrypted[:cut])


def test_another_key_does_not_open_a_ciphertext(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    purpose = kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT
    other = client.create_crypto_key(
        request={"parent": RING, "crypto_key_id": "other", "crypto_key": {"purpose": purpose}}
    )
    encrypted = encrypt(client, b"secret").ciphertext
    with pytest.raises(exceptions.InvalidArgument):
        client.decrypt(request={"name": other.name, "ciphertext": encrypted})


def test_more_than_64_kib_is_rejected(client: kms_v1.KeyManagementServiceClient) -> None:
    encrypt(client, b"x" * 65_536, aad=b"y" * 65_536)
    with pytest.raises(exceptions.InvalidArgument, match="65537"):
        encrypt(client, b"x" * 65_537)
    with pytest.raises(exceptions.InvalidArgument, match="65537"):
        encrypt(client, b"x", aad=b"y" * 65_537)


def test_rotation_encrypts_again_and_still_opens_the_old(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    old = encrypt(client, b"old")
    made = client.create_crypto_key_version(request={"parent": CREDENTIALS_KEY})
    assert encrypt(client, b"still 1").name.endswith("/1")
    client.update_crypto_key_primary_version(
        request={"name": CREDENTIALS_KEY, "crypto_key_version_id": "2"}
    )
    assert encrypt(client, b"new").name == made.name
    assert client.get_crypto_key(name=CREDENTIALS_KEY).primary.name == made.name
    opened = decrypt(client, old.ciphertext)
    assert opened.plaintext == b"old"
    assert not opened.used_primary


def test_a_destroyed_version_neither_encrypts_nor_decrypts(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    encrypted = encrypt(client, b"x")
    gone = client.destroy_crypto_key_version(name=encrypted.name)
    states = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
    assert gone.state == states.DESTROY_SCHEDULED
    assert client.get_crypto_key_version(name=encrypted.name).destroy_time is not None
    with pytest.raises(exceptions.FailedPrecondition, match="not enabled"):
        decrypt(client, encrypted.ciphertext)
    with pytest.raises(exceptions.FailedPrecondition, match="not enabled"):
        encrypt(client, b"y")


def test_what_is_missing_is_not_found_and_what_is_malformed_is_rejected(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    with pytest.raises(exceptions.NotFound):
        client.get_crypto_key(name=f"{RING}/cryptoKeys/none")
    with pytest.raises(exceptions.NotFound):
        client.encrypt(request={"name": f"{RING}/cryptoKeys/none", "plaintext": b"x"})
    with pytest.raises(exceptions.NotFound):
        client.get_crypto_key_version(name=f"{CREDENTIALS_KEY}/cryptoKeyVersions/9")
    with pytest.raises(exceptions.InvalidArgument, match="malformed"):
        client.get_crypto_key(name="projects/p/locations/l/keyRings/../cryptoKeys/k")


def test_rings_and_keys_are_created_once(client: kms_v1.KeyManagementServiceClient) -> None:
    location = "projects/local-dev-project/locations/global"
    ring = client.create_key_ring(request={"parent": location, "key_ring_id": "second"})
    assert ring.name == f"{location}/keyRings/second"
    with pytest.raises(exceptions.AlreadyExists):
        client.create_key_ring(request={"parent": location, "key_ring_id": "second"})
    purpose = kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT
    request = {"parent": RING, "crypto_key_id": "k", "crypto_key": {"purpose": purpose}}
    client.create_crypto_key(request=request)
    with pytest.raises(exceptions.AlreadyExists):
        client.create_crypto_key(request=request)


def test_an_uncovered_method_is_rejected_by_name(
    client: kms_v1.KeyManagementServiceClient,
) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="AsymmetricSign"):
        client.asymmetric_sign(
            name=f"{CREDENTIALS_KEY}/cryptoKeyVersions/1", digest=kms_v1.Digest()
        )


def test_the_key_file_is_readable_by_its_owner_only(
    client: kms_v1.KeyManagementServiceClient, data_dir: Path
) -> None:
    client.create_crypto_key_version(request={"parent": CREDENTIALS_KEY})
    assert (data_dir / "kms_keys.json").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_an_error(data_dir: Path) -> None:
    address = free_address()
    server = serve(address, data_dir)
    try:
        with pytest.raises(RuntimeError):
            serve(address, data_dir)
    finally:
        server.stop(None).wait()


def start_sandbox(address: str, data_dir: Path) -> guarded.GuardedProcess:
    code = (
        "import sys, pathlib; from convergence_sandbox.kms import serve; "
        "serve(sys.argv[1], pathlib.Path(sys.argv[2])).wait_for_termination()"
    )
    sources = Path(__file__).parents[2] / "src"
    process = guarded.GuardedProcess(
        [sys.executable, "-c", code, address, str(data_dir)],
        env={**os.environ, "PYTHONPATH": str(sources)},
    )
    host, port = address.split(":")
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the KMS did not start")


def test_keys_survive_a_kill(data_dir: Path) -> None:
    address = free_address()
    process = start_sandbox(address, data_dir)
    first = connect(address)
    first.create_crypto_key_version(request={"parent": CREDENTIALS_KEY})
    encrypted = encrypt(first, b"kept", aad=b"a").ciphertext
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start_sandbox(address, data_dir)
    try:
        second = connect(address)
        assert decrypt(second, encrypted, aad=b"a").plaintext == b"kept"
        name = f"{CREDENTIALS_KEY}/cryptoKeyVersions/2"
        assert second.get_crypto_key_version(name=name).name == name
    finally:
        process.kill()
        process.wait()

"""Credentials through the real KMS client: each decrypts for its owner and for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import permutations, product

import pytest

from convergence.errors import ConfigurationError, DecryptionError, KeyServiceUnavailableError
from convergence.security import kms as kms_room
from convergence.security.kms import KeyManager, api_key_aad, connect_kms, credential_aad
from convergence.settings import Settings
from convergence_sandbox.kms import CREDENTIALS_KEY, serve

ORGS = ("acme_corp", "acme", "globex_2", "acme_corp_api")
PROVIDERS = ("OPENAI", "ANTHROPIC", "DEEPSEEK", "GCP_SA", "AWS", "AZURE")


def _address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = _address()
    server = serve(address, tmp_path_factory.mktemp("kms"))
    yield address
    server.stop(None).wait()


@pytest.fixture
def kms(address: str) -> Iterator[KeyManager]:
    with connect_kms(Settings(kms_key_name=CREDENTIALS_KEY, kms_emulator_host=address)) as manager:
        yield manager


def test_what_is_encrypted_decrypts_for_its_owner(kms: KeyManager) -> None:
    aad = credential_aad("acme_corp", "OPENAI", "cred_1")
    sealed = kms.encrypt("sk-admin-ünïcode".encode(), aad=aad)
    assert kms.decrypt(sealed.data, aad=aad).decode() == "sk-admin-ünïcode"
    assert (
        sealed.key_version == kms.get_primary_version() == f"{CREDENTIALS_KEY}/cryptoKeyVersions/1"
    )
    assert b"sk-admin" not in sealed.data


def test_for_every_pair_of_owners_a_moved_ciphertext_fails(kms: KeyManager) -> None:
    owners = [credential_aad(org, provider, "cred_1") for org, provider in product(ORGS, PROVIDERS)]
    owners += [api_key_aad(org, "cred_1") for org in ORGS]
    assert len(set(owners)) == len(owners)
    sealed = {aad: kms.encrypt(aad, aad=aad).data for aad in owners}
    for one, other in permutations(owners, 2):
        with pytest.raises(DecryptionError):
            kms.decrypt(sealed[one], aad=other)
    for aad in owners:
        assert kms.decrypt(sealed[aad], aad=aad) == aad


def test_another_credential_of_the_same_owner_is_another_owner(kms: KeyManager) -> None:
    sealed = kms.encrypt(b"secret", aad=credential_aad("acme_corp", "OPENAI", "cred_1"))
    with pytest.raises(DecryptionError):
        kms.decrypt(sealed.data, aad=credential_aad("acme_corp", "OPENAI", "cred_2"))


def test_a_damaged_ciphertext_fails(kms: KeyManager) -> None:
    aad = credential_aad("acme_corp", "OPENAI", "cred_1")
    data = bytearray(kms.encrypt(b"secret", aad=aad).data)
    data[-1] ^= 1
    with pytest.raises(DecryptionError):
        kms.decrypt(bytes(data), aad=aad)


def test_a_key_that_does_not_exist_is_a_configuration_fault(address: str) -> None:
    name = CREDENTIALS_KEY.replace("credentials", "none")
    with (
        connect_kms(Settings(kms_key_name=name, kms_emulator_host=address)) as manager,
        pytest.raises(ConfigurationError),
    ):
        manager.encrypt(b"secret", aad=b"a")


def test_a_service_that_is_down_is_worth_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms_room, "_RETRY", kms_room._RETRY.with_timeout(0.5))
    settings = Settings(kms_key_name=CREDENTIALS_KEY, kms_emulator_host=_address())
    with connect_kms(settings) as manager, pytest.raises(KeyServiceUnavailableError):
        manager.encrypt(b"secret", aad=b"a")

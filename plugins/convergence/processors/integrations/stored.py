"""Decrypt a stored credential in this process, validate it, and record the result.

A reference to a credential (its id, fingerprint and status) is all that leaves a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convergence.errors import DecryptionError
from convergence.processors.context import TaskServices
from convergence.providers.registry import Provider, load_registry
from convergence.providers.validation import Validation, validate_credential
from convergence.security.kms import connect_kms
from convergence.tenants.credentials import Credential, Credentials, compute_fingerprint


@dataclass(frozen=True)
class Checked:
    """A stored credential with its provider's validation."""

    credential: Credential
    provider: Provider
    found: Validation

    def to_dict(self) -> dict[str, Any]:
        """Return the credential's reference and the provider's verdict, without the secret."""
        return {
            "provider": self.provider.id,
            "credential_id": self.credential.credential_id,
            "fingerprint": self.credential.fingerprint,
            "validation_status": self.found.status,
            "error": self.found.error,
        }


def stored_credentials(services: TaskServices) -> Credentials:
    """Return the store of the orgs' credentials, with the KMS key that decrypts them."""
    return Credentials(services.store, services.warehouse, connect_kms(services.settings))


def check_stored(services: TaskServices, *, org_slug: str, provider: str) -> Checked:
    """Open an org's credential, ask its provider about it, and record the answer.

    Raises:
        NotFoundError: no such provider, or it is not connected.
        DecryptionError: the stored credential does not decrypt.
    """
    known = load_registry(services.settings).get(provider)
    credentials = stored_credentials(services)
    credential = credentials.get_credential(org_slug, known.table_id)
    secret = credentials.decrypt_credential(org_slug, known.table_id)
    now = services.now()
    found = validate_credential(known, secret, settings=services.settings, now=now)
    credentials.record_validation(
        org_slug, credential.credential_id, status=found.status, error=found.error, now=now
    )
    return Checked(credential, known, found)


def open_stored(credentials: Credentials, credential: Credential) -> None:
    """Check that a credential decrypts and has the stored fingerprint.

    Raises:
        DecryptionError: it does not, or it is another.
    """
    secret = credentials.decrypt_credential(credential.org_slug, credential.provider)
    if compute_fingerprint(secret) != credential.fingerprint:
        raise DecryptionError(
            "The decrypted credential differs from the stored one",
            credential_id=credential.credential_id,
        )

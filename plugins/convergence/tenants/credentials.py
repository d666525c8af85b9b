"""Provider credentials: the API encrypts them; only the worker that uses one decrypts it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Literal

from convergence.errors import IntegrationInvalidError, NotFoundError
from convergence.security.kms import KeyManager, credential_aad
from convergence.security.redaction import register_secret
from convergence.state import cache_versions
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.tenants.encryption import kms_register
from convergence.tenants.encryption.kms_register import Subject
from convergence.warehouse.client import Warehouse
from convergence.warehouse.params import typed
from convergence.warehouse.query import Row, run_file

ValidationStatus = Literal["VALID", "INVALID", "PENDING"]

_PROVIDER_IN_TABLES = re.compile(r"[A-Z][A-Z0-9_]*")
_SECRET_FIELDS = re.compile(r"key|secret|token|password", re.IGNORECASE)


@dataclass(frozen=True)
class Credential:
    """A stored credential as it may be shown.

    Attributes:
        provider: as tables name it, such as OPENAI.
        fingerprint: distinguishes two credentials without revealing them.
        connected_on: UTC day of the org's first credential for this provider.
    """

    org_slug: str
    credential_id: str
    provider: str
    credential_name: str
    fingerprint: str
    validation_status: str
    last_validated_at: datetime | None
    validation_error: str | None
    connected_on: date
    created_at: datetime
    updated_at: datetime


class Credentials:
    """The orgs' provider credentials, at most one active per org and provider."""

    def __init__(self, store: StateStore, warehouse: Warehouse, kms: KeyManager) -> None:
        self._store = store
        self._warehouse = warehouse
        self._kms = kms

    def store_credential(
        self,
        org_slug: str,
        provider: str,
        secret: str,
        *,
        credential_name: str,
        validation_status: ValidationStatus,
        by: Actor,
        now: datetime,
        validation_error: str | None = None,
    ) -> Credential:
        """Encrypt and store a credential; the one before it is dropped in the same statement.

        Args:
            org_slug: whose it is.
            provider: as tables name it, such as OPENAI.
            secret: the plaintext, already validated or PENDING.
            credential_name: the org's own name for it.
            validation_status: what the provider said to it.
            by: who connects the provider.
            now: the instant of the validation.
            validation_error: why it is not VALID, without the secret.
        """
        _check_provider(provider)
        credential_id = f"cred_{uuid.uuid4().hex[:16]}"
        gone = self._list_key_versions(org_slug, provider)
        act = AuditedAction(org_slug, by, "credential.store", credential_id)
        with audit_change(self._store, act, now=now) as change:
            aad = credential_aad(org_slug, provider, credential_id)
            sealed = self._kms.encrypt(secret.encode(), aad=aad)
            self._run_statement(
                "credential_replace",
                org_slug=org_slug,
                provider=provider,
                credential_id=credential_id,
                credential_name=credential_name,
                ciphertext=sealed.data,
                kms_key_version=sealed.key_version,
                fingerprint=compute_fingerprint(secret),
                validation_status=validation_status,
                validation_error=typed(validation_error, "STRING"),
                today=now.date(),
                now=now,
            )
            subject, version = Subject(org_slug, "credential", credential_id), sealed.key_version
            change.add_write(
                partial(
                    kms_register.write_version,
                    subject=subject,
                    kms_key_version=version,
                    reason="ENCRYPTED",
                    now=now,
                )
            )
            change.add_write(partial(kms_register.retire_subjects, subjects=gone, now=now))
        return self.get_credential(org_slug, provider)

    def decrypt_credential(self, org_slug: str, provider: str) -> str:
        """Decrypt the org's credential in this process; it is masked in its logs from here on.

        Raises:
            IntegrationInvalidError: the org has no credential for this provider.
            DecryptionError: the ciphertext is another org's or provider's, or damaged.
        """
        _check_provider(provider)
        rows = self._run_statement("credential_open", org_slug=org_slug, provider=provider)
        if not rows:
            raise IntegrationInvalidError("The provider is not connected", provider=provider)
        aad = credential_aad(org_slug, provider, rows[0]["credential_id"])
        secret = self._kms.decrypt(rows[0]["ciphertext"], aad=aad).decode()
        _register_secrets(secret)
        return secret

    def get_credential(self, org_slug: str, provider: str) -> Credential:
        """Return the org's active credential for a provider, without its secret.

        Raises:
            NotFoundError: there is none.
        """
        found = [item for item in self.list_credentials(org_slug) if item.provider == provider]
        if not found:
            raise NotFoundError("The provider is not connected", provider=provider)
        return found[0]

    def get_named_credential(self, org_slug: str, credential_name: str) -> Credential:
        """Return the org's active credential with this name, without its secret.

        Raises:
            IntegrationInvalidError: the org has none, or several, of this name.
        """
        found = [
            one for one in self.list_credentials(org_slug) if one.credential_name == credential_name
        ]
        if len(found) != 1:
            raise IntegrationInvalidError(
                "No credential, or more than one, has this name",
                credential_name=credential_name,
                providers=[one.provider for one in found],
            )
        return found[0]

    def list_credentials(self, org_slug: str) -> list[Credential]:
        """Return the org's active credentials by provider, without their secrets."""
        return [
            _build_credential(row)
            for row in self._run_statement("credentials_list", org_slug=org_slug)
        ]

    def record_validation(
        self,
        org_slug: str,
        credential_id: str,
        *,
        status: ValidationStatus,
        error: str | None,
        now: datetime,
    ) -> None:
        """Record what a later validation of a stored credential found."""
        self._run_statement(
            "credential_validated",
            org_slug=org_slug,
            credential_id=credential_id,
            validation_status=status,
            validation_error=typed(error, "STRING"),
            now=now,
        )
        with self._store.begin() as conn:
            cache_versions.increment_version(conn, org_slug)

    def delete_credential(self, org_slug: str, provider: str, *, by: Actor, now: datetime) -> None:
        """Mark the org's credential DELETED and drop its ciphertext.

        Raises:
            NotFoundError: there is none.
        """
        _check_provider(provider)
        credential = self.get_credential(org_slug, provider)
        gone = self._list_key_versions(org_slug, provider)
        act = AuditedAction(org_slug, by, "credential.delete", credential.credential_id)
        with audit_change(self._store, act, now=now) as change:
            self._run_statement("credential_delete", org_slug=org_slug, provider=provider, now=now)
            change.add_write(partial(kms_register.retire_subjects, subjects=gone, now=now))

    def _list_key_versions(self, org_slug: str, provider: str) -> dict[Subject, str | None]:
        """List the KMS key versions of the active credentials of a provider."""
        rows = self._run_statement("credentials_list", org_slug=org_slug)
        return {
            Subject(org_slug, "credential", row["credential_id"]): row["kms_key_version"]
            for row in rows
            if row["provider"] == provider
        }

    def _run_statement(self, name: str, **params: object) -> list[Row]:
        path = self._warehouse.sql(f"tenants/{name}.sql")
        return run_file(self._warehouse, path, params=params)


def compute_fingerprint(secret: str) -> str:
    """Return 16 hex characters of the SHA-256 of a credential."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _check_provider(provider: str) -> None:
    if not _PROVIDER_IN_TABLES.fullmatch(provider):
        raise ValueError(f"{provider!r} is not a provider's name in tables, such as OPENAI")


def _register_secrets(secret: str) -> None:
    """Mask the credential, and the secret values of one that is a JSON object."""
    register_secret(secret)
    try:
        parts = json.loads(secret)
    except ValueError:
        return
    if isinstance(parts, dict):
        for name, value in parts.items():
            if isinstance(value, str) and _SECRET_FIELDS.search(name) and "://" not in value:
                register_secret(value)


def _build_credential(row: Row) -> Credential:
    return Credential(**{name: row[name] for name in Credential.__dataclass_fields__})

"""`integrations.kms_store`: re-encrypt the org's secrets with the newest KMS key version.

A run's conf never contains a plaintext, so a step can't receive one. The HTTP API stores a
credential first, and this step encrypts the stored secret again.
"""

from __future__ import annotations

from convergence.errors import DecryptionError
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.integrations.config import KmsStoreConfig
from convergence.security.kms import connect_kms
from convergence.tenants.audit import Actor
from convergence.tenants.encryption.reencryption import ReencryptionPass


class KmsStore(OrgProcessor[KmsStoreConfig]):
    """Decrypt and encrypt in this process, for the same owner; audited."""

    Config = KmsStoreConfig

    def run_step(self, org: OrgContext, config: KmsStoreConfig) -> StepResult:
        """Re-encrypt the secrets; return the number of moved ciphertexts, 0 when all were current.

        Raises:
            DecryptionError: one does not decrypt for its owner; the others were moved.
            KeyServiceUnavailableError: KMS does not answer; what was moved is moved.
        """
        del config  # there is nothing to choose
        with connect_kms(org.settings) as kms:
            work = ReencryptionPass(
                store=org.store,
                warehouse=org.warehouse,
                kms=kms,
                version=kms.get_primary_version(),
                by=Actor("system", org.run_id),
            )
            outcome = work.reencrypt_org(org.org_slug, now=org.now())
        if outcome.unreadable:
            raise DecryptionError(
                "Stored secrets do not decrypt for their owner", ids=list(outcome.unreadable)
            )
        return StepResult(
            details={
                "ciphertexts_moved": outcome.moved,
                "changed_meanwhile": outcome.changed,
                "kms_key_version": work.version.rpartition("/")[2],
            }
        )

"""`integrations.kms_decrypt`: do the stored credentials open, and are they what was put in?"""

from __future__ import annotations

from convergence.errors import IntegrationInvalidError
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.integrations.config import KmsDecryptConfig
from convergence.processors.integrations.stored import open_stored, stored_credentials
from convergence.providers.registry import load_registry


class KmsDecrypt(OrgProcessor[KmsDecryptConfig]):
    """Decrypt in this process and drop the secret; a later step that needs it decrypts itself."""

    Config = KmsDecryptConfig

    def run_step(self, org: OrgContext, config: KmsDecryptConfig) -> StepResult:
        """Decrypt each credential; return provider, credential_id, fingerprint and status of each.

        Raises:
            NotFoundError: there is no such provider.
            IntegrationInvalidError: a provider that the step names is not connected.
            DecryptionError: a stored credential does not decrypt, or is not what was stored.
        """
        known = load_registry(org.settings)
        stored = stored_credentials(org.services)
        connected = {
            known.id_of_table(one.provider): one for one in stored.list_credentials(org.org_slug)
        }
        providers = [known.get(name).id for name in config.providers] or sorted(connected)
        if missing := [name for name in providers if name not in connected]:
            raise IntegrationInvalidError("A provider is not connected", provider=missing[0])
        if not providers:
            return StepResult(status="SKIPPED", details={"reason": "no provider is connected"})
        for name in providers:
            open_stored(stored, connected[name])
        return StepResult(
            details={
                "credentials": [
                    {
                        "provider": name,
                        "credential_id": connected[name].credential_id,
                        "fingerprint": connected[name].fingerprint,
                        "validation_status": connected[name].validation_status,
                    }
                    for name in providers
                ]
            }
        )

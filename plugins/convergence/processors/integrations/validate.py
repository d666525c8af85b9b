"""`integrations.validate`: does the provider still take the credential that an org has stored?

The HTTP API may encrypt and not decrypt, so it has this step ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.integrations.config import ValidateConfig


class Validate(PlatformProcessor[ValidateConfig]):
    """Decrypt in this process, ask the provider, record what it said; hand nothing on."""

    Config = ValidateConfig

    def run(
        self, platform: PlatformContext, config: ValidateConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Answer with `validation_status`, `credential_id` and `error`.

        Raises:
            NotFoundError: no such provider, or it is not connected.
            DecryptionError: the stored credential does not decrypt.
        """
        from convergence.providers.registry import registry
        from convergence.providers.validation import validate
        from convergence.security.kms import connect_kms
        from convergence.tenants.credentials import Credentials

        del config  # everything is in the run's params
        settings, org_slug = platform.settings, params["org_slug"]
        provider = registry(settings).get(params["provider"])
        credentials = Credentials(platform.store, platform.warehouse, connect_kms(settings))
        stored = credentials.get(org_slug, provider.table_id)
        now = platform.now()
        found = validate(
            provider, credentials.open(org_slug, provider.table_id), settings=settings, now=now
        )
        credentials.record_validation(
            org_slug, stored.credential_id, status=found.status, error=found.error, now=now
        )
        return StepResult(
            facts={
                "org_slug": org_slug,
                "provider": provider.id,
                "credential_id": stored.credential_id,
                "validation_status": found.status,
                "error": found.error,
            }
        )

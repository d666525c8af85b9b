"""`integrations.validate`: does the provider still take the credential that an org has stored?

The HTTP API may encrypt and not decrypt, so it has this step ask, whichever the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.integrations.config import ValidateConfig
from convergence.processors.integrations.stored import check_stored


class Validate(PlatformProcessor[ValidateConfig]):
    """Decrypt in this process, ask the provider, record what it said; hand nothing on."""

    Config = ValidateConfig

    def run_step(
        self, platform: PlatformContext, config: ValidateConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Validate the credential; return `validation_status`, `credential_id` and `error`.

        Raises:
            NotFoundError: no such provider, or it is not connected.
            DecryptionError: the stored credential does not decrypt.
        """
        del config  # everything is in the run's params
        org_slug = params["org_slug"]
        checked = check_stored(platform.services, org_slug=org_slug, provider=params["provider"])
        return StepResult(details={"org_slug": org_slug, **checked.to_dict()})

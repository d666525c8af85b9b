"""The base of the steps that ask one provider about every org's credential."""

from __future__ import annotations

from typing import TypeVar

from convergence.errors import IntegrationInvalidError, NotFoundError
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.integrations.config import ValidateOneConfig
from convergence.processors.integrations.stored import check_stored

ConfigT = TypeVar("ConfigT", bound=ValidateOneConfig)


class ValidateOne(OrgProcessor[ConfigT]):
    """Decrypt in this process, ask the provider, record what it said; hand nothing on."""

    def run_step(self, org: OrgContext, config: ConfigT) -> StepResult:
        """Validate the credential; return its reference and `validation_status`.

        Raises:
            IntegrationInvalidError: the provider refuses the credential, and must not.
            DecryptionError: the stored credential does not decrypt.
        """
        try:
            checked = check_stored(org.services, org_slug=org.org_slug, provider=config.provider)
        except NotFoundError as error:
            return StepResult(status="SKIPPED", details={"reason": error.message})
        if config.must_be_valid and checked.found.status == "INVALID":
            raise IntegrationInvalidError(
                f"{checked.provider.name} refuses the stored credential: {checked.found.error}"
            )
        return StepResult(details=checked.to_dict())

"""`setup.organizations.onboarding`: take in an organization.

Keys are not made here: no secret passes through Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.setup.organizations.checks import OrganizationRequest
from convergence.processors.setup.organizations.config import OnboardingConfig


class Onboarding(PlatformProcessor[OnboardingConfig]):
    """Create an organization, or finish what a crash left of its creation."""

    Config = OnboardingConfig

    def run_step(
        self, platform: PlatformContext, config: OnboardingConfig, params: Mapping[str, Any]
    ) -> StepResult:
        """Onboard; return `org_slug`, `dataset_id`, `dataset_created` and `tables_created`.

        Raises:
            RequestError: the request is wrong; every fault is named.
            ConflictError: the slug or the dataset is another's.
            NotBootstrappedError: bootstrap has not run.
        """
        from convergence.processors.setup.organizations.onboarding_run import onboard_organization

        return StepResult(
            details=onboard_organization(platform, config, OrganizationRequest.read(params))
        )

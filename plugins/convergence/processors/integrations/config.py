"""What the steps about integrations are told."""

from __future__ import annotations

from typing import ClassVar

from convergence.processors.config import PlatformConfig


class ValidateConfig(PlatformConfig):
    """Asks a provider whether it still takes an org's stored credential, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate"

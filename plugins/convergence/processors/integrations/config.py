"""Configuration of the steps about integrations."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from convergence.processors.step_config import PlatformConfig, StepConfig

ProviderId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,29}$")]


class ValidateConfig(PlatformConfig):
    """Asks a provider whether it still takes an org's stored credential, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate"


class ValidateOneConfig(StepConfig):
    """Configuration that the steps of single providers share."""

    provider: ClassVar[str]

    must_be_valid: bool = True
    """Whether a credential that the provider refuses fails the org's run; its status is recorded
    in any case. An org that is not connected is skipped."""


class ValidateOpenaiConfig(ValidateOneConfig):
    """Asks OpenAI whether it still takes the org's stored key, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate_openai"
    provider: ClassVar[str] = "openai"


class ValidateClaudeConfig(ValidateOneConfig):
    """Asks Anthropic whether it still takes the org's stored key, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate_claude"
    provider: ClassVar[str] = "anthropic"


class ValidateDeepseekConfig(ValidateOneConfig):
    """Asks DeepSeek whether it still takes the org's stored key, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate_deepseek"
    provider: ClassVar[str] = "deepseek"


class ValidateGcpConfig(ValidateOneConfig):
    """Checks the org's stored Google service account, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate_gcp"
    provider: ClassVar[str] = "gcp"


class ValidateAwsConfig(ValidateOneConfig):
    """Asks AWS whether the org's stored role or key can be used, and records the answer."""

    ps_type: ClassVar[str] = "integrations.validate_aws"
    provider: ClassVar[str] = "aws"


class KmsStoreConfig(StepConfig):
    """Re-encrypts the org's stored secrets with the newest version of the KMS key."""

    ps_type: ClassVar[str] = "integrations.kms_store"


class KmsDecryptConfig(StepConfig):
    """Checks that the org's stored credentials decrypt; returns references, never a secret."""

    ps_type: ClassVar[str] = "integrations.kms_decrypt"

    providers: Annotated[tuple[ProviderId, ...], Field(max_length=20)] = ()
    """Providers of the credentials; every connected provider when empty."""

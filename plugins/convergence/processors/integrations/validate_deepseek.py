"""`integrations.validate_deepseek`: does DeepSeek still take the credential that an org stored?"""

from __future__ import annotations

from convergence.processors.integrations.config import ValidateDeepseekConfig
from convergence.processors.integrations.validating import ValidateOne


class ValidateDeepseek(ValidateOne[ValidateDeepseekConfig]):
    """Ask DeepSeek."""

    Config = ValidateDeepseekConfig

"""`integrations.validate_openai`: does OpenAI still take the credential that an org stored?"""

from __future__ import annotations

from convergence.processors.integrations.config import ValidateOpenaiConfig
from convergence.processors.integrations.validating import ValidateOne


class ValidateOpenai(ValidateOne[ValidateOpenaiConfig]):
    """Ask OpenAI."""

    Config = ValidateOpenaiConfig

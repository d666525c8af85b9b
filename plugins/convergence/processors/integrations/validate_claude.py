"""`integrations.validate_claude`: does Anthropic still take the credential that an org stored?"""

from __future__ import annotations

from convergence.processors.integrations.config import ValidateClaudeConfig
from convergence.processors.integrations.validating import ValidateOne


class ValidateClaude(ValidateOne[ValidateClaudeConfig]):
    """Ask Anthropic."""

    Config = ValidateClaudeConfig

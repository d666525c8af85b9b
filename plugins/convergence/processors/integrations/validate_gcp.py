"""`integrations.validate_gcp`: does Google Cloud still take the credential that an org stored?"""

from __future__ import annotations

from convergence.processors.integrations.config import ValidateGcpConfig
from convergence.processors.integrations.validating import ValidateOne


class ValidateGcp(ValidateOne[ValidateGcpConfig]):
    """Ask Google Cloud."""

    Config = ValidateGcpConfig

"""`integrations.validate_aws`: does AWS still take the credential that an org stored?"""

from __future__ import annotations

from convergence.processors.integrations.config import ValidateAwsConfig
from convergence.processors.integrations.validating import ValidateOne


class ValidateAws(ValidateOne[ValidateAwsConfig]):
    """Ask AWS."""

    Config = ValidateAwsConfig

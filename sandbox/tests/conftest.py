"""Every test starts from the same environment: no clouds, proxies or sandbox of this machine."""

from __future__ import annotations

import os

import hypothesis
import pytest

pytest_plugins = ["support.leftovers"]

_FOREIGN_PREFIXES = ("GOOGLE_", "CLOUDSDK_", "AWS_", "AZURE_", "SANDBOX_")
_FOREIGN = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


def _is_foreign(name: str) -> bool:
    upper = name.upper()
    return upper in _FOREIGN or upper.startswith(_FOREIGN_PREFIXES)


for _name in [name for name in os.environ if _is_foreign(name)]:
    del os.environ[_name]

# Machines are shared and differ in speed; pytest-timeout limits how long a test may take.
hypothesis.settings.register_profile("sandbox", deadline=None)
hypothesis.settings.load_profile("sandbox")


def pytest_configure(config: pytest.Config) -> None:
    """Shuffle the tests, not what they draw: names that must differ would come twice."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False

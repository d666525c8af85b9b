"""Every test starts from the same environment: nothing of this machine's clouds or Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from convergence.settings import Settings, get_settings

_FOREIGN_PREFIXES = ("AIRFLOW", "GOOGLE_", "CLOUDSDK_", "AWS_", "AZURE_", "SANDBOX_", "STACK_")
_FOREIGN = {
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "ADMIN_API_KEY",
    "CA_ROOT_API_KEY",
    "PORT",
}
_OWN = {name.upper() for name in Settings.model_fields}


def _is_foreign(name: str) -> bool:
    upper = name.upper()
    return upper in _FOREIGN | _OWN or upper.startswith(_FOREIGN_PREFIXES)


for _name in [name for name in os.environ if _is_foreign(name)]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()

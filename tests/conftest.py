"""Every test starts from the same environment: nothing of this machine's clouds or Airflow."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

from convergence.settings import PROJECT_ROOT, Settings, get_settings

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

# Airflow takes these when it is first imported, by whichever test that happens.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="convergence-tests-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": _AIRFLOW_HOME,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": f"{_AIRFLOW_HOME}/plugins",
    "AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL": "error",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
}


# Machines are shared and differ in speed; how long a test may take, pytest-timeout says.
hypothesis.settings.register_profile("convergence", deadline=None)
hypothesis.settings.load_profile("convergence")


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()

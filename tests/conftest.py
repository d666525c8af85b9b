"""Every test starts from the same environment: nothing of this machine's clouds or Airflow."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from convergence.settings import PROJECT_ROOT, Settings, get_settings
from support.sandbox_process import SandboxProcess

pytest_plugins = ["support.leftovers"]

# The slowest folders first, so that the workers end together; within one, any order.
_FOLDERS = ("e2e", "airflow", "integration", "unit")
_FOREIGN_PREFIXES = ("AIRFLOW", "GOOGLE_", "CLOUDSDK_", "AWS_", "AZURE_", "SANDBOX_", "STACK_")
_FOREIGN = {
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "ADMIN_API_KEY",
    "CA_ROOT_API_KEY",
    "PORT",
    # Each of the many processes of the tests would compile Airflow from its source.
    "PYTHONDONTWRITEBYTECODE",
}
_TESTS = Path(__file__).parent
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


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One sandbox for all tests of a worker: each takes a project, orgs or customers of its own.

    A test that injects faults or sets the clock undoes it; a test that kills a sandbox or runs a
    fleet starts another one.
    """
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def pytest_configure(config: pytest.Config) -> None:
    """Shuffle the tests, not what they draw: names that must differ would come twice."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the slow folders in front of what pytest-randomly has shuffled."""
    items.sort(key=_sort_key)


def _sort_key(item: pytest.Item) -> int:
    folder = item.path.relative_to(_TESTS).parts[0]
    return _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how to repeat this run's order."""
    seed = config.getoption("randomly_seed", None)
    if isinstance(seed, int):
        terminalreporter.write_line(f"random order; repeat it with --randomly-seed={seed}")

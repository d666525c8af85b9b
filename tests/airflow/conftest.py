"""A private Airflow, and the rooms below it replaced where a test of DAGs needs them to be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convergence.pipelines.running.run_services import RunServices
from convergence.processors import connect
from convergence.settings import PROJECT_ROOT, get_settings
from convergence.state.store import StateStore
from support import sample_pipelines
from support.airflow_database import copy_migrated_database
from support.airflow_env import AirflowEnv
from support.airflow_runs import set_environment
from support.sandbox_process import SandboxProcess

sample_pipelines.install_processors()


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of configurations that the DAG files read, with our registry and rates."""
    root = tmp_path / "configs"
    (root / "system").mkdir(parents=True)
    for name in ("providers.yml", "run_costs.yml"):
        shutil.copy(PROJECT_ROOT / "include/configs/system" / name, root / "system")
    monkeypatch.setenv("CONVERGENCE_CONFIGS_DIR", str(root))
    monkeypatch.setenv("CONVERGENCE_VAR_DIR", str(tmp_path / "var"))
    get_settings.cache_clear()
    return root


@pytest.fixture
def env(configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowEnv]:
    settings = get_settings()
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    made = AirflowEnv(store, settings, ["acme_corp", "beta_labs"], {})
    monkeypatch.setattr(connect, "open_services", made.services)
    monkeypatch.setattr(RunServices, "gate", made)
    monkeypatch.setattr(RunServices, "ship_records", lambda _: made.ship())
    yield made
    store.close()


@pytest.fixture
def sandbox_environment(
    sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of this process find the session's sandbox, and in it a project of the test's own.

    A run of the fleet finds the organizations of its project alone.
    """
    set_environment(monkeypatch, sandbox, var_dir=tmp_path / "var")


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's own tables in the database of this process."""
    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    copy_migrated_database(tmp_path_factory, Path(url.removeprefix("sqlite:///")))


Write = Callable[[str, str], Path]


@pytest.fixture
def write(configs: Path) -> Write:
    def into(path: str, text: str) -> Path:
        return sample_pipelines.write(configs, path, text)

    return into

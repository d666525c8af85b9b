"""A private Airflow, and the rooms below it replaced where a test of DAGs needs them to be."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from convergence.pipelines.running.run_services import RunServices
from convergence.processors import connect
from convergence.settings import PROJECT_ROOT, get_settings
from convergence.state.store import StateStore
from support import sample_pipelines
from support.airflow_env import AirflowEnv

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


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's own tables: the first worker of a run migrates, the others copy its database."""
    database = Path(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///"))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _migrate_airflow()
        return
    shared = tmp_path_factory.getbasetemp().parent / "airflow.db"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shared.exists():
            _copy_database(shared, database)
        else:
            _migrate_airflow()
            _copy_database(database, shared)


def _migrate_airflow() -> None:
    from airflow.utils.db import initdb

    initdb()


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


Write = Callable[[str, str], Path]


@pytest.fixture
def write(configs: Path) -> Write:
    def into(path: str, text: str) -> Path:
        return sample_pipelines.write(configs, path, text)

    return into

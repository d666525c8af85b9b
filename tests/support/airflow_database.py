"""A migrated database of Airflow, made once for all workers of a run and copied."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest


def copy_migrated_database(factory: pytest.TempPathFactory, target: Path) -> None:
    """Fill a SQLite file with Airflow's tables; the first call of a run migrates its own database.

    The first caller's copy comes from `AIRFLOW__DATABASE__SQL_ALCHEMY_CONN` of its process.
    """
    own = Path(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].removeprefix("sqlite:///"))
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "airflow-migrated.db"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # Airflow's migrations use deprecated calls
                from airflow.utils.db import initdb

                initdb()
            _copy_database(own, shared)
    if target != own or not _has_tables(own):
        _copy_database(shared, target)


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)

"""A project of the sandbox for each test, so that every test begins with an empty warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.state.store import StateStore
from convergence.warehouse.client import Warehouse
from support.sandbox_process import SandboxProcess
from support.warehouse_env import WarehouseEnv, build_warehouse_env, connect_warehouse


@pytest.fixture
def w(sandbox: SandboxProcess) -> Iterator[Warehouse]:
    made = connect_warehouse(sandbox)
    yield made
    sandbox.admin("DELETE", "faults")
    made.client.close()


@pytest.fixture
def stage(w: Warehouse, tmp_path: Path) -> Iterator[WarehouseEnv]:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    yield build_warehouse_env(w, store, tmp_path)
    store.close()

"""A dispatcher with a state store, and with an Airflow that keeps its runs in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.runs.dispatch import Dispatcher
from convergence.state.store import StateStore
from unit.runs.dispatching import FakeAirflow, FakeGate


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


@pytest.fixture
def airflow() -> FakeAirflow:
    return FakeAirflow()


@pytest.fixture
def dispatcher(store: StateStore, airflow: FakeAirflow) -> Dispatcher:
    return Dispatcher(store, FakeGate(), airflow)

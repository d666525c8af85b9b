"""Two providers' sandboxes on loopback: the one that is asked, and one that must never be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.vendors.providers_server import ProvidersServer, running


@pytest.fixture(scope="session")
def _providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvidersServer]:
    with running(tmp_path_factory.mktemp("providers")) as server:
        yield server


@pytest.fixture(scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvidersServer]:
    with running(tmp_path_factory.mktemp("elsewhere")) as server:
        yield server


@pytest.fixture
def providers(_providers: ProvidersServer) -> ProvidersServer:
    _providers.reset()
    return _providers


@pytest.fixture
def elsewhere(_elsewhere: ProvidersServer) -> ProvidersServer:
    _elsewhere.reset()
    return _elsewhere

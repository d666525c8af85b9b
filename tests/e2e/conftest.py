"""One real stack for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.harness import RunningStack, start_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = start_stack(tmp_path_factory.mktemp("e2e") / "var")
    yield running
    running.stop()

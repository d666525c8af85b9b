"""One sandbox for all tests of this folder; each takes orgs, or a project, of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from processors_world import OrgWorld, World, connect
from sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="session")
def world(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bootstrapped platform, shared: tests take orgs of their own."""
    made = connect(sandbox, tmp_path_factory.mktemp("var"), project="processors-shared")
    made.bootstrap()
    yield made
    made.services.store.close()


@pytest.fixture
def empty_world(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[World]:
    """A platform where nothing has been done yet."""
    made = connect(sandbox, tmp_path, project=f"processors-{uuid.uuid4().hex[:12]}")
    yield made
    made.services.store.close()


@pytest.fixture
def org(world: World) -> OrgWorld:
    return world.new_org()

"""A bootstrapped platform for all tests of this folder; each takes orgs or a project of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processor_env import OrgEnv, ProcessorEnv, connect_env
from support.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def env(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessorEnv]:
    """A bootstrapped platform, shared: tests take orgs of their own."""
    made = connect_env(sandbox, tmp_path_factory.mktemp("var"), project="processors-shared")
    made.bootstrap()
    yield made
    made.services.store.close()


@pytest.fixture
def empty_env(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[ProcessorEnv]:
    """A platform where nothing has been done yet."""
    made = connect_env(sandbox, tmp_path, project=f"processors-{uuid.uuid4().hex[:12]}")
    yield made
    made.services.store.close()


@pytest.fixture
def org(env: ProcessorEnv) -> OrgEnv:
    return env.new_org()

"""The life, in short, on the stack that production's is like: `make up-celery`."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.customers import range_body
from e2e.harness import PRODUCTION_PYTHON, RunningStack, only_loopback, start_stack
from e2e.life import SEED, USAGE_COST, Life

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]

STOPS_WITHIN_SECONDS = 120.0


@pytest.fixture(scope="module")
def celery_stack() -> Iterator[RunningStack]:
    if not PRODUCTION_PYTHON.is_file():
        pytest.fail("the production environment is missing: make setup-production")
    # PostgreSQL runs as a user of its own, which can't look into pytest's directories.
    folder = Path(tempfile.mkdtemp(prefix="celery-"))
    folder.chmod(0o755)
    try:
        running = start_stack(folder / "var", celery=True)
        yield running
        running.stop(within=STOPS_WITHIN_SECONDS)
        assert running.process.returncode == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_every_port_is_on_loopback(celery_stack: RunningStack) -> None:
    only_loopback(celery_stack)


def test_a_customer_lives_on_two_api_servers_and_a_celery_worker(
    celery_stack: RunningStack,
) -> None:
    root_key, slug = celery_stack.secrets["root_api_key"], f"celery_{secrets.token_hex(4)}"
    with Life(celery_stack.api_urls, root_key, slug) as life:
        life.bootstrap()
        life.onboard()
        life.connect()
        life.run(SEED)
        run = life.run(USAGE_COST, range_body())
        assert run["rows_processed"] > 0
        life.costs()
        life.quota()
        life.queue()
        life.cancel()
        life.rotate()
        life.suspend()
        life.reactivate()
        life.disconnect()
        life.remove()

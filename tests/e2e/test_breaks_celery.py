"""A dead worker and a flushed broker on the Celery stack: nobody else waits, no figure is wrong."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.breaks.run import START_LIMIT_SECONDS, STOPS_WITHIN_SECONDS, is_good
from e2e.breaks.stage import Stage
from e2e.breaks.strikes import BREAKS, WORKER, find_component, kill_tree, launcher_stopped
from e2e.harness import PRODUCTION_PYTHON, start_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

STALL_SECONDS = 20
NOTICED_WITHIN = 180.0
BY_NAME = {one.name: one for one in BREAKS}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if not PRODUCTION_PYTHON.is_file():
        pytest.fail("the production environment is missing: make setup-production")
    # PostgreSQL runs as a user of its own, which can't look into pytest's directories.
    folder = Path(tempfile.mkdtemp(prefix="breaks-"))
    folder.chmod(0o755)
    try:
        limits = {"PLATFORM_STALL_SECONDS": str(STALL_SECONDS)}
        stack = start_stack(folder / "var", celery=True, extra=limits)
        made = Stage(stack)
        try:
            made.prepare()
            yield made
        finally:
            made.close()
            stack.stop(within=STOPS_WITHIN_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", ["worker", "worker-between-tasks", "broker-flushed"])
def test_another_orgs_run_starts_and_the_broken_one_ends(stage: Stage, name: str) -> None:
    outcome = stage.perform(BY_NAME[name])
    assert is_good(outcome), outcome


def test_the_platform_hears_once_that_no_task_begins(stage: Stage) -> None:
    """No worker runs: Airflow calls itself healthy, our readiness and one message do not."""
    url = f"{stage.stack.providers_url}/_sandbox/slack"
    with launcher_stopped(stage.stack):
        kill_tree(find_component(stage.stack, WORKER))
        run = stage.start()
        checks = _wait_for_check(stage, "failed")
        assert (checks["tasks"]["code"], checks["airflow"]["status"]) == ("no_task_began", "ok")
        deadline = time.monotonic() + NOTICED_WITHIN
        while not (sent := _stall_messages(url)):
            assert time.monotonic() < deadline, "the platform got no notification"
            time.sleep(2.0)
        time.sleep(2 * 60.0)  # further looks of both API servers
        assert _stall_messages(url) == sent[:1]
    began = time.monotonic()
    stage.follow(run)
    assert run.seen["status"] == "SUCCESS"
    assert run.began is not None
    assert run.began - began <= START_LIMIT_SECONDS
    assert _wait_for_check(stage, "ok")["tasks"]["code"] is None


def _wait_for_check(stage: Stage, status: str) -> dict[str, dict[str, str | None]]:
    deadline = time.monotonic() + NOTICED_WITHIN
    while True:
        answer = httpx.get(f"{stage.stack.api_url}/health/ready", timeout=30, trust_env=False)
        checks: dict[str, dict[str, str | None]] = answer.json()["checks"]
        if checks["tasks"]["status"] == status:
            return checks
        assert time.monotonic() < deadline, checks
        time.sleep(2.0)


def _stall_messages(url: str) -> list[str]:
    posted = httpx.get(url, timeout=30, trust_env=False).json()
    return [str(each) for each in posted if "No task began" in str(each)]

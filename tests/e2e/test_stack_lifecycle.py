from __future__ import annotations

import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from e2e.harness import STOP_SECONDS, start_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def test_sigterm_leaves_no_process_also_after_a_component_was_killed(tmp_path: Path) -> None:
    stack = start_stack(tmp_path / "var")
    family = stack.family()
    scheduler = next(p for p in family if "scheduler" in " ".join(p.cmdline()))
    scheduler.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while "scheduler ended" not in stack.output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    family += stack.family()
    assert stack.stop() < STOP_SECONDS
    assert stack.process.returncode == 0
    _gone, alive = psutil.wait_procs(family, timeout=2)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_state_survives_a_restart_and_a_second_stack_on_it_is_refused(tmp_path: Path) -> None:
    stack = start_stack(tmp_path / "var")
    key = stack.secrets["root_api_key"]
    with stack.root() as root:
        root.post("/admin/bootstrap", {})
    with pytest.raises(BaseException, match="a stack already runs on"):
        start_stack(tmp_path / "var")
    stack.stop()
    again = start_stack(tmp_path / "var", ports=stack.ports)
    try:
        assert again.secrets["root_api_key"] == key
        tables = httpx.get(
            f"{again.bigquery_url}/bigquery/v2/projects/local-dev-project"
            "/datasets/organizations/tables",
            timeout=30,
        ).json()["tables"]
        assert len(tables) == 18
    finally:
        again.stop()

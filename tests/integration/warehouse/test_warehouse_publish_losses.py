"""Publishing when answers are lost, jobs fail, a server dies, and an older attempt is slow."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import (
    SupersededError,
    WarehouseUnavailableError,
)
from convergence.runs.ledger import Action
from convergence.warehouse.client import Warehouse
from convergence.warehouse.day_file import DayFile
from support.sandbox_process import SandboxProcess
from support.warehouse_env import (
    DAY,
    KEY,
    NOW,
    PATIENCE,
    SCHEMA,
    TABLE,
    WarehouseEnv,
    build_warehouse_env,
    connect_warehouse,
)


@pytest.mark.parametrize("large", [False, True], ids=["multipart", "resumable"])
def test_a_lost_answer_costs_no_second_job(
    stage: WarehouseEnv, sandbox: SandboxProcess, large: bool
) -> None:
    rule = {
        "action": "drop_reply",
        "match": {"path_regex": f"upload.*{stage.warehouse.project}.*"},
        "count": 1,
    }
    sandbox.admin("POST", "faults", rule)
    if large:
        sealed = _large(stage)
        stage.publisher.publish_rows(
            KEY, sealed, table=TABLE, schema=SCHEMA, run_id="r", now=NOW, settle_days=5
        )
    else:
        stage.publish(["1"])
        stage.assert_sound(["1"])
    assert len(stage.jobs()) == 1


def _large(stage: WarehouseEnv) -> DayFile:
    """More than the client sends in one request (5 MiB), so that it uploads by chunks."""
    rows = [
        {"usage_date": DAY.isoformat(), "model": secrets.token_hex(3000), "cost": "1"}
        for _ in range(2000)
    ]
    path = stage.folder / "large.ndjson.gz"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=1))
    assert path.stat().st_size > 5 * 1024**2
    return DayFile(path, len(rows), "large")


def test_a_passing_failure_is_tried_under_the_next_id(
    stage: WarehouseEnv, sandbox: SandboxProcess
) -> None:
    rule = {"action": "fail_job", "match": {"job": "load"}, "reason": "backendError", "count": 2}
    sandbox.admin("POST", "faults", rule)
    assert stage.publish(["1"]).job_id.endswith("_2")
    stage.assert_sound(["1"])


def test_a_lasting_failure_is_told_and_publishes_nothing(
    stage: WarehouseEnv, sandbox: SandboxProcess
) -> None:
    stage.publish(["1"])
    rule = {"action": "fail_job", "match": {"job": "load"}, "reason": "backendError", "count": 9}
    sandbox.admin("POST", "faults", rule)
    with pytest.raises(WarehouseUnavailableError) as caught:
        stage.publish(["2"], run="run_2")
    assert caught.value.details["reason"] == "backendError"
    assert stage.costs() == [Decimal(1)]


def test_a_killed_warehouse_that_had_committed_is_recovered_from(
    stage: WarehouseEnv, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = SandboxProcess(tmp_path_factory.mktemp("killed"))
    own.start()
    try:
        lost = build_warehouse_env(connect_warehouse(own), stage.store, tmp_path)
        own.admin("POST", "faults", {"action": "kill_before_done", "match": {"job": "load"}})
        impatient = Warehouse(
            lost.warehouse.client, location="US", timeouts=replace(PATIENCE, call=5, retry=1)
        )
        broken = WarehouseEnv(impatient, lost.store, tmp_path)
        with pytest.raises(WarehouseUnavailableError):
            broken.publish(["1", "2"])
        own.kill()
        own.start()
        row = lost.publish(["1", "2"])
        lost.assert_sound(["1", "2"])
        assert row.action is Action.PUBLISHED
        assert len(lost.jobs()) == 1
    finally:
        own.kill()


def test_an_older_attempt_whose_job_is_slow_is_told_that_it_was_overtaken(
    stage: WarehouseEnv, sandbox: SandboxProcess
) -> None:
    older = stage.publisher.begin_attempts([KEY])[KEY]
    rule = {"action": "hold_job", "match": {"job": "load"}, "seconds": 2, "count": 1}
    sandbox.admin("POST", "faults", rule)
    told: list[SupersededError] = []

    def publish_old() -> None:
        try:
            stage.publish(["1"], slice_=older)
        except SupersededError as error:
            told.append(error)

    slow = threading.Thread(target=publish_old)
    slow.start()
    while not stage.jobs():
        pass
    stage.publish(["2"], run="run_2")
    slow.join(timeout=30)
    assert told[0].details["after"] is True
    assert stage.costs() == [Decimal(1)], "the stale content: so it must be made again"
    stage.publish(["2"], run="run_2")
    stage.assert_sound(["2"])
